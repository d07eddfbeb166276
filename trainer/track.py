"""A video in, its tracks out, drawn or as numbers: `python -m trainer.track --weights W --video V --points grid:9`."""

import argparse
import contextlib
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from shards.film import TRAIL, draw_tracks, point_colours
from trainer.models.lbm.model import Lbm
from trainer.models.lbm.tracker import LbmTracker, check_points
from trainer.predict import INPUT_SIZE_HELP, load_model, parse_size
from trainer.query_points import parse_points
from trainer.tracks_file import TracksWriter, writing_tracks
from trainer.video import Video, open_video, write_video

EXAMPLES = """examples:
  python -m trainer.track --weights results/lbm/weights.safetensors --video in.mp4 --points grid:20 --out out.mp4
  python -m trainer.track --weights W --video frames/ --points "120.5,80;300,210" --tracks out.npz
  python -m trainer.track --weights W --video in.mp4 --points points.csv --out out.mp4 --tracks out.npz
  python -m trainer.track --weights W --video camera:0 --points grid:10 --out out.mp4        (Ctrl-C ends it)
  ffmpeg -i in.mov -f yuv4mpegpipe - | python -m trainer.track --weights W --video - --points grid:10 --out out.mp4
"""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """All points in one frame, in the order of the queries: points (N, 2), visible, uncertainty and begun (N,)."""

    points: np.ndarray
    visible: np.ndarray
    uncertainty: np.ndarray
    begun: np.ndarray


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line; ValueError for files that cannot be written."""
    parser = argparse.ArgumentParser(
        prog="trainer.track",
        description="Track points through a video with trained weights; draw them, write their positions, or both.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", type=Path, required=True, help="safetensors file of trainer.launch")
    parser.add_argument("--video", required=True, help="a file, a folder of pictures, camera:0, or - for a pipe")
    parser.add_argument("--points", required=True, help="grid:20, a file.csv (columns x,y or t,x,y), or 'x,y;x,y'")
    parser.add_argument("--out", type=Path, help="the drawn video to write (.mp4)")
    parser.add_argument("--tracks", type=Path, help="the tracks to write (.npz, format frameline-tracks/1)")
    parser.add_argument("--input-size", type=parse_size, metavar="HxW", help=INPUT_SIZE_HELP)
    parser.add_argument("--memory-size", type=int, help="frames that the tracker remembers (default: as trained)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda or mps")
    parser.add_argument("--max-frames", type=int, help="stop after this many frames")
    parser.add_argument("--start-frame", type=int, default=0, help="begin at this frame of the video")
    options = parser.parse_args(arguments)
    if options.out is None and options.tracks is None:
        raise ValueError("nothing to write: give --out drawn.mp4, --tracks tracks.npz, or both")
    for name, path, suffix in (("--out", options.out, ".mp4"), ("--tracks", options.tracks, ".npz")):
        if path is not None and path.suffix != suffix:
            raise ValueError(f"{name} {path}: the file's name must end in {suffix}")
    if options.out is not None and options.out.resolve() == Path(options.video).resolve():
        raise ValueError(f"--out {options.out}: this is the video itself; choose another name")
    if options.start_frame < 0 or (options.max_frames is not None and options.max_frames < 1):
        raise ValueError("--start-frame must be 0 or more, and --max-frames 1 or more")
    return options


def load_tracker(
    weights: Path, device: str, memory_size: int | None = None, input_size: tuple[int, int] | None = None
) -> LbmTracker:
    """A tracker with the weights of a file; ValueError for weights of another system, and a device that is not here."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device it was not built for
        raise ValueError(f"--device {device}: not available here ({str(error).splitlines()[0]})") from None
    model, stage = load_model(weights, device, input_size)
    if not isinstance(model, Lbm):
        raise ValueError(f"{weights}: weights of {stage!r}, a {type(model).__name__}; tracking videos needs an LBM")
    return LbmTracker(model, memory_size)


def read_queries(text: str, frame_size: tuple[int, int], start_frame: int, num_frames: int | None) -> np.ndarray:
    """Queries (N, 3) (t, y, x), t counted from `start_frame`; ValueError for those outside the video.

    A CSV file counts frames of the video; a grid and positions are in the first frame that is tracked. `num_frames`:
    how many are tracked at most, None where nobody knows.
    """
    query_tyx = parse_points(text, frame_size)
    check_points(query_tyx[:, [2, 1]], frame_size)
    if text.lower().endswith(".csv"):
        query_tyx[:, 0] -= start_frame
    last = query_tyx[:, 0].max()
    if query_tyx[:, 0].min() < 0 or (num_frames is not None and last >= num_frames):
        frames = f"{start_frame}..{'' if num_frames is None else start_frame + num_frames - 1}"
        raise ValueError(f"{text}: query frames must lie in the frames that are tracked, {frames}")
    return query_tyx


