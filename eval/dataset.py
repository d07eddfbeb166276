"""An index of shards -> one self-contained HTML that says what is in the data set, before anyone trains on it.

The same index gives the same bytes: no date, no machine, no random ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.gallery import Picture, draw_picture
from eval.histograms import show
from eval.page import render_page
from eval.scenes import split_settings
from eval.sections import Section, make_sections, name_missing
from eval.survey import ClipFacts, Survey, find_duplicates, open_store, spread, take_survey
from shards.files import write_text

NUM_TAIL = 3
"""Clips in each row of the table of extremes."""
MAX_NAMED = 12
"""Clips that a warning names."""


@dataclass(frozen=True, kw_only=True)
class Tail:
    """The clips at one end of one quantity, with their values."""

    title: str
    clips: list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something to look at before a training, the clips in which it was found, and how many more there are."""

    text: str
    keys: list[str]
    num_more: int


@dataclass(frozen=True, kw_only=True)
class DatasetView:
    """All that the template reads."""

    title: str
    sha256: str
    tiles: list[tuple[str, str]]
    examined: str
    facts: list[tuple[str, str]]
    settings: list[tuple[str, str]]
    different: list[tuple[str, str]]
    contact: list[Picture]
    extremes: list[Picture]
    tails: list[Tail]
    warnings: list[Finding]
    sections: list[Section]
    missing: list[str]

    @property
    def drawn(self) -> set[str]:
        """Keys of the clips that have a picture on the page."""
        return {picture.key for picture in (*self.contact, *self.extremes)}


def write_dataset_page(index: str | Path, out: str | Path, *, num_pictures: int = 12, sample: int = 512) -> Path:
    """Write the page of an index.json: at most `sample` clips are examined, and `num_pictures` shown, evenly spread.

    Raises ValueError that names the file for an index that is not there or is empty, for damaged shards, and for
    metadata that is not what the renderer writes.
    """
    if num_pictures < 1:
        raise ValueError(f"--clips {num_pictures} shows no clip; give 1 or more")
    store = open_store(index)
    survey = take_survey(store, sample)
    tails = find_tails(survey.clips)
    shown = [survey.clips[number] for number in spread(len(survey.clips), num_pictures)]
    wanted = {key for tail in tails for key, _ in tail.clips} - {clip.key for clip in shown}
    common, different = split_settings([scene.settings for scene in survey.scenes])
    view = DatasetView(
        title=f"Data set {survey.dataset}",
        sha256=survey.sha256,
        tiles=_tiles(survey),
        examined=_examined(survey),
        facts=_facts(survey),
        settings=[(name, _text(value)) for name, value in common.items()],
        different=[(name, _list_some(map(_text, values))) for name, values in different.items()],
        contact=[draw_picture(store, clip) for clip in shown],
        extremes=[draw_picture(store, clip) for clip in survey.clips if clip.key in wanted],
        tails=tails,
        warnings=find_warnings(survey.clips),
        sections=make_sections(survey),
        missing=name_missing(survey),
    )
    return write_text(Path(out), render_page("dataset.html", view=view))


def find_tails(clips: Sequence[ClipFacts]) -> list[Tail]:
    """The fastest, most occluded, darkest and emptiest clips; clips without the quantity are left out."""
    rows: list[tuple[str, Callable[[ClipFacts], float | None], bool, str]] = [
        ("fastest (median motion a frame)", _speed, True, "% of the longer side"),
        ("most occluded (samples hidden)", lambda clip: _percent(clip.hidden), True, "%"),
        ("darkest (mean luma)", lambda clip: 100 * clip.brightness, False, "% of white"),
        ("fewest objects", lambda clip: len(clip.scene.assets) if clip.scene else None, False, "objects"),
    ]
    tails = []
    for title, measure, is_most, unit in rows:
        values = [(value, clip) for clip in clips if (value := measure(clip)) is not None]
        values.sort(key=lambda pair: (-pair[0] if is_most else pair[0], pair[1].number))
        if values:
            tails.append(
                Tail(title=title, clips=[(clip.key, f"{show(value)} {unit}") for value, clip in values[:NUM_TAIL]])
            )
    return tails


