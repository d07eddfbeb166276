"""Does a pose gain from a depth? `python -m benchmarks.blade_depth --help`: PoseNets told none, DepthNet's, the true.

Every condition is trained with every seed from the same DepthNet, predicted and scored by the graph's own commands. The
table has PVE and MPJPE of each condition: the mean over seeds, the lowest and highest seed, and the mean of the seeds'
bootstrap intervals over clips; and the same of PoseNets that are told a depth when that depth is made wrong.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CONDITIONS = ("none", "predicted", "oracle")
NOISES = (0.0, 0.05, 0.1, 0.2, 0.4)
METRICS = {"vertex_error": "PVE mm", "joint_error": "MPJPE mm"}


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.blade_depth", description=__doc__.splitlines()[0])
    parser.add_argument("--depthnet", type=Path, required=True, help="weights of a small DepthNet (trainer.launch)")
    parser.add_argument("--shards-root", type=Path, default=Path("data/shards"))
    parser.add_argument("--training", default="people_small", help="data set to learn from")
    parser.add_argument("--truth", default="people_heldout", help="data set to score on")
    parser.add_argument("--body", type=Path, default=Path("data/bodies/anny.npz"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--noises", type=float, nargs="+", default=list(NOISES), help="deviations of log depth")
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs, scores and table.md")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time, of one thread each")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of every training: training.num_steps=2000")
    return parser.parse_args(arguments)


def run(*words: object) -> None:
    """A command of this repository; ends the benchmark where it fails."""
    subprocess.run([sys.executable, "-m", *map(str, words)], check=True)


def train(options: argparse.Namespace, condition: str, seed: int) -> Path:
    """Weights of a PoseNet of a condition and seed; those that are there are not made again."""
    name = f"posenet_{condition}_{seed}"
    told = [f"paths.init_weights={options.depthnet}", f"model.depth={condition}"]
    told += ["model.depthnet=null"] if condition == "oracle" else []
    run(
        "trainer.launch", "stage=blade_posenet", "model=blade_posenet_small", "data=people_small", "optimizer=adamw",
        f"data.dataset={options.training}", f"data.people.body={options.body}", "data.people.noise=0.0",
        f"validation.dataset={options.truth}", "training.keep=last", "training.num_epochs=null", "training.threads=1",
        "training.batch_size=16", "training.num_steps=1000", "training.sync_batch_norm=false",
        "optimizer.learning_rate=1.0e-3", "optimizer.max_gradient_norm=5.0", "validation.every_steps=100000",
        "logging.log_every=100",
        f"training.seed={seed}", f"exp_name={name}", f"paths.shards_root={options.shards_root}",
        f"paths.run_root={options.out / 'runs'}", f"paths.output_dir={options.out / name}", *told, *options.overrides,
    )  # fmt: skip
    return options.out / name / "weights.safetensors"


def score(options: argparse.Namespace, weights: Path, noise: float) -> dict:
    """The score of a PoseNet whose depth is wrong by a factor exp(noise n), n normal."""
    truth = options.shards_root / options.truth / "index.json"
    common = ["--truth", truth, "--body", options.body]
    predictions, found = (weights.with_name(f"noise-{noise:g}.{suffix}") for suffix in ("npz", "json"))
    extra = ["--depth-noise", noise] if noise else []
    run("trainer.predict_people", "--weights", weights, *common, *extra, "--out", predictions)
    # PVE needs no camera: where none is found, that is counted and no reason to stop.
    run("eval", "people-score", "--predictions", predictions, *common, "--most-failed", 1.0, "--out", found)
    return json.loads(found.read_text())


def write_table(scores: dict[tuple[str, float], list[dict]], out: Path) -> None:
    """table.md of the scores of all seeds by condition and noise."""
    lines = ["| depth | wrong by | " + " | ".join(f"{title} (seeds; interval)" for title in METRICS.values()) + " |"]
    lines.append("|---|---|" + "---|" * len(METRICS))
    for (condition, noise), found in scores.items():
        cells = [tell(found, metric) for metric in METRICS]
        lines.append(f"| {condition} | {noise:g} | {' | '.join(cells)} |")
    out.write_text("\n".join(lines) + "\n")
    print(out.read_text())


def tell(found: list[dict], metric: str) -> str:
    """Millimetres: the mean over seeds, the range of seeds, the mean of their intervals."""
    means = [1000 * score["mean"][metric] for score in found]
    low, high = (1000 * sum(s["interval"][metric][side] for s in found) / len(found) for side in (0, 1))
    return f"{sum(means) / len(means):.1f} ({min(means):.1f} to {max(means):.1f}; {low:.1f} to {high:.1f})"


def main(arguments: list[str]) -> int:
    """Train, score and write the table."""
    options = parse_arguments(arguments)

    def finish(case: tuple[str, int]) -> dict[tuple[str, float], dict]:
        condition, seed = case
        weights = train(options, condition, seed)
        noises = options.noises if condition != "none" else [0.0]
        return {(condition, noise): score(options, weights, noise) for noise in noises}

    scores: dict[tuple[str, float], list[dict]] = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        for found in pool.map(finish, [(condition, seed) for condition in CONDITIONS for seed in options.seeds]):
            for case, one in found.items():
                scores.setdefault(case, []).append(one)
    write_table(scores, options.out / "table.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
