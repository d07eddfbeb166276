"""rollouts.npz: the frames that a driving world model makes of every clip of a benchmark, told three different things.

An npz without pickled objects: `format`, `model`, `weights_sha256`, `dataset_digest` (sha256 of the truth's
index.json), `settings` (JSON) and `rollouts` (JSON: a list of key, first, told, told_key, reward; told_first where the
window whose actions are told begins at another frame). The frames of one rollout are `<key>/<told>`, (T, H, W, 3)
uint8; of a clip's second window and later ones, counted from 0 as they come, `<key>/<told>/<number>`. Of what is told:
TOLD.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from eval.predictions import write_array
from shards.files import appearing

FORMAT = "frameline-rollouts/1"
TRUE, SHUFFLED, NONE = "true", "shuffled", "none"
TOLD = (TRUE, SHUFFLED, NONE)
"""What a model is told: the clip's own actions, those of another clip of the benchmark (other_key), nothing."""
Window = tuple[str, int]
"""Key of a clip, and which of its windows."""
SIZES = ("num_frames", "frame_step", "height", "width", "num_given")
"""Settings that every file has, at least 1: frames of a window, every how many-th of the clip's, pixels, and how many
first frames are given and not made."""
WINDOW = SIZES[:4]
"""Those that say which frames of a clip a window has, and how large: in the order of DriveTruth.window."""
HEADER = ("format", "model", "weights_sha256", "dataset_digest", "settings", "rollouts")
LARGEST_HEADER = 1 << 28
"""Bytes that a field of the header may have: what comes from elsewhere may claim more than there is memory."""
MAKE_AGAIN = "make it again (python -m trainer.predict_drives, or python -m eval drives-copy)"


def other_key(keys: Sequence[str], key: str) -> str:
    """The clip whose actions `key` is told when they are shuffled: the next one in the benchmark's order, cyclic."""
    if len(keys) < 2:
        raise ValueError(f"a benchmark of {len(keys)} clips has no other clip whose actions could be told; pack more")
    return keys[(list(keys).index(key) + 1) % len(keys)]


class RolloutsWriter:
    """Writes a file one rollout at a time; it appears when the `with` block ends well. The same input, the same bytes.

    Raises ValueError for settings that are missing, for frames that do not fit them, for a rollout that comes twice,
    and in the end where there is none, or where some clips were told what others were not.
    """

    def __init__(
        self, path: str | Path, *, model: str, weights_sha256: str, dataset_digest: str, settings: dict[str, Any]
    ) -> None:
        self.path, self.settings = Path(path), dict(settings)
        check_settings(self.settings, self.path)
        self._header = {
            "format": FORMAT, "model": model, "weights_sha256": weights_sha256, "dataset_digest": dataset_digest,
            "settings": json.dumps(settings, sort_keys=True, allow_nan=False),
        }  # fmt: skip
        self._rows: list[dict[str, Any]] = []
        self._firsts: dict[str, list[int]] = {}
        self._taken: set[tuple[str, int, str]] = set()
        self._open = ExitStack()

    def __enter__(self) -> RolloutsWriter:
        temporary = self._open.enter_context(appearing(self.path))
        self._archive = self._open.enter_context(zipfile.ZipFile(temporary, "w"))
        for field, value in self._header.items():
            write_array(self._archive, field, np.array(value))
        return self

    def add(
        self,
        key: str,
        first: int,
        told: str,
        frames: np.ndarray,
        reward: float | None = None,
        told_key: str | None = None,
        told_first: int | None = None,
    ) -> None:
        """Write what was made of the window that begins at frame `first` of a clip: frames (T, H, W, 3) uint8.

        The first `num_given` frames are those given. told_key: whose actions were told; needed where they are another
        clip's. told_first: the frame of that clip from which on, if not `first`. reward: how far samples of it agree,
        if the model says so.
        """
        if told not in TOLD:
            raise ValueError(f"{self.path}: told {told!r} is unknown; choose one of {', '.join(TOLD)}")
        told_key = {TRUE: key, NONE: None}.get(told, told_key)
        if told == SHUFFLED and told_key in (None, key):
            raise ValueError(f"{self.path}: {key} is told another clip's actions: say whose (told_key, see other_key)")
        if (key, first, told) in self._taken:
            raise ValueError(f"{self.path}: the rollout {key} from frame {first}, told {told}, comes twice")
        expected = shape_of(self.settings)
        if frames.dtype != np.uint8 or frames.shape != expected:
            found = f"{frames.dtype} of shape {frames.shape}"
            raise ValueError(f"{self.path}: frames of {key} are {found}, expected uint8 of shape {expected}")
        if reward is not None and not np.isfinite(reward):
            raise ValueError(
                f"{self.path}: the reward of {key}, told {told}, is {reward}; give None where there is none"
            )
        reward = None if reward is None else float(reward)
        row = {"key": key, "first": int(first), "told": told, "told_key": told_key, "reward": reward}
        if told == SHUFFLED and told_first not in (None, first):
            row["told_first"] = int(told_first)
        self._rows.append(row)
        self._taken.add((key, first, told))
        write_array(self._archive, array_name(key, told, number_of(self._firsts, row)), frames)

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:
            self._open.__exit__(*error)
            return
        with self._open:
            _check_whole(_by_window(self._rows), self.path)
            write_array(self._archive, "rollouts", np.array(json.dumps(self._rows)))


