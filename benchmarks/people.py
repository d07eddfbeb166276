"""What pictures of people cost: `python benchmarks/people.py --bodies data/bodies/anny.npz [...] [--sizes 64,128]`.

One process on one core. Pictures per CPU-second of whole clips by resolution and body file, and the milliseconds of a
picture's parts: posing the body, drawing its mesh by the z-buffer, and everything else (camera, floor, background,
colours, noise; a camera that shows too little is drawn again, so that a part may be done more than once a picture).
Then the same clips packed and read back whole, as a loader does. Prints Markdown tables, the median of a few passes.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from generation.people import scene
from generation.people.config import PeopleConfig
from generation.people.scene import make_clip
from generation.people.toy import make_toy
from shards import ClipStore, pack_clips, write_index
from shards.people.body import Body, read_body

PARTS = ("pose_body", "draw")
"""Functions of generation.people.scene whose time is told apart."""


@contextmanager
def timed_parts() -> Iterator[dict[str, float]]:
    """CPU-seconds of the parts while this lasts."""
    spent, before = dict.fromkeys(PARTS, 0.0), {name: getattr(scene, name) for name in PARTS}

    def timed(name: str) -> Callable:
        def call(*arguments, **options):
            began = time.process_time()
            try:
                return before[name](*arguments, **options)
            finally:
                spent[name] += time.process_time() - began

        return call

    for name in PARTS:
        setattr(scene, name, timed(name))
    try:
        yield spent
    finally:
        for name, function in before.items():
            setattr(scene, name, function)


def drawing_row(body: Body, size: int, num_clips: int, passes: int) -> str:
    """A row of the first table."""
    config, rates, parts = PeopleConfig(resolution=size), [], {name: [] for name in (*PARTS, "all")}
    num_pictures = num_clips * config.num_frames
    for _ in range(passes):
        with timed_parts() as spent:
            began = time.process_time()
            for seed in range(num_clips):
                make_clip(config, body, seed, "benchmark")
            whole = time.process_time() - began
        rates.append(num_pictures / whole)
        for name, seconds in (spent | {"all": whole}).items():
            parts[name].append(1000 * seconds / num_pictures)
    ms = {name: median(values) for name, values in parts.items()}
    rest = ms["all"] - sum(ms[name] for name in PARTS)
    return (
        f"| {body.name} | {len(body.template_m):,} | {size} | {median(rates):.0f} | {ms['all']:.1f} | "
        f"{ms['pose_body']:.1f} | {ms['draw']:.1f} | {rest:.1f} |"
    )


def reading_row(body: Body, size: int, num_clips: int, passes: int, folder: Path) -> str:
    """A row of the second table."""
    config, prefix = PeopleConfig(resolution=size), folder / str(size) / "shard-000000"
    pack_clips((make_clip(config, body, seed, f"people-{seed:06d}") for seed in range(num_clips)), prefix)
    index = prefix.with_name("index.json")
    write_index([prefix.with_suffix(".json")], "people", index)
    num_pictures, num_bytes = num_clips * config.num_frames, prefix.with_suffix(".tar").stat().st_size
    rates = []
    for _ in range(passes):
        store = ClipStore(index)
        began = time.process_time()
        for number in range(num_clips):
            store.read(number)
        rates.append(num_pictures / (time.process_time() - began))
    return f"| {size} | {median(rates):.0f} | {num_bytes / num_pictures / 1000:.1f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=Path, nargs="*", default=[], metavar="NPZ", help="besides the capsule man")
    parser.add_argument("--sizes", default="64,96,128,256", help="resolutions; default: %(default)s")
    parser.add_argument("--clips", type=int, default=6, help="of eight pictures; default: %(default)s")
    parser.add_argument("--passes", type=int, default=3, help="default: %(default)s")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    bodies = [make_toy(), *(read_body(path) for path in options.bodies)]
    make_clip(PeopleConfig(), bodies[0], 0, "warm")
    print("| body | vertices | pixels | pictures a CPU-second | ms a picture | pose | draw | the rest |")
    print("|---|---|---|---|---|---|---|---|")
    for body in bodies:
        for size in sizes:
            print(drawing_row(body, size, options.clips, options.passes), flush=True)
    print("\n| pixels | packed pictures read a CPU-second | kB a picture in the tar |\n|---|---|---|")
    with TemporaryDirectory(prefix="people-") as folder:
        for size in sizes:
            print(reading_row(bodies[-1], size, options.clips, options.passes, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
