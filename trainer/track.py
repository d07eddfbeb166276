"""A video in, its tracks out, drawn or as numbers: `python -m trainer.track --weights W --video V --points grid:9`."""

import argparse
import contextlib
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from shards.film import TRAIL, draw_tracks, point_colours
from trainer.command import exit_code_of
from trainer.follow import Followed, Tracker, follow
from trainer.models.cotracker3.model import Cotracker3
from trainer.models.cotracker3.predictor import Cotracker3Predictor
from trainer.models.cotracker3.stream import Cotracker3Tracker
from trainer.models.lbm.model import Lbm
from trainer.models.lbm.tracker import LbmTracker
from trainer.positions import check_points
from trainer.predict import INPUT_SIZE_HELP, check_device, load_model, parse_size
from trainer.query_points import DENSE, GRID, POINTS, keep_inside, parse_points, read_mask
from trainer.tracks_file import TracksWriter, writing_tracks
from trainer.video import Video, open_video, write_video

EXAMPLES = """examples:
  python -m trainer.track --weights results/lbm/weights.safetensors --video in.mp4 --points grid:20 --out out.mp4
  python -m trainer.track --weights W --video frames/ --points "120.5,80;300,210" --tracks out.npz
  python -m trainer.track --weights W --video in.mp4 --points points.csv --out out.mp4 --tracks out.npz
  python -m trainer.track --weights W --video in.mp4 --grid 40 --mask m.png --query-frame 12 --backward --out out.mp4
  python -m trainer.track --weights W --video camera:0 --points grid:10 --out out.mp4        (Ctrl-C ends it)
  ffmpeg -i in.mov -f yuv4mpegpipe - | python -m trainer.track --weights W --video - --points grid:10 --out out.mp4
"""
TINT = 0.6
"""Share of a point's colour in a pixel that is painted."""
MODELS = ("lbm", "cotracker3_offline", "cotracker3_online")
MODEL_HELP = "refuse weights of another model (default: any; the file says what it holds)"


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
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--points", help="grid:20, dense, a file.csv (columns x,y or t,x,y), or 'x,y;x,y'")
    asked.add_argument(
        "--grid", dest="points", metavar="SIDE", type=lambda side: GRID + side, help="as --points grid:SIDE"
    )
    asked.add_argument("--dense", dest="points", action="store_const", const=DENSE, help="all pixels: --points dense")
    parser.add_argument(
        "--mask", type=Path, help="keep the points in what is not black in this picture of the query frame"
    )
    parser.add_argument(
        "--query-frame", type=int, help="frame of the video in which points are (default: the first tracked)"
    )
    parser.add_argument("--backward", action="store_true", help="track to the frames before the points' own, too")
    parser.add_argument("--out", type=Path, help="the drawn video to write (.mp4)")
    parser.add_argument("--tracks", type=Path, help="the tracks to write (.npz, format frameline-tracks/1)")
    parser.add_argument("--model", choices=MODELS, help=MODEL_HELP)
    parser.add_argument("--input-size", type=parse_size, metavar="HxW", help=INPUT_SIZE_HELP)
    parser.add_argument("--memory-size", type=int, help="frames that LBM remembers (default: as trained)")
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
    weights: Path,
    device: str,
    memory_size: int | None = None,
    input_size: tuple[int, int] | None = None,
    model_name: str | None = None,
) -> Tracker:
    """What tracks videos with the weights of a file; `model_name`: one of MODELS that they must be of.

    Raises ValueError for weights of another system, and a device that is not here.
    """
    check_device(device)
    model, stage = load_model(weights, device, input_size)
    if not isinstance(model, Lbm | Cotracker3):
        raise ValueError(
            f"{weights}: weights of {stage!r}, a {type(model).__name__}; tracking videos needs an LBM or a CoTracker3"
        )
    is_lbm = isinstance(model, Lbm)
    name = "lbm" if is_lbm else f"cotracker3_{'online' if model.config.online else 'offline'}"
    if model_name not in (None, name):
        raise ValueError(f"--model {model_name}: {weights} holds {name}; leave --model out, or give other weights")
    if is_lbm:
        return LbmTracker(model, memory_size)
    if memory_size is not None:
        raise ValueError(f"--memory-size {memory_size}: {weights} holds {name}, which has no memory; leave it out")
    return Cotracker3Tracker(model) if model.config.online else Cotracker3Predictor(model)


