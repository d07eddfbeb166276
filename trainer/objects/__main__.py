"""Commands of object tracking: `python -m trainer.objects COMMAND --help`."""

import argparse
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from shards.files import write_text
from trainer.objects.annotations import read_annotations
from trainer.objects.dataset import DatasetRun, identify, track_dataset
from trainer.objects.detections import DetectionFile, read_detections
from trainer.objects.drawing import draw_objects
from trainer.objects.following import as_rows, follow, look_up, new_tracker
from trainer.objects.object_tracker import PointTracker, TrackedBox
from trainer.objects.settings import PRESETS, ObjectSettings, make_settings

EXAMPLES = """\
examples:
  python -m trainer.objects track --weights results/lbm/weights.safetensors --video in.mp4 --detections boxes.csv \\
      --out tracks.json --draw tracks.mp4 num_points=30
  python -m trainer.objects track --weights lbm.safetensors --annotations tao/validation.json --images tao/frames \\
      --detections detections.json --preset tao --out tracks.json
  python -m trainer.objects score --tracks tracks.json --annotations tao/validation.json
"""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; ValueError for options that do not go together."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.objects",
        description="Track the boxes of a detector by points that LBM follows inside them, and score such tracks.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    track = commands.add_parser(
        "track", help="detections -> TAO-style json of tracks", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    track.set_defaults(run=_track)
    track.add_argument("--weights", type=Path, required=True, help="safetensors file of an LBM")
    track.add_argument("--detections", type=Path, required=True, help=".json (TAO, COCO), .txt (MOT) or .csv")
    track.add_argument("--out", type=Path, required=True, help="json to write")
    track.add_argument("--video", help="one video: a file, a folder of pictures, camera:0, or - for a pipe")
    track.add_argument("--draw", type=Path, help="mp4 to write, of one video")
    track.add_argument("--max-frames", type=int, help="stop after this many frames of one video")
    track.add_argument("--annotations", type=Path, help="a whole data set: its json with videos and images")
    track.add_argument("--images", type=Path, help="folder that the data set's file names are in")
    track.add_argument("--preset", default="demo", help=f"thresholds: {', '.join(PRESETS)} (default: demo)")
    track.add_argument("--memory-size", type=int, help="frames that LBM remembers (default: as trained)")
    track.add_argument("--device", help="default: cuda where there is one, else cpu")
    track.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    track.add_argument(
        "settings", nargs="*", metavar="key=value", help="any threshold: " + ", ".join(vars(ObjectSettings()))
    )
    score = commands.add_parser("score", help="TETA and OWTA of tracks (extra: pip install -e '.[objects]')")
    score.set_defaults(run=_score)
    score.add_argument("--tracks", type=Path, required=True, help="TAO-style json")
    score.add_argument("--annotations", type=Path, required=True, help="json with videos, images, annotations")
    score.add_argument("--out", type=Path, help="json to write")
    options = parser.parse_args(arguments)
    if options.command == "track":
        _check_track(options)
    return options


def main(arguments: Sequence[str]) -> int:
    """Run one command; a mistake of the user is one line on stderr and exit code 2."""
    try:
        options = parse_arguments(arguments)
        options.run(options)
    except (ValueError, OSError) as error:
        told = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        print(f"error: {told}", file=sys.stderr)
        return 2
    return 0


def _check_track(options: argparse.Namespace) -> None:
    is_dataset = options.annotations is not None or options.images is not None
    if is_dataset == (options.video is not None):
        raise ValueError("give either --video, or --annotations and --images of a whole data set")
    if is_dataset and (options.annotations is None or options.images is None):
        raise ValueError("a data set needs both --annotations and --images")
    if is_dataset and (options.draw or options.max_frames):
        raise ValueError("--draw and --max-frames are for one --video")
    for path, suffix in ((options.out, ".json"), (options.draw, ".mp4")):
        if path is not None and path.suffix != suffix:
            raise ValueError(f"{path}: the file's name must end in {suffix}")
    if options.draw and options.video and options.draw.resolve() == Path(options.video).resolve():
        raise ValueError(f"--draw {options.draw}: this is the video itself; choose another name")
    if options.max_frames is not None and options.max_frames < 1:
        raise ValueError("--max-frames must be 1 or more")