def _speed(clip: ClipFacts) -> float | None:
    return 100 * clip.median_motion_share if np.isfinite(clip.median_motion_share) else None


def _percent(shares: np.ndarray) -> float | None:
    return 100 * float(shares.mean()) if shares.size else None


def find_warnings(clips: Sequence[ClipFacts]) -> list[Finding]:
    """What a training could stumble over, with the clips; nothing is said of what was not found."""
    findings: list[tuple[str, Callable[[ClipFacts], object]]] = [
        ("no tracks at all", lambda clip: not clip.num_tracks),
        ("0 visible points in frame 0", lambda clip: clip.num_tracks and clip.num_visible_first == 0),
        ("1 visible point in frame 0", lambda clip: clip.num_visible_first == 1),
        ("points that are never visible", lambda clip: (clip.hidden == 1).any()),
        ("points called visible outside the frame", lambda clip: clip.num_visible_outside),
        ("frames of a single colour", lambda clip: clip.constant_frames),
        ("frames equal to the one before them", lambda clip: clip.repeated_frames),
        ("no object that is seen", lambda clip: clip.scene and not clip.scene.assets),
    ]
    warnings = [_warn(text, [clip.key for clip in clips if is_found(clip)], len(clips)) for text, is_found in findings]
    warnings += [
        _warn("the same pictures under different names", [clip.key for clip in group], len(clips))
        for group in find_duplicates(clips)
    ]
    return [warning for warning in warnings if warning.keys]


def _warn(text: str, keys: list[str], num_clips: int) -> Finding:
    text = f"{len(keys):,} of {num_clips:,} clips: {text}"
    return Finding(text=text, keys=keys[:MAX_NAMED], num_more=max(0, len(keys) - MAX_NAMED))


def _tiles(survey: Survey) -> list[tuple[str, str]]:
    return [
        (f"{survey.num_clips:,}", "clips"),
        (f"{survey.num_frames:,}", "frames"),
        (f"{survey.num_tracks:,}", "tracks"),
        (_bytes(survey.num_bytes), f"in {survey.num_shards:,} shard{'s' if survey.num_shards != 1 else ''}"),
    ]


def _bytes(count: int) -> str:
    """A size as people write it, decimal."""
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB")):
        if count >= 1000**power:
            return f"{count / 1000**power:.1f} {unit}"
    return f"{count / 1000:.1f} kB"


def _examined(survey: Survey) -> str:
    if len(survey.clips) == survey.num_clips:
        return f"All {survey.num_clips:,} clips were examined."
    return (
        f"{len(survey.clips):,} of {survey.num_clips:,} clips were examined, evenly spread. The counts above are of "
        "all clips, everything below is of the examined ones."
    )


def _facts(survey: Survey) -> list[tuple[str, str]]:
    clips = survey.clips
    is_every = all(len(clip.examined_frames) == clip.num_frames for clip in clips)
    return [
        ("index sha256", survey.sha256),
        ("frame size", _list_some(dict.fromkeys(f"{clip.size[1]} x {clip.size[0]}" for clip in clips))),
        ("frames a clip", _range([clip.num_frames for clip in clips])),
        ("tracks a clip", _range([clip.num_tracks for clip in clips])),
        ("depth", "in metres, beside the shards" if survey.has_depth else "none"),
        ("pictures looked at", "every frame" if is_every else "every n-th frame of the longer clips"),
    ]


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}, median {show(float(np.median(counts)))}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _list_some(values: Iterable[str]) -> str:
    values = list(values)
    more = f" and {len(values) - MAX_NAMED:,} more" if len(values) > MAX_NAMED else ""
    return ", ".join(values[:MAX_NAMED]) + more
