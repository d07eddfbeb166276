"""Convert data sets between the layouts of the field: a reader of SOURCES, a writer of WRITERS, one clip at a time."""

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from shards.clip import Clip
from shards.driving.reading import DriveReading
from shards.layouts.choice import WHOLE, Choice, cut_clips
from shards.layouts.dynamic_replica import write_dynamic_replica
from shards.layouts.files import refuse_occupied
from shards.layouts.movi import write_movi
from shards.layouts.npy_folder import write_cotracker3_kubric, write_lbm_folders
from shards.layouts.packed import CLIPS_PER_SHARD, write_packed
from shards.layouts.point_odyssey import write_point_odyssey
from shards.layouts.tapvid import write_tapvid
from shards.people.labels import Reading
from shards.sources import OF_DRIVING, OF_PEOPLE, SOURCES

STREAMING = {"cotracker3_kubric", "dynamic_replica", "index", "lbm_folder", "point_odyssey", "videos"}
"""Readers that decode only the frames they are asked for; the clips of others are cut after they are read."""
WRITERS: dict[str, Callable[[Iterable[Clip], Path], int]] = {
    "cotracker3_kubric": write_cotracker3_kubric,
    "dynamic_replica": write_dynamic_replica,
    "index": write_packed,
    "lbm_folder": write_lbm_folders,
    "movi_tfrecord": write_movi,
    "point_odyssey": write_point_odyssey,
    "tapvid": write_tapvid,
}
TAKE_NO_TRACKS = {"index", "movi_tfrecord"}
"""Layouts in which a clip without tracks makes sense; the others are nothing but tracks."""
TAKE_NO_DEPTH = {"cotracker3_kubric", "tapvid"}
EXAMPLES = """\
examples:
  python -m shards convert --from movi_tfrecord data/movi_f/512x512/1.0.0 --to index --out data/shards/movi_f
  python -m shards convert --from index data/shards/kubric_small/index.json --to lbm_folder --out data/lbm
  python -m shards convert --from point_odyssey data/point_odyssey/train --window 24 --no-depth --skip-empty \\
      --to cotracker3_kubric --out data/odyssey_windows
  python -m shards convert --from index data/shards/tapvid_davis/index.json --to tapvid --out davis.pkl
  python -m shards convert --from videos my_videos --height 384 --window 80 --codec jpeg95 \\
      --to index --out data/shards/my_videos
  python -m shards convert --from nuscenes datasets/nuscenes --height 320 --codec jpeg95 \\
      --to index --out data/shards/nuscenes
"""


def convert_clips(
    source: str,
    inputs: Iterable[Path],
    target: str,
    out: Path,
    *,
    choice: Choice = WHOLE,
    reading: Reading | DriveReading | None = None,
    skip_empty: bool = False,
    clips_per_shard: int = CLIPS_PER_SHARD,
    codec: str = "png",
) -> int:
    """Read `inputs` in the layout `source`, write `out` in the layout `target`; returns the number of clips.

    One line a clip goes to stderr. Raises ValueError where `out` is occupied, a key comes twice, there is no clip, a
    clip has no tracks and `target` is nothing but tracks (`skip_empty` leaves such a clip out), and for bad input.
    What was whole before a failure stays, and the message says so.
    """
    refuse_occupied(out)
    write = (
        partial(write_packed, clips_per_shard=clips_per_shard, codec=codec) if target == "index" else WRITERS[target]
    )
    clips = itertools.chain.from_iterable(read_clips(source, path, choice, reading) for path in inputs)
    checked = _check_clips(clips, target, out, skip_empty)
    try:
        first = next(checked)
        return write(itertools.chain([first], checked), out)
    except StopIteration:
        raise ValueError(f"{out}: there is no clip to write") from None
    except ValueError as error:
        left = out.is_dir() and any(out.iterdir())
        raise ValueError(f"{error}; {out} holds the clips before it, delete it" if left else str(error)) from None


def read_clips(
    source: str, path: Path, choice: Choice = WHOLE, reading: Reading | DriveReading | None = None
) -> Iterator[Clip]:
    """The clips of one input, cut to `choice`; ValueError names what is wrong.

    Labels of people want a `Reading`, drives may have a `DriveReading`.
    """
    if choice.height is not None and source not in {"videos", *OF_DRIVING}:
        raise ValueError(f"--height {choice.height}: only videos are resized, not clips with tracks ({source})")
    if source in OF_DRIVING and (reading is None or isinstance(reading, DriveReading)):
        return SOURCES[source](path, reading or DriveReading(), choice)
    if (reading is not None) != (source in OF_PEOPLE):
        told = "of a body model; give its file with --body (python -m generation body --help)"
        told = told if reading is None else "not of a body model; leave --body out"
        raise ValueError(f"{path}: labels of layout {source} are {told}")
    if source in OF_PEOPLE:
        return SOURCES[source](path, reading, choice)
    if source in STREAMING:
        return SOURCES[source](path, choice)
    return cut_clips(SOURCES[source](path), choice)


def _check_clips(clips: Iterable[Clip], target: str, out: Path, skip_empty: bool) -> Iterator[Clip]:
    seen: set[str] = set()
    for clip in clips:
        num_frames, height, width = clip.video.shape[:3]
        if clip.key in seen:
            raise ValueError(f"{out}: clip {clip.key} comes twice; rename one of the two sequences")
        seen.add(clip.key)
        if target not in TAKE_NO_TRACKS and not clip.tracks.shape[1]:
            if not skip_empty:
                hint = clip.metadata.get("tracks", "leave such clips out with --skip-empty")
                raise ValueError(f"clip {clip.key}: has 0 tracks, and {target} is nothing but tracks; {hint}")
            print(f"{clip.key}: left out, it has 0 tracks", file=sys.stderr, flush=True)
            continue
        yield clip
        depth = "" if clip.depth_m is None else ", depth left out" if target in TAKE_NO_DEPTH else ", depth"
        size = f"{num_frames} frames {width}x{height}, {clip.tracks.shape[1]} tracks"
        person = "" if clip.person is None else ", person" if target == "index" else ", person left out"
        drive = "" if clip.drive is None else ", drive" if target == "index" else ", drive left out"
        print(f"{clip.key}: {size}{depth}{person}{drive}", file=sys.stderr, flush=True)
