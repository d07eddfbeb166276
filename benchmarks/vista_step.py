"""A training step of Vista, ours and as the reference is described: `python -m benchmarks.vista_step --help`.

Four tables. `mask`: the high-pass filter's mask, by a loop over frequencies and by ours. `step`: a step on latents,
ours, and with one thing at a time as in the reference, then with all of them; formulations have the same weights and
draws, take turns, and must have the same losses. `memory`: what the published network holds between steps. `trainer`:
seconds and memory of a step as trainer.launch makes it, autoencoder and tower with it, by phase, precision and what is
computed again. On GPUs, at the published size and the guide's 320x576, 25 frames:

    python -m benchmarks.vista_step --device cuda --size svd --part step trainer --phase 1 2 --recompute layer \\
        --processes 1 8

Seconds are of the CPU (one thread), or of the wall on a GPU; memory is a process's highest, each in one of its own.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence

import torch

from benchmarks.vista_measure import FLAGS, SIZES, TRAINED, Formulation, clock, count_fixed, take_turns
from benchmarks.vista_reference import loop_mask
from trainer.models.vista.losses import high_pass_mask

MIB, GIB = 2**20, 2**30
GUIDE_GIB = 80e9 / GIB
"""Memory of the GPUs that the guide asks for."""
SAYS = {
    "loop_mask": "the mask by a loop, twice",
    "every_cell": "attention to one token asked by every cell",
    "keeps_gradients": "all gradients kept, averages of all weights",
    "accumulates": "clips one by one",
    "volumes": "convolutions over time as volumes",
}
"""What is as in the reference, by flag."""
LATENTS = ((20, 36), (40, 72), (72, 128))
"""The second is of frames of 320x576, the third of 576x1024."""
ROUNDING = 1e-4


def print_row(*cells: object) -> None:
    """A row of a table, at once."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def print_header(*cells: str) -> None:
    """The first two rows of a table."""
    print_row(*cells)
    print("|---" * len(cells) + "|")


