"""Small animations of clips with their tracks, as a page holds them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eval.drawing import Panel, draw_tracks, encode_webp
from eval.page import data_uri
from eval.protocol import resize_frames, scale_points
from eval.survey import ClipFacts, spread
from shards import ClipStore

LONG_SIDE = 208
MAX_FRAMES = 16
MAX_POINTS = 32
QUALITY = 45
TRAIL = 5
USUAL_FRAME_RATE = 12
"""Frames a second of clips that do not say theirs."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One clip as an animation, and what is said below it."""

    key: str
    uri: str
    width: int
    height: int
    text: str


def draw_picture(store: ClipStore, facts: ClipFacts) -> Picture:
    """Draw an even choice of the clip's tracks over at most MAX_FRAMES frames, from where each is first seen."""
    step = -(-facts.num_frames // MAX_FRAMES)
    clip = store.read(facts.number, frames=slice(0, facts.num_frames, step))
    factor = LONG_SIDE / facts.side
    size = (max(1, round(facts.size[0] * factor)), max(1, round(facts.size[1] * factor)))
    points = np.flatnonzero(clip.visible.any(axis=0))
    points = points[spread(len(points), MAX_POINTS)] if len(points) else points
    tracks = scale_points(clip.tracks[:, points], facts.size, size)
    visible = clip.visible[:, points]
    if facts.scene is None:
        # Only a renderer knows where a hidden point is; annotated videos hold a guess there.
        tracks = np.where(visible[..., None], tracks, np.nan)
    panel = Panel(title=facts.key, tracks=tracks, visible=visible, start=visible.argmax(axis=0))
    images = [
        draw_tracks(frame, panel, t, radius=1.9, trail=TRAIL) for t, frame in enumerate(resize_frames(clip.video, size))
    ]
    rate = facts.scene.settings["frame_rate"] if facts.scene else USUAL_FRAME_RATE
    return Picture(
        key=facts.key,
        uri=data_uri("image/webp", encode_webp(images, frame_ms=round(1000 * step / rate), quality=QUALITY)),
        width=size[1],
        height=size[0],
        text=_tell(facts),
    )


def _tell(facts: ClipFacts) -> str:
    """What a reader wants to know of a clip beside its picture."""
    told = f"{100 * facts.hidden.mean():.0f} % hidden" if facts.num_tracks else "no tracks"
    if facts.scene:
        num_dynamic = int(facts.scene.is_dynamic.sum())
        told += f", {len(facts.scene.assets)} objects ({num_dynamic} dynamic), light {facts.scene.hdri}"
    return told