class Rollouts:
    """A rollouts.npz, its header checked when opened; frames are read one rollout at a time.

    A window is a clip's key and its number, from 0 in the order of the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"{self.path}: not there; {MAKE_AGAIN}")
        try:
            with zipfile.ZipFile(self.path) as archive:
                self._sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            if any(self._sizes.get(f"{name}.npy", 0) > LARGEST_HEADER for name in HEADER):
                raise ValueError("its header is larger than any")
            self._archive = np.load(self.path, allow_pickle=False)
            fields = {name: str(self._archive[name]) for name in HEADER}
            self.settings: dict[str, Any] = json.loads(fields["settings"])
            self._rows = _by_window(json.loads(fields["rollouts"]))
        except (OSError, ValueError, EOFError, KeyError, TypeError, IndexError, zipfile.BadZipFile) as error:
            raise ValueError(f"{self.path}: not a readable rollouts.npz ({error}); {MAKE_AGAIN}") from None
        if fields["format"] != FORMAT:
            raise ValueError(f"{self.path}: format {fields['format']!r}, expected {FORMAT!r}; {MAKE_AGAIN}")
        check_settings(self.settings, self.path)
        _check_whole(self._rows, self.path)
        self.model, self.weights_sha256 = fields["model"], fields["weights_sha256"]
        self.dataset_digest = fields["dataset_digest"]
        self.keys = tuple(dict.fromkeys(key for key, _, _ in self._rows))
        self.told = tuple(told for told in TOLD if (self.keys[0], 0, told) in self._rows)
        """What the model was told: those of TOLD that the file has, of every window."""
        self.windows = tuple(dict.fromkeys((key, number) for key, number, _ in self._rows))
        """Key and number of every window."""
        self.num_windows = len(self.windows) // len(self.keys)
        """Of each clip."""

    def frames(self, key: str, told: str, number: int = 0) -> np.ndarray:
        """The frames (T, H, W, 3) uint8 of a rollout; ValueError where it is missing or damaged."""
        self._row(key, told, number)
        name, expected = array_name(key, told, number), shape_of(self.settings)
        if self._sizes.get(f"{name}.npy", 0) > math.prod(expected) + 4096:
            raise ValueError(f"{self.path}: {key}, told {told}, is larger than its settings say; {MAKE_AGAIN}")
        try:
            frames = self._archive[name]
        except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:
            raise ValueError(
                f"{self.path}: the rollout {key}, told {told}, is damaged ({error}); {MAKE_AGAIN}"
            ) from None
        if frames.dtype != np.uint8 or frames.shape != expected:
            raise ValueError(f"{self.path}: frames of {key} have shape {frames.shape}, not {expected}; {MAKE_AGAIN}")
        return frames

    def first(self, key: str, number: int = 0) -> int:
        """The frame of the clip that a window begins at."""
        return self._row(key, self.told[0], number)["first"]

    def reward(self, key: str, told: str, number: int = 0) -> float | None:
        """How far samples of the rollout agree; None where the model does not say."""
        return self._row(key, told, number)["reward"]

    def told_key(self, key: str, told: str, number: int = 0) -> str | None:
        """The clip whose actions were told; None where nothing was."""
        return self._row(key, told, number)["told_key"]

    def told_first(self, key: str, told: str, number: int = 0) -> int:
        """The frame of that clip from which on its actions were told."""
        row = self._row(key, told, number)
        return row.get("told_first", row["first"])

    def _row(self, key: str, told: str, number: int) -> dict[str, Any]:
        if (key, number, told) not in self._rows:
            raise ValueError(f"{self.path}: no rollout of {key!r}, window {number}, that was told {told!r}")
        return self._rows[key, number, told]


def read_rollouts(path: str | Path) -> Rollouts:
    """Open a rollouts.npz; raises ValueError for what is none."""
    return Rollouts(path)


def array_name(key: str, told: str, number: int) -> str:
    """What the frames of a rollout are called in the file."""
    return f"{key}/{told}/{number}" if number else f"{key}/{told}"


def number_of(firsts: dict[str, list[int]], row: dict[str, Any]) -> int:
    """The number of a row's window among those of its clip; `firsts`, where these begin, takes in a new one."""
    found = firsts.setdefault(row["key"], [])
    if row["first"] not in found:
        found.append(row["first"])
    return found.index(row["first"])


def shape_of(settings: dict[str, Any]) -> tuple[int, int, int, int]:
    """The shape (T, H, W, 3) of every rollout of a file."""
    return settings["num_frames"], settings["height"], settings["width"], 3


def check_settings(settings: dict[str, Any], path: Path) -> None:
    """Raise ValueError for settings that do not say how large a window is."""
    for name in SIZES:
        value = settings.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{path}: settings.{name} is {value!r}, expected a number of at least 1")
    if settings["num_given"] >= settings["num_frames"]:
        raise ValueError(f"{path}: of {settings['num_frames']} frames {settings['num_given']} are given: none is made")


def _by_window(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int, str], dict[str, Any]]:
    """Rows by clip, number of the window, and what was told."""
    firsts: dict[str, list[int]] = {}
    return {(row["key"], number_of(firsts, row), row["told"]): row for row in rows}


def _check_whole(rows: dict[tuple[str, int, str], dict[str, Any]], path: Path) -> None:
    """Raise ValueError where there is no rollout, where some windows were told what others were not, or where clips
    have not equally many windows."""
    if not rows:
        raise ValueError(f"{path}: there is no rollout in it")
    said, most = {told for _, _, told in rows}, max(number for _, number, _ in rows)
    for (key, number, told), row in rows.items():
        where = f"{path}: {key} from frame {row['first']}"
        lacks = [other for other in said if (key, number, other) not in rows]
        if lacks:
            raise ValueError(f"{where} was told {told} and not {lacks[0]}, other windows were; tell all the same")
        if (key, most, told) not in rows:
            raise ValueError(f"{where}: this clip has fewer than {most + 1} windows, others have; make as many of each")