def read_queries(
    options: argparse.Namespace, frame_size: tuple[int, int], num_frames: int | None
) -> tuple[np.ndarray, str]:
    """Queries (N, 3) (t, y, x) of the command line, t counted from --start-frame, and what they are.

    A CSV file counts frames of the video; all else is in --query-frame, default the first frame that is tracked.
    `num_frames`: how many are tracked at most, None where nobody knows. ValueError for queries outside the video.
    """
    text, start_frame = options.points, options.start_frame
    query_tyx = parse_points(text, frame_size)
    check_points(query_tyx[:, [2, 1]], frame_size)
    if text.lower().endswith(".csv"):
        if options.query_frame is not None:
            raise ValueError(f"--query-frame: {text} says itself in which frame a point is (column t)")
        query_tyx[:, 0] -= start_frame
    elif options.query_frame is not None:
        query_tyx[:, 0] = options.query_frame - start_frame
    last = query_tyx[:, 0].max()
    if query_tyx[:, 0].min() < 0 or (num_frames is not None and last >= num_frames):
        frames = f"{start_frame}..{'' if num_frames is None else start_frame + num_frames - 1}"
        raise ValueError(f"{text}: query frames must lie in the frames that are tracked, {frames}")
    if options.mask is not None:
        query_tyx = keep_inside(query_tyx, read_mask(options.mask, frame_size))
    if text == DENSE:
        return query_tyx, DENSE
    return query_tyx, GRID if text.startswith(GRID) and options.mask is None else POINTS


def draw(
    tracked: Followed, num_points: int, colours: Sequence[tuple[int, int, int]] | None = None
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


def paint(tracked: Followed, num_points: int) -> Iterator[np.ndarray]:
    """Yield the frames with the pixels in which a visible point lies tinted with its colour: for points too dense to
    draw as dots."""
    colours = np.array(point_colours(num_points), np.float32)
    for frame, rows in tracked:
        height, width = frame.shape[:2]
        is_inside = ((rows.points >= 0) & (rows.points < (width, height))).all(1)
        shown = np.flatnonzero(rows.begun & rows.visible & is_inside)
        column, row = rows.points[shown].astype(int).T
        picture = frame.copy()
        picture[row, column] = (1 - TINT) * frame[row, column] + TINT * colours[shown]
        yield picture


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
    tracker = load_tracker(options.weights, options.device, options.memory_size, options.input_size, options.model)
    with open_video(options.video) as video, contextlib.ExitStack() as stack:
        frames, num_frames = choose_frames(video, options.start_frame, options.max_frames)
        first = next(frames)
        frame_size = first.shape[:2]
        query_tyx, form = read_queries(options, frame_size, num_frames)
        shown = tqdm(chain([first], frames), total=num_frames, unit="frame", disable=None, desc=video.name)
        counted = Counted(follow(tracker, shown, query_tyx, form=form, is_backward=options.backward))
        tracked = iter(counted)
        if options.tracks:
            writing = writing_tracks(options.tracks, query_tyx, frame_size, video.rate, options.start_frame)
            tracked = record(tracked, stack.enter_context(writing))
        if options.out:
            drawn = (paint if form == DENSE else draw)(tracked, len(query_tyx))
            write_video(drawn, video.rate, options.out)
        else:
            deque(tracked, maxlen=0)
    for path in filter(None, (options.out, options.tracks)):
        print(f"{path}: {len(query_tyx)} points, {counted.num_frames} frames")


class Counted:
    """Frames on their way, and how many have passed."""

    def __init__(self, tracked: Followed):
        self._tracked, self.num_frames = tracked, 0

    def __iter__(self) -> Followed:
        for item in self._tracked:
            self.num_frames += 1
            yield item


def record(tracked: Followed, writer: TracksWriter) -> Followed:
    """Pass frames on, and give their rows to the writer."""
    for frame, rows in tracked:
        writer.append(rows.points, rows.visible, rows.uncertainty)
        yield frame, rows


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 a mistake of the user's."""
    return exit_code_of(lambda: track(parse_arguments(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
