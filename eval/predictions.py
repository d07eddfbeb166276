"""predictions.npz: what a tracker says about every query of a benchmark.

An npz without pickled objects: `format`, `tracker`, `query_mode`, `resolution`, `truth_sha256` (digest of the
truth index.json), `names` (V,) and for each video `<name>/query_points` (N, 3) float64 (t, y, x), `<name>/tracks`
(N, T, 2) float32 (x, y), `<name>/occluded` (N, T) bool; positions in pixels of the video at 256x256, raster convention.
`resolution` is the height and width of the frames that the tracker was given: positions are at 256x256 whatever it is.

How they were made may be said, too: `queries` (one of QUERIES), `before_query` (one of BEFORE_QUERY), and
`num_checked_for_leaks`, the number of videos on which it was tried that a prediction depends on no other query.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from eval.tapvid import QUERY_MODES, RESOLUTION
from shards.files import appearing

FORMAT = "frameline-predictions/1"

UNSTATED = "unstated"
INDEPENDENT, JOINT = "independent", "joint"
QUERIES = (INDEPENDENT, JOINT, UNSTATED)
"""Whether each query was answered as if alone, as the official rule asks, or together with the others."""

TRACKED, BACKWARD, NOTHING = "tracked", "backward", "nothing"
BEFORE_QUERY = (TRACKED, BACKWARD, NOTHING, UNSTATED)
"""The frames before a query: the tracker sees all frames at once; from the reversed video; the tracker says nothing."""


@dataclass(frozen=True, kw_only=True)
class Making:
    """How predictions were made: what the tracker was given, and what may make them another protocol's.

    resolution: height and width of the frames. Raises ValueError for an unknown word or a number that cannot be.
    """

    resolution: int = RESOLUTION
    queries: str = UNSTATED
    before_query: str = UNSTATED
    num_checked_for_leaks: int = 0

    def __post_init__(self) -> None:
        for field, known in (("queries", QUERIES), ("before_query", BEFORE_QUERY)):
            if getattr(self, field) not in known:
                raise ValueError(f"{field}: {getattr(self, field)!r} is unknown; choose one of {', '.join(known)}")
        for field, smallest in (("resolution", 1), ("num_checked_for_leaks", 0)):
            if getattr(self, field) < smallest:
                raise ValueError(f"{field}: {getattr(self, field)} is below {smallest}")

    def check_mode(self, query_mode: str) -> None:
        """Raise ValueError when frames before a query count and nothing says that they were tracked."""
        if query_mode == "strided" and self.before_query not in (TRACKED, BACKWARD):
            raise ValueError(
                f"mode 'strided' scores the frames before a query, and `before_query` is {self.before_query!r}: fill "
                "them from the reversed video and say 'backward', or say 'tracked' if it sees all frames at once"
            )


@dataclass(frozen=True, kw_only=True)
class VideoPrediction:
    """Predicted tracks of one video: query_points (N, 3) as (t, y, x), tracks (N, T, 2), occluded (N, T) bool."""

    name: str
    query_points: np.ndarray
    tracks: np.ndarray
    occluded: np.ndarray

    def __post_init__(self) -> None:
        _check_video(self)


def write_predictions(
    path: str | Path,
    *,
    tracker: str,
    query_mode: str,
    truth_sha256: str,
    videos: Iterable[VideoPrediction],
    making: Making | None = None,
) -> Path:
    """Write predictions atomically; `videos` may be a generator, of which one video at a time is held in memory.

    making: how they were made; by default at 256x256, and nothing else is stated. The same predictions give the same
    bytes. Raises ValueError for no videos, a name that comes twice, an unknown query mode, and whatever
    `VideoPrediction` refuses.
    """
    _check_query_mode(query_mode, path)
    path = Path(path)
    with appearing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        header = {"format": FORMAT, "tracker": tracker, "query_mode": query_mode}
        header |= {"truth_sha256": truth_sha256} | asdict(making or Making())
        for field, value in header.items():
            write_array(archive, field, np.array(value))
        write_array(archive, "names", np.array(_write_videos(archive, videos, path), dtype=str))
    return path


def _write_videos(archive: zipfile.ZipFile, videos: Iterable[VideoPrediction], path: Path) -> list[str]:
    names: list[str] = []
    for video in videos:
        if video.name in names:
            raise ValueError(f"{path}: the video {video.name!r} was predicted twice")
        write_array(archive, f"{video.name}/query_points", np.asarray(video.query_points, np.float64))
        write_array(archive, f"{video.name}/tracks", np.asarray(video.tracks, np.float32))
        write_array(archive, f"{video.name}/occluded", np.asarray(video.occluded, bool))
        names.append(video.name)
    if not names:
        raise ValueError(f"{path}: there is no video to predict")
    return names


def write_array(archive: zipfile.ZipFile, field: str, array: np.ndarray) -> None:
    """Add an array to an npz that is being written; without pickling, and equal arrays give equal bytes."""
    # A ZipInfo made by hand carries a fixed date, so that the bytes depend on the content only.
    member = zipfile.ZipInfo(f"{field}.npy")
    member.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(member, "w", force_zip64=True) as stream:
        np.lib.format.write_array(stream, array, allow_pickle=False)


class Predictions:
    """A predictions.npz, its header checked when opened and each video when it is read."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._archive = np.load(self.path, allow_pickle=False)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{self.path}: not a readable predictions.npz ({error}); predict again") from error
        if not isinstance(self._archive, np.lib.npyio.NpzFile):
            raise ValueError(f"{self.path}: a single array, not a predictions.npz; predict again")
        if str(self._field("format")) != FORMAT:
            raise ValueError(f"{self.path}: format {str(self._field('format'))!r}, expected {FORMAT!r}")
        self.tracker = str(self._field("tracker"))
        self.query_mode = str(self._field("query_mode"))
        self.truth_sha256 = str(self._field("truth_sha256"))
        self.names = tuple(str(name) for name in self._field("names"))
        _check_query_mode(self.query_mode, self.path)
        self.making = self._read_making()
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"{self.path}: names: a video comes twice")

    def _read_making(self) -> Making:
        said = {"resolution": int(self._field("resolution"))}
        for field, kind in (("queries", str), ("before_query", str), ("num_checked_for_leaks", int)):
            if field in self._archive:
                said[field] = kind(self._field(field))
        try:
            return Making(**said)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error

    def video(self, name: str) -> VideoPrediction:
        """Read the predicted tracks of the video `name`; raises ValueError when they are missing or malformed."""
        fields = {field: self._field(f"{name}/{field}") for field in ("query_points", "tracks", "occluded")}
        try:
            return VideoPrediction(name=name, **fields)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error

    def _field(self, field: str) -> np.ndarray:
        try:
            return self._archive[field]
        except KeyError:
            raise ValueError(f"{self.path}: `{field}` is missing; predict again") from None
        except (ValueError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:
            raise ValueError(f"{self.path}: `{field}` cannot be read ({error}); predict again") from error


def read_predictions(path: str | Path) -> Predictions:
    """Open a predictions.npz; raises FileNotFoundError or ValueError (with what is wrong) before any number is used."""
    return Predictions(path)


def _check_query_mode(query_mode: str, path: str | Path) -> None:
    if query_mode not in QUERY_MODES:
        raise ValueError(f"{path}: unknown query mode {query_mode!r}; choose one of {', '.join(QUERY_MODES)}")


def _check_video(video: VideoPrediction) -> None:
    """Raise ValueError naming the video and the field that breaks the contract."""
    shape = np.shape(video.occluded)
    if len(shape) != 2 or np.asarray(video.occluded).dtype != bool:
        raise ValueError(f"{video.name}/occluded: must be (N, T) bool, not {shape} {np.asarray(video.occluded).dtype}")
    wanted = {"query_points": (shape[0], 3), "tracks": (*shape, 2)}
    for field, wanted_shape in wanted.items():
        array = np.asarray(getattr(video, field))
        if array.shape != wanted_shape:
            raise ValueError(f"{video.name}/{field}: must be {wanted_shape} to fit occluded {shape}, not {array.shape}")
        if array.dtype.kind != "f":
            raise ValueError(f"{video.name}/{field}: must be floating point, not {array.dtype}")
        num_bad = array.size - np.count_nonzero(np.isfinite(array))
        if num_bad:
            first = tuple(int(index) for index in np.argwhere(~np.isfinite(array))[0])
            raise ValueError(
                f"{video.name}/{field}: {num_bad} of {array.size} values are nan or infinite, the first at {first}; "
                "a tracker that diverged cannot be scored"
            )
