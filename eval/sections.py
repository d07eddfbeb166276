"""A survey of a data set -> the sections of its page: charts, frequencies, and what had to be left out and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from eval.histograms import Chart, draw_heat_map, draw_histogram, show
from eval.scenes import Scene, count_names
from eval.survey import ClipFacts, Survey

MAX_BARS = 20
"""Of more names than this the most and the least frequent are shown, half of it each."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar: its name, its length in percent of the longest, and its text."""

    name: str
    percent: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Frequency:
    """How often names occur: the bars, and a sentence."""

    title: str
    bars: list[Bar]
    text: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section of the page."""

    name: str
    title: str
    text: str = ""
    charts: list[Chart] = field(default_factory=list)
    frequencies: list[Frequency] = field(default_factory=list)


def make_sections(survey: Survey) -> list[Section]:
    """The sections that this data set can fill; `name_missing` says which it cannot."""
    sections = [_motion(survey), _occlusion(survey)]
    if survey.has_depth:
        sections.append(_depth(survey))
    if survey.scenes:
        sections += [_objects(survey), _camera(survey.scenes)]
    return [section for section in sections if section.charts or section.frequencies]


def name_missing(survey: Survey) -> list[str]:
    """What the page leaves out, and why."""
    missing = []
    if not any(clip.num_tracks for clip in survey.clips):
        missing.append("Motion, occlusion and positions: the examined clips have no tracks.")
    elif not any(clip.motion.size for clip in survey.clips):
        missing.append("Motion between frames: no point is visible in two neighbouring frames.")
    if not survey.has_depth:
        missing.append("Depth: these clips were packed without it.")
    if not survey.scenes:
        missing.append("Objects, camera, light, recipe: only clips that this project rendered say what is in them.")
    elif not survey.has_depth:
        missing.append("Share of tracks on objects: it is found by depth, and there is none.")
    return missing


def pool(clips: Sequence[ClipFacts], values: Callable[[ClipFacts], np.ndarray]) -> np.ndarray:
    """The values of all clips in one array (S,)."""
    return np.concatenate([values(clip) for clip in clips])


def _draw(*charts: Chart | None) -> list[Chart]:
    """The charts that there was something to draw for."""
    return [chart for chart in charts if chart]


def _motion(survey: Survey) -> Section:
    clips, sides = survey.clips, {clip.side for clip in survey.clips}
    if len(sides) == 1:
        side = float(sides.pop())
        unit, motion, displacement = "px", pool(clips, lambda c: c.motion), pool(clips, lambda c: c.displacement)
    else:
        side, unit = 0.0, "% of the longer side"
        motion = pool(clips, lambda c: 100 * c.motion / c.side)
        displacement = pool(clips, lambda c: 100 * c.displacement / c.side)
    charts = _draw(
        draw_histogram(motion, "motion between frames", f"{unit} a frame", "steps", relative_to=side),
        draw_histogram(displacement, "total displacement", unit, "tracks", relative_to=side),
    )
    text = (
        "Motion: distance between a point's positions in two neighbouring frames in which it is visible. "
        "Total displacement: distance between its first and its last visible position. Orange: the median."
    )
    return Section(name="motion", title="Motion of the tracks", text=text, charts=charts)


def _occlusion(survey: Survey) -> Section:
    hidden = pool(survey.clips, lambda clip: 100 * clip.hidden)
    aspect = float(np.median([clip.size[0] / clip.size[1] for clip in survey.clips]))
    lengths = {clip.num_frames for clip in survey.clips}
    if len(lengths) == 1:
        num_frames = lengths.pop()
        counts = np.rint(hidden / 100 * num_frames)
        chart = draw_histogram(counts, "hidden frames", f"frames of {num_frames}", "tracks", is_whole=True)
    else:
        chart = draw_histogram(hidden, "hidden frames", "% of a track's frames", "tracks")
    charts = _draw(
        chart,
        draw_histogram(
            pool(survey.clips, lambda clip: clip.disappearances), "disappearances", "times", "tracks", is_whole=True
        ),
        draw_histogram(
            pool(survey.clips, lambda clip: clip.visible_run),
            "longest time visible",
            "frames in a row",
            "tracks",
            is_whole=True,
        ),
        draw_heat_map(sum(clip.density for clip in survey.clips), "visible positions", aspect),
    )
    text = ""
    if hidden.size:
        text = (
            f"{show(100 * (hidden == 0).mean())} % of the tracks are visible in every frame, "
            f"{show(100 * (hidden == 100).mean())} % in none; {show(hidden.mean())} % of all samples are hidden. "
            "A disappearance is a visible frame followed by a hidden one."
        )
    return Section(name="occlusion", title="Occlusion and positions", text=text, charts=charts)


def _depth(survey: Survey) -> Section:
    clips = [clip for clip in survey.clips if clip.depth_m is not None]
    charts = _draw(
        draw_histogram(pool(clips, lambda clip: clip.depth_m), "depth of pixels", "m", "sampled pixels"),
        draw_histogram(np.array([np.median(clip.depth_m) for clip in clips]), "median depth of a clip", "m", "clips"),
    )
    text = "Distance to the camera's centre, of a grid of pixels in some frames of each clip."
    return Section(name="depth", title="Depth", text=text, charts=charts)


def _objects(survey: Survey) -> Section:
    scenes = survey.scenes
    is_dynamic = np.concatenate([scene.is_dynamic for scene in scenes])
    share = 100 * np.concatenate([scene.pixel_share for scene in scenes])
    covered = np.array([100 * scene.pixel_share.sum() for scene in scenes])
    found = [clip for clip in survey.clips if clip.num_assigned]
    on_objects = np.array([100 * clip.num_on_objects / clip.num_assigned for clip in found])
    charts = _draw(
        draw_histogram(
            np.array([len(scene.assets) for scene in scenes]), "objects in a clip", "objects", "clips", is_whole=True
        ),
        draw_histogram(covered, "area of all objects", "% of the frame", "clips"),
        draw_histogram(share, "area of one object", "% of the frame", "objects"),
        draw_histogram(on_objects, "tracks on objects", "% of a clip's tracks", "clips"),
    )
    kinds = ["dynamic" if each else "static" for each in is_dynamic]
    areas = [
        f"{kind.capitalize()} ones cover {show(np.median(share[is_dynamic == flag]))} % of the frame (median)."
        for kind, flag in (("static", False), ("dynamic", True))
        if (is_dynamic == flag).any()
    ]
    names = [name for scene in scenes for name in scene.assets]
    frequencies = [_frequency("static and dynamic", kinds, "objects"), _frequency("assets", names, "objects")]
    text = " ".join(["An object counts where a pixel of it is seen in some frame.", *areas])
    if found:
        num_on, num_all = sum(clip.num_on_objects for clip in found), sum(clip.num_assigned for clip in found)
        text += f" {show(100 * num_on / num_all)} % of the tracks lie on objects, the rest on the background."
    return Section(name="objects", title="Objects", text=text, charts=charts, frequencies=frequencies)


def _camera(scenes: Sequence[Scene]) -> Section:
    num_again = sum(scene.attempt > 0 for scene in scenes)
    num_dropped = sum(scene.num_dropped for scene in scenes)
    charts = _draw(
        draw_histogram(np.array([scene.camera_speed for scene in scenes]), "speed of the camera", "m/s", "clips"),
        draw_histogram(np.array([scene.camera_turn for scene in scenes]), "turn of the camera", "degrees/s", "clips"),
        draw_histogram(np.array([scene.motion_blur for scene in scenes]), "strength of motion blur", "", "clips"),
    )
    frequencies = [
        _frequency("kind of camera", [scene.camera for scene in scenes], "clips"),
        _frequency("lights (HDRI)", [scene.hdri for scene in scenes], "clips"),
        _frequency("scenes drawn anew", [f"{scene.attempt} times" for scene in scenes], "clips"),
    ]
    text = (
        f"{num_again:,} of {len(scenes):,} scenes made no clip at their first attempt and were drawn anew; "
        f"{num_dropped:,} planned objects found no room."
    )
    return Section(name="camera", title="Camera, light and attempts", text=text, charts=charts, frequencies=frequencies)


def _frequency(title: str, names: Sequence[str], what: str) -> Frequency:
    """Bars of how often each name occurs; of many names the most and the least frequent."""
    counts = count_names(names)
    shown, text = counts, f"{len(counts):,} different in {len(names):,} {what}."
    if len(counts) == 1:
        text = f"All {len(names):,} {what}."
    if len(counts) > MAX_BARS:
        half = MAX_BARS // 2
        shown = [*counts[:half], *counts[-half:]]
        text += f" Shown: the {half} most and the {half} least frequent that occur."
    longest = counts[0][1] if counts else 1
    bars = [Bar(name=name, percent=round(100 * count / longest, 2), text=f"{count:,}") for name, count in shown]
    return Frequency(title=title, bars=bars, text=text)
