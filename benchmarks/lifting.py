"""How right lifted tracks are: `python benchmarks/lifting.py data/shards/NAME/index.json`.

Lifts the clips' own 2D tracks, where they are visible, with the packed depth and camera, and compares them with the
simulator's 3D points (world_m). Frames in which a point was chosen are left out: there its depth is the map's own.
Prints percentiles of the error in metres and as a share of the distance to the camera.
"""

import argparse
import sys

import numpy as np

from shards import Clip, ClipStore
from trainer.lift import lift_tracks, read_clip
from trainer.lifting.camera import camera_of_clip
from trainer.lifting.depth_maps import depth_of_clip
from trainer.lifting.sampling import EDGE_RATIO, camera_to_world
from trainer.lifting.tracks3d_file import SpaceTracks


def measure_index(index: str, edge_ratio: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors of all clips of an index: metres, share of the distance, whether at an edge; each (M,)."""
    rows = []
    for key in ClipStore(index).keys:
        clip = read_clip(index, key, with_world=True)
        if clip.query_frame is None:
            raise ValueError(f"{index}: clip {key} was packed without query_frame; annotate and pack it again")
        size = clip.video.shape[1:3]
        tracks, visible = clip.tracks.swapaxes(0, 1), clip.visible.T
        lifted = lift_tracks(tracks, visible, size, depth_of_clip(clip), camera_of_clip(clip), edge_ratio=edge_ratio)
        rows.append(measure_errors(lifted, clip))
    return tuple(np.concatenate(column) for column in zip(*rows, strict=True))


def measure_errors(lifted: SpaceTracks, clip: Clip) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors of the clip's own lifted tracks: metres, share of the distance to the camera, whether at an edge, each
    (M,) over the lifted positions; against the simulator's world_m, in world axes."""
    truth = clip.world_m.swapaxes(0, 1)  # (N, T, 3)
    pose = camera_of_clip(clip).world_to_camera
    centres = np.stack([camera_to_world(np.zeros((1, 3)), matrix)[0] for matrix in pose])  # (T, 3)
    frames = np.arange(lifted.lifted.shape[1])
    chosen = lifted.lifted & (frames != clip.query_frame[:, None])
    error_m = np.linalg.norm(lifted.points_m - truth, axis=-1)[chosen]
    return error_m, error_m / np.linalg.norm(truth - centres, axis=-1)[chosen], lifted.at_edge[chosen]


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index")
    parser.add_argument("--edge-ratio", type=float, default=EDGE_RATIO)
    options = parser.parse_args(arguments)
    try:
        error_m, share, at_edge = measure_index(options.index, options.edge_ratio)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("positions                     median       95 %       99 %   median/dist  95 %/dist  beyond 5 % of dist")
    everything = np.ones(len(share), bool)
    for name, chosen in (("all", everything), ("on one surface", ~at_edge), ("at depth edges", at_edge)):
        if chosen.any():
            metres = "".join(f"{value:9.5f} m" for value in np.percentile(error_m[chosen], (50, 95, 99)))
            shares = "".join(f"{value:11.3%}" for value in np.percentile(share[chosen], (50, 95)))
            print(f"{name:15s}{chosen.sum():9d}{metres}{shares}{(share[chosen] > 0.05).mean():20.3%}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