def follow(tracker: LbmTracker, frames: Iterable[np.ndarray], query_tyx: np.ndarray) -> Iterator[tuple]:
    """Yield each frame (H, W, 3) with the `Rows` of the queries (N, 3) in it.

    Raises ValueError in the end if the frame of a query never came.
    """
    query_frame, asked = query_tyx[:, 0].round(), query_tyx[:, [2, 1]].astype(np.float32)
    points, visible, uncertainty = asked.copy(), np.zeros(len(asked), bool), np.ones(len(asked), np.float32)
    order = np.zeros(0, int)  # the queries in the order in which the tracker got them
    number = -1
    for number, frame in enumerate(frames):
        _ = tracker.step(frame) if number else tracker.start(frame)
        begins = np.flatnonzero(query_frame == number)
        tracker.add(asked[begins])
        order = np.concatenate([order, begins])
        found = tracker.positions
        points[order], visible[order], uncertainty[order] = found.points, found.visible, found.uncertainty
        rows = Rows(points=points, visible=visible, uncertainty=uncertainty, begun=query_frame <= number)
        yield frame, Rows(**{name: values.copy() for name, values in vars(rows).items()})
    if len(order) < len(asked):
        late = int(query_frame.max())
        raise ValueError(f"the video has ended after {number + 1} frames, before the query frame {late} of a point")


def draw(
    tracked: Iterable[tuple[np.ndarray, Rows]], num_points: int, colours: Sequence[tuple[int, int, int]] | None = None
) -> Iterator[np.ndarray]:
    """Yield the frames with the points drawn, each with the trail of its last frames; hidden points are hollow.

    `colours`: RGB of each point, default those of `point_colours`.
    """
    colours, past = point_colours(num_points) if colours is None else colours, deque(maxlen=TRAIL + 1)
    for frame, rows in tracked:
        past.append(rows)
        begun = np.flatnonzero(rows.begun)
        points = np.stack([row.points[begun] for row in past])  # (T, N, 2)
        visible = np.stack([row.visible[begun] for row in past])
        radius = choose_radius(frame.shape, num_points)
        yield draw_tracks(frame, points, visible, radius=radius, colours=[colours[number] for number in begun])


def choose_radius(frame_shape: tuple[int, ...], num_points: int) -> float:
    """Pixels of a dot: an eighth of the distance of evenly spread points, within what can be seen."""
    height, width = frame_shape[:2]
    return float(np.clip((height * width / max(1, num_points)) ** 0.5 / 8, 1.5, max(2.5, max(height, width) / 160)))


def until_interrupted(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield frames until Ctrl-C, which ends a live video well; a second one ends the program."""
    is_stopped = False

    def stop(*_) -> None:
        nonlocal is_stopped
        is_stopped = True
        signal.signal(signal.SIGINT, former)

    former = signal.signal(signal.SIGINT, stop)
    try:
        for frame in frames:
            yield frame
            if is_stopped:
                return
    finally:
        signal.signal(signal.SIGINT, former)


def choose_frames(video: Video, start_frame: int, max_frames: int | None) -> tuple[Iterator[np.ndarray], int | None]:
    """The frames to track, and how many they are at most, None if nobody knows; ValueError if there are none."""
    frames = until_interrupted(video.frames) if video.is_live else video.frames
    chosen = islice(frames, start_frame, None if max_frames is None else start_frame + max_frames)
    first = next(chosen, None)
    if first is None:
        raise ValueError(f"{video.name}: has no frame {start_frame} to start from")
    stated = None if video.num_frames is None else max(1, video.num_frames - start_frame)
    return chain([first], chosen), min((count for count in (stated, max_frames) if count), default=None)


def track(options: argparse.Namespace) -> None:
    """Track one video and write what was asked for; ValueError for weights, a video or points that do not serve."""
    tracker = load_tracker(options.weights, options.device, options.memory_size, options.input_size)
    with open_video(options.video) as video, contextlib.ExitStack() as stack:
        frames, num_frames = choose_frames(video, options.start_frame, options.max_frames)
        first = next(frames)
        frame_size = first.shape[:2]
        query_tyx = read_queries(options.points, frame_size, options.start_frame, num_frames)
        shown = tqdm(chain([first], frames), total=num_frames, unit="frame", disable=None, desc=video.name)
        tracked = follow(tracker, shown, query_tyx)
        if options.tracks:
            writing = writing_tracks(options.tracks, query_tyx, frame_size, video.rate, options.start_frame)
            tracked = record(tracked, stack.enter_context(writing))
        if options.out:
            write_video(draw(tracked, len(query_tyx)), video.rate, options.out)
        else:
            deque(tracked, maxlen=0)
    for path in filter(None, (options.out, options.tracks)):
        print(f"{path}: {len(query_tyx)} points, {tracker.num_frames} frames")


def record(tracked: Iterable[tuple[np.ndarray, Rows]], writer: TracksWriter) -> Iterator[tuple[np.ndarray, Rows]]:
    """Pass frames on, and give their rows to the writer."""
    for frame, rows in tracked:
        writer.append(rows.points, rows.visible, rows.uncertainty)
        yield frame, rows


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 a mistake of the user's."""
    try:
        track(parse_arguments(arguments))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
