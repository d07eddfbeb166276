"""Tracks in pixels to tracks in metres: `python -m trainer.lift --tracks T.npz --depth D --intrinsics K --out O.npz`.

Legend: N points, T frames, H W pixels.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from shards import Clip, ClipStore
from shards.layouts.camera import ray_lengths
from trainer.command import exit_code_of
from trainer.lifting.camera import INTRINSICS_HELP, POSES_HELP, Camera, camera_of_clip, read_intrinsics, read_poses
from trainer.lifting.depth_maps import KINDS, DepthMaps, depth_of_clip, open_depth
from trainer.lifting.sampling import (
    EDGE_RATIO,
    camera_to_world,
    choose_surface,
    expect_between,
    sample_z,
    unproject,
    world_to_camera_axes,
)
from trainer.lifting.tracks3d_file import SpaceTracks, write_ply, write_tracks3d
from trainer.tracks_file import read_tracks

EXAMPLES = """examples:
  python -m trainer.lift --tracks tracks.npz --depth depth/ --depth-scale 0.001 --depth-kind z \\
      --intrinsics 910.2,909.8,640.5,360.5 --poses poses.json --out tracks3d.npz --ply tracks3d.ply
  python -m trainer.lift --clip data/shards/NAME/index.json NAME-000003 --out tracks3d.npz
"""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line; ValueError for options that are missing or exclude each other."""
    parser = argparse.ArgumentParser(
        prog="trainer.lift",
        description="Lift tracks to 3D with depth maps and a camera. Camera axes: x right, y down, z forward.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tracks", type=Path, help="what trainer.track --tracks wrote (default with --clip: its own)")
    parser.add_argument("--depth", type=Path, help="folder of 16-bit PNGs, a zarr array (T, H, W), or an .npy")
    parser.add_argument("--depth-kind", choices=KINDS, help="along the camera's axis, or distance to its centre")
    parser.add_argument("--depth-scale", type=float, help="metres of one unit of the depth (0.001: millimetres)")
    parser.add_argument("--intrinsics", help=INTRINSICS_HELP)
    parser.add_argument("--poses", type=Path, help=f"JSON {POSES_HELP}: without it, points are in camera axes")
    parser.add_argument("--clip", nargs=2, metavar=("INDEX", "KEY"), help="depth and camera of a packed clip")
    parser.add_argument("--edge-ratio", type=float, default=EDGE_RATIO, help="depths further apart are two surfaces")
    parser.add_argument("--out", type=Path, required=True, help="the tracks to write (.npz, frameline-tracks3d/1)")
    parser.add_argument("--ply", type=Path, help="the same for viewers of point clouds (.ply)")
    options = parser.parse_args(arguments)
    of_video = ("depth", "depth_kind", "depth_scale", "intrinsics", "poses")
    if options.clip:
        doubled = [name for name in of_video if getattr(options, name) is not None]
        if doubled:
            raise ValueError(f"--clip brings its depth and camera: leave out --{doubled[0].replace('_', '-')}")
    else:
        missing = [name for name in ("tracks", "depth", "intrinsics") if getattr(options, name) is None]
        if missing:
            raise ValueError(f"--{missing[0]} is missing; give --tracks, --depth and --intrinsics, or --clip INDEX KEY")
    if not options.edge_ratio >= 1:
        raise ValueError(f"--edge-ratio {options.edge_ratio}: must be 1 or more, such as {EDGE_RATIO}")
    for name, path, suffix in (("--out", options.out, ".npz"), ("--ply", options.ply, ".ply")):
        if path is not None and path.suffix != suffix:
            raise ValueError(f"{name} {path}: the file's name must end in {suffix}")
    if options.tracks is not None and options.tracks.resolve() == options.out.resolve():
        raise ValueError(f"--out {options.out}: these are the tracks themselves; choose another name")
    return options


