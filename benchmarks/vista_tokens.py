"""How are actions best told to a driving world? `python -m benchmarks.vista_tokens --help`: four forms, on drives.

The default graph's network of frames is trained from nothing with every form and every seed, told all kinds of
action that are known, and is predicted and scored by the graph's own commands. Forms: `none` is told nothing, `concat`
has one token of picture and actions (the reference), `separate` a token for each kind, `frame_values` no token and the
motion of each frame. The table has the mean over seeds, the lowest and highest seed, and for some columns the mean of
the seeds' intervals over clips.
"""

import argparse
import json
import sys
from pathlib import Path

import yaml

from benchmarks.blade_depth import run

ROOT = Path(__file__).resolve().parents[1]
FORMS = {
    "none": ["model.unet.with_actions=false", "model.unet.frame_values=0"],
    "concat": ["model.unet.with_actions=true", "model.unet.frame_values=0", "model.unet.action_tokens=concat"],
    "separate": ["model.unet.with_actions=true", "model.unet.frame_values=0", "model.unet.action_tokens=separate"],
    "frame_values": ["model.unet.with_actions=false", "model.unet.frame_values=2"],
}
"""Overrides of the network by the form in which it is told actions."""
COLUMNS = {
    "denoising_loss": ("loss", 4),
    "psnr_true": ("PSNR dB, its own actions", 2),
    "psnr_shuffled": ("another clip's", 2),
    "psnr_none": ("none", 2),
    "over_copy": ("over copying", 2),
    "over_shuffled": ("over another's", 2),
    "turn_correlation_true": ("turn read back, r", 3),
    "turn_error_true": ("turn error, degrees", 2),
}
"""Title and digits of what is in the table: the denoising loss of the held-out clips, and keys of a score."""
WITH_INTERVAL = ("over_copy", "over_shuffled", "turn_correlation_true")


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.vista_tokens", description=__doc__.splitlines()[0])
    parser.add_argument("--shards-root", type=Path, default=Path("data/shards"))
    parser.add_argument("--training", default="driving_small", help="data set of drives to learn from")
    parser.add_argument("--truth", default="driving_heldout", help="data set of drives to score on")
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sampling-steps", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs, scores and table.md")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of every training")
    return parser.parse_args(arguments)


def train(options: argparse.Namespace, form: str, seed: int) -> Path:
    """Weights of a network of a form and seed; a training that is done is not done again."""
    stage = "vista_phase1"
    small = yaml.safe_load((ROOT / "config/config.yaml").read_text())["stages"][stage]["overrides"]
    name = f"{form}_{seed}"
    run(
        "trainer.launch", f"stage={stage}", *small, *FORMS[form], "data.driving.one_kind=false",
        f"data.dataset={options.training}", f"validation.dataset={options.truth}", "validation.every_steps=1000000",
        f"training.num_steps={options.steps}", f"training.batch_size={options.batch}", f"training.seed={seed}",
        f"validation.sampling_steps={options.sampling_steps}", "logging.log_every=100", f"exp_name={name}",
        f"paths.shards_root={options.shards_root}", f"paths.run_root={options.out / 'runs'}",
        f"paths.output_dir={options.out / name}", *options.overrides,
    )  # fmt: skip
    return options.out / name / "weights.safetensors"


def score(options: argparse.Namespace, weights: Path) -> dict:
    """The score of a network on the held-out drives, with the denoising loss of its validation among the means."""
    truth = options.shards_root / options.truth / "index.json"
    rollouts, found = weights.with_name("rollouts.npz"), weights.with_name("score.json")
    steps = ["--steps", options.sampling_steps, "--guidance", 1.0]
    run("trainer.predict_drives", "--weights", weights, "--truth", truth, *steps, "--out", rollouts)
    run("eval", "drives-score", "--rollouts", rollouts, "--truth", truth, "--out", found)
    rows = [json.loads(line) for line in weights.with_name("metrics.jsonl").read_text().splitlines()]
    loss = [row["denoising_loss"] for row in rows if row.get("event") == "validation"][-1]
    table = json.loads(found.read_text())
    return table | {"mean": table["mean"] | {"denoising_loss": loss}}


def tell(scores: list[dict], key: str) -> str:
    """A cell: the mean over seeds, the lowest and highest seed, the mean of their intervals over clips where wanted."""
    digits, values = COLUMNS[key][1], [score["mean"].get(key) for score in scores]
    if None in values:  # nothing is read back where nothing moves
        return ""
    said = f"{sum(values) / len(values):.{digits}f}"
    if len(values) > 1:
        said += f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
    if key in WITH_INTERVAL:
        ends = (sum(score["interval"][key][side] for score in scores) / len(scores) for side in (0, 1))
        said += f" [{', '.join(f'{end:.{digits}f}' for end in ends)}]"
    return said


def write_table(scores: dict[str, list[dict]], out: Path) -> None:
    """table.md of the scores of all seeds by form."""
    lines = ["| told by | " + " | ".join(title for title, _ in COLUMNS.values()) + " |", "|---" * 9 + "|"]
    for form, found in scores.items():
        lines.append(f"| `{form}` | " + " | ".join(tell(found, key) for key in COLUMNS) + " |")
    out.write_text("\n".join(lines) + "\n")
    print(out.read_text(), flush=True)


def main(arguments: list[str]) -> int:
    """Train, score and write the table, which grows with every seed."""
    options = parse_arguments(arguments)
    scores: dict[str, list[dict]] = {form: [] for form in options.forms}
    for seed in options.seeds:
        for form in options.forms:
            scores[form].append(score(options, train(options, form, seed)))
        write_table(scores, options.out / "table.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