def spread(values: Sequence[float], digits: int) -> str:
    """The median, and the lowest and highest where there are several."""
    told = f"{statistics.median(values):.{digits}f}"
    return told if len(values) < 2 else f"{told} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def run_process(job: dict, processes: int = 1) -> dict:
    """What benchmarks.vista_measure finds in fresh processes, the largest peak of all; ends where one of them fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free.getsockname()[1], "WORLD_SIZE": processes}
    where |= {"OMP_NUM_THREADS": job["threads"]}
    command, started = [sys.executable, "-m", "benchmarks.vista_measure", json.dumps(job)], []
    for rank in range(processes):
        place = where | {"RANK": rank, "LOCAL_RANK": rank} if processes > 1 else {"OMP_NUM_THREADS": job["threads"]}
        environment = os.environ | {key: str(value) for key, value in place.items()}
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    told = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        sys.exit(2)
    found = [json.loads(each.splitlines()[-1]) for each in told]
    peaks = [each["peak"] for each in found]
    return found[0] | {"peak": None if None in peaks else max(peaks)}


def compare_masks(options: argparse.Namespace) -> None:
    """Milliseconds of one mask of the high-pass filter; the reference makes two a step."""
    print_header("latents", "loop", "ours", "ours, again")

    def seconds(make: Callable[[], torch.Tensor]) -> float:
        began = clock("cpu")
        make()
        return 1000 * (clock("cpu") - began)

    for height, width in LATENTS:
        high_pass_mask.cache_clear()
        fresh, kept = (seconds(lambda: high_pass_mask(height, width, torch.device("cpu"))) for _ in range(2))  # noqa: B023
        loop = [seconds(lambda: loop_mask(height, width)) for _ in range(options.repeats)]  # noqa: B023
        ours = high_pass_mask(height, width, torch.device("cpu"))
        if not torch.equal(torch.fft.fftshift(ours), loop_mask(height, width)):
            raise ValueError(f"the masks of {height}x{width} differ")
        print_row(f"{height}x{width}", spread(loop, 1), f"{fresh:.2f}", f"{kept:.3f}")


def compare_steps(options: argparse.Namespace) -> None:
    """A step of latents, four clips, by what is as in the reference; `times` is to ours of the same turn."""
    print_header("phase", "as in the reference", "step, s", "times", "memory, MiB", "more, MiB")
    cases = {"nothing (ours)": [], **{SAYS[flag]: [flag] for flag in FLAGS}, "all of it": list(FLAGS)}
    for phase in options.phase:
        # phase 1 learns all weights: none is kept for nothing
        chosen = {name: flags for name, flags in cases.items() if phase == 2 or flags != ["keeps_gradients"]}
        job = {"what": "formulation", "phase": phase, "size": options.size, "device": options.device}
        job |= {"recompute": options.recompute, "threads": options.threads}
        repeats = 1 if options.device == "cpu" else options.repeats
        alone = {name: run_process(job | {"flags": flags, "repeats": repeats}) for name, flags in chosen.items()}
        found = alone
        if options.device == "cpu":
            how = (phase, SIZES[options.size], "cpu", options.recompute)
            found = take_turns({name: Formulation(flags, *how) for name, flags in chosen.items()}, options.repeats)
        ours, *_ = found.values()
        for name, rows in found.items():
            check_losses(f"phase {phase}, {name}", rows["losses"], ours["losses"])
            peak, base = alone[name]["peak"], alone["nothing (ours)"]["peak"]
            times = [one / other for one, other in zip(rows["seconds"], ours["seconds"], strict=False)]
            memory = (
                ["out of memory", ""] if peak is None else [f"{peak / MIB:.0f}", f"{(peak - (base or 0)) / MIB:.0f}"]
            )
            seconds = spread(rows["seconds"], 3) if rows["seconds"] else ""
            print_row(phase, name, seconds, spread(times, 2) if times else "", *memory)


def check_losses(name: str, losses: Sequence[float], ours: Sequence[float]) -> None:
    """ValueError where losses of steps differ by more than rounding."""
    for one, other in zip(losses, ours, strict=False):
        if abs(one - other) > ROUNDING * abs(other):
            raise ValueError(f"{name}: losses {losses}, ours {ours}")


def measure_trainer(options: argparse.Namespace) -> None:
    """A step of one clip a process as trainer.launch makes it; phase 2 learns adapters. The guide: GPUs of 80 GB."""
    print_header("phase", "processes", "precision", "computed again", "step, s", "memory, GiB", "of 80 GB")
    precisions = ("fp32", "bf16") if options.device == "cuda" else ("fp32",)
    for phase in options.phase:
        for processes in options.processes:
            for precision in precisions:
                for recompute in ("none", "layer"):
                    job = {"what": "trainer", "phase": phase, "size": options.size, "device": options.device}
                    job |= {"precision": precision, "recompute": recompute, "threads": options.threads}
                    job |= {"strategy": options.strategy, "repeats": options.repeats}
                    found = run_process(job, processes)
                    seconds = spread(found["seconds"], 2) if found["seconds"] else ""
                    where = "one" if processes == 1 else f"{processes}, {options.strategy}"
                    peak = found["peak"]
                    of_guide = "out of memory" if peak is None else f"{peak / GIB / GUIDE_GIB:.0%}"
                    shown = "" if peak is None else f"{peak / GIB:.2f}"
                    print_row(phase, where, precision, recompute, seconds, shown, of_guide)


def count_memory(options: argparse.Namespace) -> None:
    """GiB that a process of the published network holds between steps, counted, in fp32; what a step needs is more."""
    print_header(
        "phase", "side", "weights", "gradients", "AdamW's state", "averages", "sum", "sum, 8 processes by fsdp"
    )
    for phase in options.phase:
        for side in ("reference", "ours"):
            counts = count_fixed(phase, side == "reference")
            total = sum(counts.values())
            shares = [f"{each / GIB:.1f}" for each in (*counts.values(), total)]
            print_row(phase, side, *shares, f"{total / 8 / GIB:.1f}" if side == "ours" else "")


PARTS = {"mask": compare_masks, "step": compare_steps, "memory": count_memory, "trainer": measure_trainer}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=["mask", "step", "memory"])
    parser.add_argument("--size", choices=list(SIZES), default="small", help="svd: the published network")
    parser.add_argument("--phase", type=int, nargs="+", choices=(1, 2), default=[2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--recompute", choices=("none", "layer"), default="none", help="of the table `step`")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processes", type=int, nargs="+", default=[1], help="of the table `trainer`")
    parser.add_argument("--strategy", default="fsdp", help="of several processes")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here")
    if "trainer" in options.part and options.size not in TRAINED:
        parser.error(f"--part trainer goes with --size {' or '.join(TRAINED)}")
    torch.set_num_threads(options.threads)
    for name in options.part:
        print(f"## {name}: {PARTS[name].__doc__}\n")
        PARTS[name](options)
        print(flush=True)


if __name__ == "__main__":
    main()
