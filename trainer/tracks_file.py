"""tracks.npz, the tracks of one video: written frame by frame, so that a long video does not fill the memory.

Legend: T frames, N points.
"""

import contextlib
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np

from eval.predictions import write_array
from shards.files import appearing

FORMAT = "frameline-tracks/1"
COLUMNS = {"tracks": ("<f4", (2,)), "visible": ("|b1", ()), "uncertainty": ("<f4", ())}


@dataclass(frozen=True, kw_only=True)
class VideoTracks:
    """What a tracks.npz holds: tracks (N, T, 2) float32 as (x, y) in pixels of the video, raster convention; visible
    (N, T) bool; uncertainty (N, T) float32 in 0..1; query_points (N, 3) float64 as (t, y, x), t counts the frames of
    `tracks`; frame_size (height, width); frame_rate; start_frame, the number in the video of the first frame here.

    Before its query frame a point has the query's position, is not visible, and its uncertainty is 1, unless it is
    tracked there (offline CoTracker3, or backward).
    """

    tracks: np.ndarray
    visible: np.ndarray
    uncertainty: np.ndarray
    query_points: np.ndarray
    frame_size: np.ndarray
    frame_rate: float
    start_frame: int


class TracksWriter:
    """Takes the rows of one frame after the other; see `writing_tracks`."""

    def __init__(self, files: dict[str, IO[bytes]]):
        self._files, self.num_frames = files, 0

    def append(self, points: np.ndarray, visible: np.ndarray, uncertainty: np.ndarray) -> None:
        """Add one frame: points (N, 2), visible (N,), uncertainty (N,)."""
        for (name, (dtype, _)), rows in zip(COLUMNS.items(), (points, visible, uncertainty), strict=True):
            self._files[name].write(np.ascontiguousarray(rows, dtype).tobytes())
        self.num_frames += 1

    def columns(self, num_points: int) -> Iterator[tuple[str, np.ndarray]]:
        """Each array as it will be in the file, point before frame; a view of the disk."""
        for name, (dtype, item) in COLUMNS.items():
            self._files[name].flush()
            rows = np.memmap(self._files[name], dtype, "r", shape=(self.num_frames, num_points, *item))
            yield name, rows.swapaxes(0, 1)


@contextlib.contextmanager
def writing_tracks(
    path: Path, query_points: np.ndarray, frame_size: tuple[int, int], frame_rate: Fraction, start_frame: int = 0
) -> Iterator[TracksWriter]:
    """Yield a writer of the rows of query_points (N, 3) (t, y, x); the file appears when the block ends well.

    Until then the rows are in unnamed files of the same folder. Raises ValueError for no frames.
    """
    path = Path(path)
    with appearing(path) as temporary, contextlib.ExitStack() as stack:
        files = {name: stack.enter_context(tempfile.TemporaryFile(dir=path.parent)) for name in COLUMNS}
        writer = TracksWriter(files)
        yield writer
        if not writer.num_frames:
            raise ValueError(f"{path}: there is no frame to write")
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            write_array(archive, "format", np.array(FORMAT))
            for name, column in writer.columns(len(query_points)):
                write_array(archive, name, column)
            write_array(archive, "query_points", np.asarray(query_points, np.float64))
            write_array(archive, "frame_size", np.array(frame_size, np.int64))
            write_array(archive, "frame_rate", np.array(float(frame_rate)))
            write_array(archive, "start_frame", np.array(start_frame, np.int64))


def read_tracks(path: str | Path) -> VideoTracks:
    """Read a tracks.npz; raises FileNotFoundError, and ValueError for another file or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zipfile.zlib.error) as error:
        raise ValueError(f"{path}: not a readable tracks.npz ({error}); track again") from None
    if str(found.pop("format", None)) != FORMAT:
        raise ValueError(f"{path}: not a file of format {FORMAT}; track again")
    missing = {field.name for field in fields(VideoTracks)} - found.keys()
    if missing:
        raise ValueError(f"{path}: `{min(missing)}` is missing; track again")
    frame_rate, start_frame = float(found.pop("frame_rate")), int(found.pop("start_frame"))
    result = VideoTracks(**found, frame_rate=frame_rate, start_frame=start_frame)
    shape = result.visible.shape
    if result.tracks.shape != (*shape, 2) or result.uncertainty.shape != shape or len(result.query_points) != shape[0]:
        raise ValueError(f"{path}: tracks {result.tracks.shape} and visible {shape} do not fit; track again")
    return result
