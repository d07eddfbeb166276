"""Made frames beside the true ones: a sheet of stills, and a film."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from eval.drawing import add_title, contact_sheet
from eval.driving.reading import check_same, true_frames
from eval.driving.rollouts import Rollouts, read_rollouts
from eval.driving.truth import DriveTruth
from shards.film import write_mp4

NUM_FRAMES = 8
"""Frames of a row, evenly spread; the first and the last are among them."""
LEAST_SIDE = 96
"""Pixels to which the shorter side of small frames is enlarged, by whole factors: pixels stay squares."""
TITLES = {"truth": "the truth", "true": "told its own actions", "shuffled": "told those of", "none": "told nothing"}
SUBJECT = "frameline-drives"
"""Of the text in the PNG that says what it shows."""


def draw_sheet(path: str | Path, index: str | Path, num_clips: int = 4) -> bytes:
    """A PNG of clips that are evenly spread over the benchmark: a row of true frames, then one for each telling."""
    rollouts, truth = open_both(path, index)
    num_frames = rollouts.settings["num_frames"]
    shown = np.unique(np.linspace(0, num_frames - 1, min(NUM_FRAMES, num_frames)).round().astype(int))
    rows = []
    for key, number in choose_windows(rollouts, num_clips):
        for title, frames in panels(rollouts, truth, key, number):
            strip = contact_sheet([enlarge(frames[t]) for t in shown], num_columns=len(shown))
            rows.append(add_title(strip, f"{name_window(rollouts, key, number)}: {title}"))
    content, about = io.BytesIO(), PngInfo()
    about.add_text(SUBJECT, json.dumps([truth.dataset, rollouts.model]))
    contact_sheet(rows, num_columns=1).save(content, "PNG", pnginfo=about)
    return content.getvalue()


def write_film(path: str | Path, index: str | Path, out: Path, num_clips: int = 4) -> None:
    """An mp4 at the speed of the drives: a row for each clip, the truth and each telling side by side."""
    rollouts, truth = open_both(path, index)
    windows = choose_windows(rollouts, num_clips)
    rows = [panels(rollouts, truth, *window) for window in windows]
    times_s = truth.drive(windows[0][0]).times_s[:: rollouts.settings["frame_step"]]
    rate = Fraction(1 / float(np.median(np.diff(times_s)))).limit_denominator(1001)
    write_mp4(_film(rows, rollouts.settings["num_frames"]), rate, out)


def _film(rows: list[list[tuple[str, np.ndarray]]], num_frames: int) -> Iterator[np.ndarray]:
    """Pictures (H, W, 3) whose sides are even, as H.264 wants them."""
    for t in range(num_frames):
        cells = [add_title(enlarge(frames[t]), title) for row in rows for title, frames in row]
        picture = np.asarray(contact_sheet(cells, num_columns=len(rows[0])))
        yield np.pad(picture, [(0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)])


def open_both(path: str | Path, index: str | Path) -> tuple[Rollouts, DriveTruth]:
    """Rollouts and the truth that they were made for; ValueError where they are of two."""
    rollouts, truth = read_rollouts(path), DriveTruth(index)
    check_same(rollouts, truth)
    return rollouts, truth


def choose_windows(rollouts: Rollouts, num_clips: int) -> list[tuple[str, int]]:
    """Key and number of windows of clips that are evenly spread; of several, each clip shows the next one."""
    return [(key, place % rollouts.num_windows) for place, key in enumerate(choose(rollouts.keys, num_clips))]


def choose(keys: tuple[str, ...], num_clips: int) -> list[str]:
    """The clips in the middle of as many equal parts of the benchmark."""
    if num_clips < 1:
        raise ValueError(f"--clips {num_clips}: draw one or more")
    count = min(num_clips, len(keys))
    return [keys[(2 * part + 1) * len(keys) // (2 * count)] for part in range(count)]


def name_window(rollouts: Rollouts, key: str, number: int) -> str:
    """The clip's key, and where the window begins if there are several."""
    return key if rollouts.num_windows == 1 else f"{key} from frame {rollouts.first(key, number)}"


def panels(rollouts: Rollouts, truth: DriveTruth, key: str, number: int) -> list[tuple[str, np.ndarray]]:
    """Title and frames (T, H, W, 3) of the truth and of each telling of a window."""
    found = [(TITLES["truth"], true_frames(rollouts, truth, key, number))]
    for told in rollouts.told:
        whose = f" {rollouts.told_key(key, told, number)}" if told == "shuffled" else ""
        found.append((f"{rollouts.model}, {TITLES[told]}{whose}", rollouts.frames(key, told, number)))
    return found


def enlarge(frame: np.ndarray) -> Image.Image:
    """A frame (H, W, 3), enlarged by a whole factor where it is small."""
    factor = max(1, -(-LEAST_SIDE // min(frame.shape[:2])))
    return Image.fromarray(frame.repeat(factor, 0).repeat(factor, 1))


def read_subject(content: bytes) -> tuple[str, str]:
    """Benchmark and model of a sheet that was drawn here; ValueError for another picture."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            benchmark, model = json.loads(image.text[SUBJECT])
    except (OSError, SyntaxError, KeyError, ValueError) as error:
        raise ValueError(f"no sheet of `python -m eval drives-sheet` ({error})") from None
    return benchmark, model