def lift_tracks(
    tracks: np.ndarray,
    visible: np.ndarray,
    frame_size: tuple[int, int],
    depth: DepthMaps,
    camera: Camera,
    *,
    start_frame: int = 0,
    edge_ratio: float = EDGE_RATIO,
) -> SpaceTracks:
    """Lift tracks (N, T, 2), raster pixels of a video of frame_size (H, W), where they are visible (N, T).

    Depth and camera are those of the video from its frame 0; the tracks begin at its frame `start_frame`. Depth may
    have another size than the video. A hidden point is not lifted: the depth there is that of what hides it. At a depth
    edge a pixel says little of which surface the point is on, and the frames in which it is at none say more: of the
    pixels around it that one counts whose depth is the nearest to a straight line between those frames. Raises
    ValueError for depth or a camera of too few frames.
    """
    num_points, num_frames = visible.shape
    end = start_frame + num_frames
    if depth.num_frames < end:
        raise ValueError(
            f"{depth.name}: has depth of {depth.num_frames} frames, and the tracks need {end} (they begin at frame "
            f"{start_frame} of the video)"
        )
    camera.check_frames(end)
    z_m, at_edge = np.full((num_points, num_frames), np.nan), np.zeros((num_points, num_frames), bool)
    around_m = np.full((4, num_points, num_frames), np.nan, np.float32)
    for t in range(num_frames):
        shown = np.flatnonzero(visible[:, t])
        z_map, to_map = read_z(depth, start_frame + t, frame_size, camera.intrinsics_at(start_frame + t))
        samples = sample_z(z_map, tracks[shown, t] * to_map, edge_ratio)
        z_m[shown, t], at_edge[shown, t], around_m[:, shown, t] = samples.z_m, samples.at_edge, samples.around_m
    points_m = place_points(tracks, z_m, camera, start_frame)
    expected_m = expect_between(points_m, np.isfinite(z_m) & ~at_edge)
    for t in range(num_frames):
        edge, pose = np.flatnonzero(at_edge[:, t]), camera.pose_at(start_frame + t)
        expected = expected_m[edge, t] if pose is None else world_to_camera_axes(expected_m[edge, t], pose)
        z_m[edge, t] = choose_surface(around_m[:, edge, t], expected[:, 2], z_m[edge, t])
    return SpaceTracks(
        points_m=place_points(tracks, z_m, camera, start_frame).astype(np.float32),
        lifted=np.isfinite(z_m),
        at_edge=at_edge,
        visible=visible,
        axes="camera" if camera.world_to_camera is None else "world",
        start_frame=start_frame,
    )


def place_points(tracks: np.ndarray, z_m: np.ndarray, camera: Camera, start_frame: int) -> np.ndarray:
    """Positions in space (N, T, 3) of tracks (N, T, 2) at depths z_m (N, T): the world's axes where poses are known."""
    points_m = np.empty((*z_m.shape, 3))
    for t in range(z_m.shape[1]):
        local = unproject(tracks[:, t], z_m[:, t], camera.intrinsics_at(start_frame + t))
        pose = camera.pose_at(start_frame + t)
        points_m[:, t] = local if pose is None else camera_to_world(local, pose)
    return points_m


def read_z(
    depth: DepthMaps, frame: int, frame_size: tuple[int, int], intrinsics: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Depth along the axis (H', W') of a frame, and the factors (x, y) from pixels of the video to its pixels.

    Raises ValueError for a map whose shape is not that of the video, such as one of a cropped or turned picture.
    """
    depth_m = depth.read(frame)
    height, width = depth_m.shape
    to_map = np.array([width / frame_size[1], height / frame_size[0]])
    # a map of a rounded size may be off by a pixel
    if abs(to_map[0] / to_map[1] - 1) > 2 / min(height, width):
        raise ValueError(
            f"{depth.name}: depth is {width}x{height}, the video {frame_size[1]}x{frame_size[0]}: not the same picture"
        )
    if depth.kind == "distance":
        depth_m = depth_m / ray_lengths(height, width, np.diag([*to_map, 1.0]) @ intrinsics)
    return depth_m, to_map


def read_clip(index: str, key: str, with_world: bool = False) -> Clip:
    """A packed clip with its depth; ValueError where there is none, or no clip of that key."""
    store = ClipStore(index)
    return store.read(store.number_of(key), with_depth=True, with_world=with_world)


def lift(options: argparse.Namespace) -> None:
    """Lift the tracks of one video and write what was asked for; ValueError for files that do not fit each other."""
    clip = read_clip(*options.clip) if options.clip else None
    if clip is not None:
        depth, camera = depth_of_clip(clip), camera_of_clip(clip)
    else:
        depth = open_depth(options.depth, options.depth_kind, options.depth_scale)
        poses = None if options.poses is None else read_poses(options.poses)
        camera = Camera(intrinsics=read_intrinsics(options.intrinsics), world_to_camera=poses)
    if options.tracks is not None:
        found = read_tracks(options.tracks)
        positions, visible, start_frame = found.tracks, found.visible, found.start_frame
        frame_size = tuple(int(side) for side in found.frame_size)
    else:
        assert clip is not None
        positions, visible, start_frame = clip.tracks.swapaxes(0, 1), clip.visible.T, 0
        frame_size = clip.video.shape[1:3]
    if clip is not None and frame_size != clip.video.shape[1:3]:
        raise ValueError(f"{options.tracks}: tracks of a {frame_size[1]}x{frame_size[0]} video, not of clip {clip.key}")
    result = lift_tracks(
        positions, visible, frame_size, depth, camera, start_frame=start_frame, edge_ratio=options.edge_ratio
    )
    write_tracks3d(options.out, result)
    print(
        f"{options.out}: {len(visible)} points, {visible.shape[1]} frames, {result.axes} axes; lifted "
        f"{result.lifted.sum()} of {visible.sum()} visible positions, {result.at_edge.sum()} at depth edges"
    )
    if options.ply is not None:
        write_ply(options.ply, result)
        print(f"{options.ply}: {result.lifted.sum()} vertices")


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 a mistake of the user's."""
    return exit_code_of(lambda: lift(parse_arguments(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
