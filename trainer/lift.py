"""Tracks into space: `python -m trainer.lift --tracks out.npz --depth DEPTH --intrinsics K.json --out tracks3d.npz`."""

import argparse
import colorsys
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.predictions import write_array
from shards import ClipStore
from shards.clip import Clip
from shards.files import appearing, write_text
from shards.layouts.camera import intrinsics_of, world_to_camera_of
from shards.members import OPTIONAL
from trainer.depth_maps import KINDS, open_depth, read_intrinsics, read_poses
from trainer.geometry import LiftedTracks, lift_tracks
from trainer.tracks_file import read_tracks

FORMAT = "frameline-tracks3d/1"


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="trainer.lift",
        description="Lift tracks to points in space with depth, intrinsics and, for the world, poses of the camera.",
        epilog="python -m trainer.lift --tracks out.npz --depth depths --depth-scale 0.001 "
        "--intrinsics 500,500,320,240 --out tracks3d.npz\n"
        "python -m trainer.lift --clip data/shards/kubric_heldout/index.json kubric_heldout-100000 --out tracks3d.npz",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tracks", type=Path, help="tracks.npz of trainer.track (with --clip: default its own tracks)")
    parser.add_argument("--clip", nargs=2, metavar=("INDEX", "KEY"), help="a packed clip: depth, intrinsics and poses")
    parser.add_argument("--depth", type=Path, help="folder of 16-bit PNGs, or one zarr array (T, H, W)")
    parser.add_argument("--depth-kind", choices=KINDS, help="along the axis, or to the camera's centre (default z)")
    parser.add_argument("--depth-scale", type=float, metavar="METRES", help="metres of one code; 0 is no measurement")
    parser.add_argument("--depth-range", metavar="LOW,HIGH", help="metres of code 0 and of code 65535")
    parser.add_argument("--intrinsics", help="fx,fy,cx,cy or K.json, raster pixels of the video")
    parser.add_argument("--poses", type=Path, help="poses.json: world_to_camera or camera_to_world")
    parser.add_argument("--out", type=Path, required=True, help="tracks3d.npz to write")
    parser.add_argument("--ply", type=Path, help="coloured points of all frames for a viewer")
    options = parser.parse_args(arguments)
    own = [options.depth, options.intrinsics]
    if options.clip and any([*own, options.poses, options.depth_kind, options.depth_scale, options.depth_range]):
        parser.error("--clip has depth, intrinsics and poses of its own; leave these options out")
    if not options.clip and not (options.tracks and all(own)):
        parser.error("give --tracks, --depth and --intrinsics, or --clip INDEX KEY")
    return options


@dataclass(frozen=True, kw_only=True)
class Flat:
    """Tracks in the picture: tracks (N, T, 2), visible (N, T), the video's (height, width) and its first frame."""

    tracks: np.ndarray
    visible: np.ndarray
    frame_size: tuple[int, int]
    start_frame: int = 0


def read_flat(path: Path) -> Flat:
    """The tracks of a tracks.npz."""
    found = read_tracks(path)
    height, width = (int(side) for side in found.frame_size)
    return Flat(tracks=found.tracks, visible=found.visible, frame_size=(height, width), start_frame=found.start_frame)


def lift_files(options: argparse.Namespace) -> LiftedTracks:
    """Lift by files; ValueError for those that do not fit each other."""
    flat = read_flat(options.tracks)
    num_frames = flat.visible.shape[1]
    limits = None
    if options.depth_range:
        limits = tuple(float(part) for part in options.depth_range.split(","))
        if len(limits) != 2 or not 0 <= limits[0] < limits[1]:
            raise ValueError(f"--depth-range {options.depth_range}: give two lengths, LOW,HIGH, in metres")
    if options.depth_scale is not None and not options.depth_scale > 0:
        raise ValueError(f"--depth-scale {options.depth_scale} must be positive")
    depth = open_depth(options.depth, options.depth_kind, options.depth_scale, limits)
    first = first_frame(len(depth), flat, depth.name)
    intrinsics = read_intrinsics(options.intrinsics, num_frames)
    poses = read_poses(options.poses) if options.poses else None
    if len(intrinsics) != num_frames:
        begin = first_frame(len(intrinsics), flat, options.intrinsics)
        intrinsics = intrinsics[begin : begin + num_frames]
    if poses is not None:
        begin = first_frame(len(poses), flat, str(options.poses))
        poses = poses[begin : begin + num_frames]
    return lift_tracks(
        flat.tracks, flat.visible, lambda t: depth.frame(first + t), depth.kind, intrinsics, flat.frame_size, poses
    )


def first_frame(available: int, flat: Flat, name: str) -> int:
    """Where in a list of `available` frames the tracks begin: it fits the tracks exactly, or the whole video."""
    num_frames = flat.visible.shape[1]
    if available == num_frames:
        return 0
    if available < flat.start_frame + num_frames:
        raise ValueError(
            f"{name}: has {available} frames; the tracks have {num_frames}, from frame {flat.start_frame} of the video"
        )
    return flat.start_frame


