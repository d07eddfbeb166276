"""How far lifted true tracks are from the simulator's own points: `python benchmarks/lift_error.py INDEX [INDEX ...]`.

Every clip's visible points, lifted with the clip's depth and camera, against its world_m: in metres, and as a share of
the distance to the camera. Points beside a depth edge (`at_edge`) are counted apart.
"""

import argparse
from pathlib import Path

import numpy as np

from shards import ClipStore
from trainer.lift import errors, lift_clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("indexes", nargs="+", type=Path)
    error_m, relative, at_edge = [], [], []
    for index in parser.parse_args().indexes:
        store = ClipStore(index)
        for number, key in enumerate(store.keys):
            lifted, _ = lift_clip(index, key, None)
            for values, found in zip(
                (error_m, relative), errors(store.read(number, with_world=True), lifted), strict=True
            ):
                values.append(found)
            at_edge.append(lifted.at_edge[lifted.valid])
    error_m, relative, at_edge = (np.concatenate(parts) for parts in (error_m, relative, at_edge))
    print(f"{'points':12} {'share':>6} {'median':>18} {'95th percentile':>20}")
    for name, chosen in (("all", at_edge | True), ("off edges", ~at_edge), ("at edges", at_edge)):
        (middle, high), (middle_share, high_share) = (np.percentile(x[chosen], [50, 95]) for x in (error_m, relative))
        print(f"{name:12} {chosen.mean():6.1%} {middle:9.5f} m {middle_share:7.3%} {high:9.4f} m {high_share:8.2%}")


if __name__ == "__main__":
    main()