def _track(options: argparse.Namespace) -> None:
    settings = make_settings(options.preset, options.settings)
    file = read_detections(options.detections)
    if options.video is not None:
        track_video(options, settings, file, load_points(options))
        return
    annotations = read_annotations(options.annotations)
    run = DatasetRun(
        annotations=annotations,
        images_root=options.images,
        detections=file.for_images(annotations.image_ids),
        settings=settings,
        identity=identify(
            [options.weights, options.annotations, options.detections], settings, options.memory_size, options.images
        ),
    )
    count = track_dataset(run, load_points(options), options.out)
    print(f"{options.out}: {count} boxes, {len(annotations.videos)} videos")


def load_points(options: argparse.Namespace) -> PointTracker:
    """What follows the points of a stream; ValueError for weights or a device that do not serve."""
    import torch  # only for tracking: scoring and --help start without it

    from trainer.track import load_tracker

    torch.set_num_threads(options.threads)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    tracker = load_tracker(options.weights, device, options.memory_size)
    if not hasattr(tracker, "step"):
        raise ValueError(
            f"{options.weights}: offline CoTracker3 needs whole videos; objects are followed frame by frame"
        )
    return tracker


def track_video(
    options: argparse.Namespace, settings: ObjectSettings, file: DetectionFile, points: PointTracker
) -> None:
    """Track one video, and write its tracks, drawn too if asked for.

    Raises ValueError, and writes nothing, where not one detection belongs to a frame that was seen.
    """
    from trainer.track import choose_frames
    from trainer.video import open_video, write_video

    detections, rows = file.for_one_video(), []
    with open_video(options.video) as video:
        tracker = new_tracker(points, settings, Path(options.video).name)
        frames, num_frames = choose_frames(video, 0, options.max_frames)
        bar = tqdm(frames, total=num_frames, unit="frame", disable=None, desc=video.name)
        tracked = _record(follow(bar, look_up(detections), tracker), file, rows, options.max_frames is None)
        if options.draw:
            write_video((draw_objects(frame, found, tracker) for frame, found in tracked), video.rate, options.draw)
        else:
            deque(tracked, maxlen=0)
    write_text(options.out, json.dumps(rows))
    num_tracks = len({row["track_id"] for row in rows})
    print(f"{options.out}: {len(rows)} boxes, {num_tracks} tracks, {tracker.num_frames} frames")


def _record(
    tracked: Iterable[tuple[np.ndarray, list[TrackedBox]]], file: DetectionFile, rows: list[dict], is_whole: bool
) -> Iterator[tuple[np.ndarray, list[TrackedBox]]]:
    """Pass frames on and add their boxes to `rows`; in the end, tell of detections after a whole video's last frame."""
    images = {frame: (image, video) for image, (video, frame) in file.images.items()}
    number = -1
    for number, (frame, found) in enumerate(tracked):
        image_id, video_id = images.get(number, (number, 0))
        rows.extend(as_rows(found, image_id=image_id, video_id=video_id))
        yield frame, found
    wanted = file.for_one_video()
    late = [key for key in wanted if key > number]
    if late and len(late) == len(wanted):
        told = f"all detections are of frames from {min(late)} on, and the video ends with frame {number}"
        raise ValueError(f"{file.path}: {told}; do they belong together?")
    if late and is_whole:
        print(f"note: {file.path}: detections of {len(late)} frames after the last one, {number}", file=sys.stderr)


def _score(options: argparse.Namespace) -> None:
    try:
        from trainer.objects.score import score_tracks  # only here: tracking needs no SciPy
    except ModuleNotFoundError as error:
        raise ValueError(f"scoring needs SciPy ({error}); pip install -e '.[objects]'") from None
    score = score_tracks(options.tracks, options.annotations)
    names = ("TETA", "LocA", "AssocA", "ClsA", "OWTA", "DetRe", "AssA")
    print("  ".join(f"{name} {100 * score[name]:.2f}" for name in names))
    print(f"{score['num_boxes']} boxes against {score['num_true_boxes']} true ones, {score['num_videos']} videos")
    if options.out:
        print(f"wrote {write_text(options.out, json.dumps(score, indent=1))}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
