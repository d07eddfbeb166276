"""What the metadata of rendered clips says of their scenes: objects, camera, light. Other sources have none of it.

Legend: T frames, K instances.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

LAMPS = "lamps"
"""How a scene without an HDRI is lit (MOVi-A and B)."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One rendered scene: what was drawn, and what is seen of it."""

    assets: tuple[str, ...]
    """(K,) asset of each instance that is seen"""
    is_dynamic: np.ndarray
    """(K,) bool"""
    pixel_share: np.ndarray
    """(K,) share of the frame that an instance covers, mean over frames, 0 to 1"""
    hdri: str
    camera: str
    motion_blur: float
    attempt: int
    """0 where the first try made the clip; each scene that could make none was drawn anew"""
    num_dropped: int
    """Planned objects that found no room."""
    camera_speed: float
    """Metres a second, mean over the clip."""
    camera_turn: float
    """Degrees a second, mean over the clip."""
    settings: dict[str, Any]
    """The recipe, and the versions of what rendered."""


def read_scene(metadata: dict[str, Any], size: tuple[int, int], key: str) -> Scene | None:
    """The scene of a clip with frames of size (H, W); None for metadata that no renderer of ours wrote.

    Raises ValueError that names the clip when the metadata has a scene that lacks something.
    """
    if not {"instances", "scene", "camera"} <= metadata.keys():
        return None
    with _naming_scene(key):
        scene, camera, recipe = metadata["scene"], metadata["camera"], metadata["recipe"]
        bodies = metadata["instances"]
        versions = {f"{name} (version)": version for name, version in metadata["versions"].items()}
        return Scene(
            assets=tuple(str(body["asset_id"]) for body in bodies),
            is_dynamic=np.array([bool(body["is_dynamic"]) for body in bodies], bool),
            pixel_share=np.array([np.mean(body["visible_pixels"]) for body in bodies], float) / (size[0] * size[1]),
            hdri=str(scene["hdri"] or LAMPS),
            camera=str(scene["camera"]),
            motion_blur=float(scene["motion_blur"]),
            attempt=int(metadata["attempt"]),
            num_dropped=int(scene["num_dropped_objects"]),
            camera_speed=mean_speed(np.array(camera["positions"], float), recipe["frame_rate"]),
            camera_turn=mean_turn(np.array(camera["quaternions_wxyz"], float), recipe["frame_rate"]),
            settings={**recipe, **versions},
        )


@contextmanager
def _naming_scene(key: str) -> Iterator[None]:
    """Let every complaint about a scene's metadata be a ValueError that names the clip."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        told = f"lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"clip {key}: its metadata is not that of a rendered scene ({told}); render it anew") from None


def mean_speed(positions: np.ndarray, frame_rate: float) -> float:
    """Metres a second of positions (T, 3) at `frame_rate` frames a second; 0 for a single frame."""
    if len(positions) < 2:
        return 0.0
    return float(np.linalg.norm(np.diff(positions, axis=0), axis=-1).mean() * frame_rate)


def mean_turn(quaternions: np.ndarray, frame_rate: float) -> float:
    """Degrees a second of orientations (T, 4) as (w, x, y, z), by the angle between each two neighbours."""
    if len(quaternions) < 2:
        return 0.0
    unit = quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
    cosine = np.abs((unit[1:] * unit[:-1]).sum(axis=-1))  # of half the angle; q and -q are one orientation
    return float(np.degrees(2 * np.arccos(np.clip(cosine, 0, 1))).mean() * frame_rate)


def count_names(names: Iterable[str]) -> list[tuple[str, int]]:
    """How often each name occurs, most frequent first, equal ones in the order of the alphabet."""
    return sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))


def split_settings(all_settings: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Settings that are the same in every clip, and the different values of those that are not."""
    names = sorted({name for settings in all_settings for name in settings})
    values = {name: _distinct([settings.get(name) for settings in all_settings]) for name in names}
    common = {name: found[0] for name, found in values.items() if len(found) == 1}
    return common, {name: found for name, found in values.items() if len(found) > 1}


def _distinct(values: Sequence[Any]) -> list[Any]:
    """Different values in the order of their first appearance; settings may be lists, which no set can hold."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