def lift_clip(index: Path, key: str, tracks: Path | None) -> tuple[LiftedTracks, str]:
    """Lift in a packed clip, its own tracks or those of a file; and a line that says how far its own are off."""
    store = ClipStore(index)
    number = store.number_of(key)
    shard = next(shard for shard in store.shards if shard["name"] == store.row(number)["shard"])
    has_world = OPTIONAL["world_m"] in shard["optional"]
    clip = store.read(number, with_depth=True, with_world=has_world)
    intrinsics, poses = intrinsics_of(clip), world_to_camera_of(clip)
    if clip.depth_m is None or intrinsics is None:
        raise ValueError(f"{index}: clip {key} has no depth or no camera; pack it again from a source that has them")
    size = clip.video.shape[1:3]
    if tracks is None:
        flat = Flat(tracks=clip.tracks.transpose(1, 0, 2), visible=clip.visible.T, frame_size=size)
    else:
        flat = read_flat(tracks)
        if flat.frame_size != size or flat.start_frame + flat.visible.shape[1] > len(clip.video):
            raise ValueError(f"{tracks}: tracks of another video: {flat.frame_size} and not {size}, or more frames")
    frames = slice(flat.start_frame, flat.start_frame + flat.visible.shape[1])
    depth_m, poses = clip.depth_m[frames], None if poses is None else poses[frames]
    lifted = lift_tracks(
        flat.tracks, flat.visible, lambda t: depth_m[t], "distance", intrinsics[frames], flat.frame_size, poses
    )
    return lifted, "" if tracks or not has_world or poses is None else describe_error(clip, lifted)


def describe_error(clip: Clip, lifted: LiftedTracks) -> str:
    """One line: how far a clip's lifted true tracks are from its own points in the world (`errors`)."""
    error_m, relative = errors(clip, lifted)
    if not len(error_m):
        return "no visible point to compare with the clip's own"
    (middle, high), (middle_share, high_share) = (np.percentile(x, [50, 95]) for x in (error_m, relative))
    return (
        f"against the clip's own points: median {middle:.4f} m ({middle_share:.2%} of the distance), "
        f"95th percentile {high:.4f} m ({high_share:.2%})"
    )


def errors(clip: Clip, lifted: LiftedTracks) -> tuple[np.ndarray, np.ndarray]:
    """Distances in metres between lifted true tracks and the clip's world_m where valid, and as shares of the depth."""
    difference = lifted.world_m[lifted.valid] - clip.world_m.transpose(1, 0, 2)[lifted.valid]
    error_m = np.linalg.norm(difference, axis=-1)
    return error_m, error_m / np.linalg.norm(lifted.camera_m[lifted.valid], axis=-1)


def write_lifted(path: Path, lifted: LiftedTracks) -> None:
    """Write tracks3d.npz, without pickles; it appears whole or not at all."""
    with appearing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        write_array(archive, "format", np.array(FORMAT))
        for name, value in vars(lifted).items():
            if value is not None:
                write_array(archive, name, value)


def write_ply(path: Path, lifted: LiftedTracks) -> None:
    """Write the valid points of all frames, in the world if it is known, one colour a track."""
    place = lifted.camera_m if lifted.world_m is None else lifted.world_m
    number, _ = np.nonzero(lifted.valid)
    hues = [colorsys.hsv_to_rgb((k * 0.618) % 1, 0.8, 1.0) for k in range(len(place))]
    colours = np.rint(255 * np.array(hues).reshape(-1, 3)).astype(int)
    rows = [
        f"{x:.6g} {y:.6g} {z:.6g} {red} {green} {blue}"
        for (x, y, z), (red, green, blue) in zip(place[lifted.valid], colours[number], strict=True)
    ]
    header = ["ply", "format ascii 1.0", f"element vertex {len(rows)}"]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"property uchar {colour}" for colour in ("red", "green", "blue")]
    write_text(path, "\n".join([*header, "end_header", *rows, ""]))


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 a mistake of the user's."""
    options = parse_arguments(arguments)
    try:
        if options.clip:
            lifted, comparison = lift_clip(Path(options.clip[0]), options.clip[1], options.tracks)
        else:
            lifted, comparison = lift_files(options), ""
        write_lifted(options.out, lifted)
        if options.ply:
            write_ply(options.ply, lifted)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    num_points, num_frames = lifted.valid.shape
    where = "camera" if lifted.world_m is None else "camera and world"
    share = lifted.valid.mean() if lifted.valid.size else 0.0
    print(f"{options.out}: {num_points} points, {num_frames} frames, {share:.0%} lifted ({where})")
    if comparison:
        print(comparison)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
