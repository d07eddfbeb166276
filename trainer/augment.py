"""Augmentations of a training window: first everything is drawn, from annotations alone, then the frames are changed.

The published order (LBM; CoTracker's Kubric training has the same without `replace`): erase, replace, jitter, blur,
pad, scale, crop, mirror. Every draw comes from the generator that is passed in.

Legend: T frames, N points, H W pixels. Points are (x, y) pixels, raster convention.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from trainer.colour import Jitter, draw_jitter, jitter_colours, thumbnail_of
from trainer.config import DataConfig
from trainer.framing import Framing, centre_framing, cut_frame, draw_framing, is_inside, move_points

Size = tuple[int, int]
"""height, width"""

FRAMING_DRAWS = 10
"""A crop that shows no point of frame 0 is drawn again this often before the clip is refused."""


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A rectangle of one frame that something covers."""

    frame: int
    x: int
    y: int
    width: int
    height: int
    source: tuple[int, int, int] | None = None
    """frame, x, y of the colour-jittered clip that is pasted here; None fills with the rectangle's mean colour"""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What happens to the pixels of a window before it is cut; the order of the fields is the order of events."""

    erased: tuple[Patch, ...] = ()
    replaced: tuple[Patch, ...] = ()
    replacement: tuple[Jitter, ...] = ()
    """The jitters, one after the other, of the copy that `replaced` is filled from."""
    jitter: Jitter | None = None
    blur_sigma: np.ndarray | None = None
    """(T,) pixels"""
    blur_kernel: int = 1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that is done to a window's frames, and its annotations afterwards."""

    changes: Changes
    framing: Framing
    tracks: np.ndarray
    """(T, N, 2) float32, pixels of the crop"""
    visible: np.ndarray
    """(T, N) bool: neither covered nor outside of the crop"""


def draw_plan(
    tracks: np.ndarray, visible: np.ndarray, size: Size, config: DataConfig, rng: np.random.Generator
) -> Plan:
    """Plan one window: tracks (T, N, 2), visible (T, N) bool, frames of `size` (H, W).

    Raises ValueError when the crop shows no point in a frame that points are drawn from (as a rule the first): the
    centre crop, or FRAMING_DRAWS drawn ones in a row.
    """
    num_frames = len(tracks)
    candidates = candidate_frames(num_frames, config)
    changes = draw_changes(num_frames, size, config, rng) if config.augment else Changes()
    visible = cover_points(tracks, visible, (*changes.erased, *changes.replaced))
    for _ in range(FRAMING_DRAWS if config.augment else 1):
        if config.augment:
            framing = draw_framing(tracks, visible, size, config, rng)
        else:
            framing = centre_framing(num_frames, size, config)
        moved = move_points(tracks, framing)
        seen = visible & is_inside(moved, *framing.crop)
        if seen[candidates].any():
            return Plan(changes=changes, framing=framing, tracks=moved, visible=seen)
    where = "the first frame" if len(candidates) == 1 else f"{name_frames(candidates)} of the window"
    raise ValueError(
        f"no point that is visible in {where} lies in the crop of "
        f"{framing.crop[1]}x{framing.crop[0]}; "
        "use a larger data.crop_size, or leave this clip out of the data set"
    )


def candidate_frames(num_frames: int, config: DataConfig) -> list[int]:
    """The frames of a window in one of which a point must be visible to be drawn: the first, the middle, the last."""
    middle = [num_frames // 2] if config.sample_vis_middle_frame else []
    last = [num_frames - 1] if config.sample_vis_last_frame else []
    return [0, *middle, *last]


def name_frames(frames: list[int]) -> str:
    """'frame 0' or 'frames 0, 12'."""
    return f"frame{'s' * (len(frames) > 1)} {', '.join(map(str, frames))}"


def draw_changes(num_frames: int, size: Size, config: DataConfig, rng: np.random.Generator) -> Changes:
    """Draw what is erased, replaced, jittered and blurred in a window of frames of `size` (H, W)."""
    erased = draw_patches(num_frames, size, config.eraser_probability, config, rng)
    replaced = draw_patches(num_frames, size, config.replace_probability, config, rng)
    replaced = tuple(_draw_source(patch, num_frames, size, rng) for patch in replaced)
    replacement = tuple(draw_jitter(num_frames, config, rng) for _ in range(2)) if replaced else ()
    jitters, blurs = rng.random(2) < (config.jitter_probability, config.blur_probability)
    return Changes(
        erased=erased,
        replaced=replaced,
        replacement=replacement,
        jitter=draw_jitter(num_frames, config, rng) if jitters else None,
        blur_sigma=rng.uniform(*config.blur_sigma, num_frames) if blurs else None,
        blur_kernel=config.blur_kernel,
    )


def draw_patches(
    num_frames: int, size: Size, probability: float, config: DataConfig, rng: np.random.Generator
) -> tuple[Patch, ...]:
    """1 to max_patches rectangles in each frame that is drawn with `probability`, never in the first.

    Centres are uniform over the frame of `size` (H, W), sides uniform whole pixels of [patch_size); cut at the border.
    """
    height, width = size
    frames = 1 + np.flatnonzero(rng.random(num_frames - 1) < probability)
    frames = np.repeat(frames, rng.integers(1, config.max_patches + 1, len(frames)))
    centre = rng.integers(0, (width, height), (len(frames), 2))  # x, y
    sides = rng.integers(*config.patch_size, (len(frames), 2))
    begin = np.maximum(centre - sides // 2, 0)
    end = np.minimum(centre - sides // 2 + sides, (width, height))
    rows = np.column_stack([frames, begin, end - begin]).tolist()
    return tuple(Patch(frame=t, x=x, y=y, width=w, height=h) for t, x, y, w, h in rows)


def _draw_source(patch: Patch, num_frames: int, size: Size, rng: np.random.Generator) -> Patch:
    """The patch with a uniform frame and place to copy from."""
    frame, x, y = rng.integers(0, (num_frames, size[1] - patch.width + 1, size[0] - patch.height + 1)).tolist()
    return Patch(frame=patch.frame, x=patch.x, y=patch.y, width=patch.width, height=patch.height, source=(frame, x, y))


def cover_points(tracks: np.ndarray, visible: np.ndarray, patches: tuple[Patch, ...]) -> np.ndarray:
    """visible (T, N) without the points that lie under a patch of their frame."""
    visible = visible.copy()
    columns, rows = np.ascontiguousarray(np.moveaxis(tracks, -1, 0))  # (T, N) each: one pass each is faster
    for patch in patches:
        x, y = columns[patch.frame], rows[patch.frame]
        under = (x >= patch.x) & (x < patch.x + patch.width) & (y >= patch.y) & (y < patch.y + patch.height)
        visible[patch.frame, under] = False
    return visible


def apply_plan(video: np.ndarray, plan: Plan) -> np.ndarray:
    """The crops (T, h, w, 3) uint8 of a window's frames (T, H, W, 3) uint8, whose content is overwritten."""
    changes, (width, height) = plan.changes, plan.framing.crop
    erase(video, changes.erased)
    replace(video, changes.replaced, changes.replacement)
    crops = np.empty((len(video), height, width, 3), np.uint8)
    for frame, image in enumerate(video):
        if changes.jitter is not None:
            image = jitter_colours(image, thumbnail_of(image), changes.jitter, frame)[0]
        if changes.blur_sigma is not None:
            image = blur(image, changes.blur_kernel, changes.blur_sigma[frame])
        cut_frame(image, plan.framing, frame, crops[frame])
    return crops


def blur(image: np.ndarray, kernel: int, sigma: float) -> np.ndarray:
    """A frame (H, W, 3) uint8 under a Gaussian of kernel x kernel pixels, reflected at the border."""
    return cv2.GaussianBlur(image, (kernel, kernel), float(sigma), borderType=cv2.BORDER_REFLECT_101)


def erase(video: np.ndarray, patches: tuple[Patch, ...]) -> None:
    """Fill each patch with the mean colour that it then has, in place."""
    for patch in patches:
        pixels = _pixels_under(video, patch)
        pixels[:] = np.array(cv2.mean(pixels)[:3]).astype(np.uint8)


def replace(video: np.ndarray, patches: tuple[Patch, ...], jitters: tuple[Jitter, ...]) -> None:
    """Paste parts of a colour-jittered copy of the video over its patches, in place.

    Only what is pasted is jittered: all parts of one frame in one go, with that frame's draw.
    """
    by_frame: dict[int, list[int]] = {}
    for number, patch in enumerate(patches):
        by_frame.setdefault(patch.source[0], []).append(number)
    parts: list[np.ndarray] = [np.empty(0)] * len(patches)
    for frame, numbers in by_frame.items():
        sources = [_source_of(video, patches[number]) for number in numbers]
        pixels = np.concatenate([source.reshape(1, -1, 3) for source in sources], axis=1)  # (1, pixels, 3)
        thumbnail = thumbnail_of(video[frame])
        for jitter in jitters:
            pixels, thumbnail = jitter_colours(pixels, thumbnail, jitter, frame)
        ends = np.cumsum([source.shape[0] * source.shape[1] for source in sources])[:-1]
        for number, part in zip(numbers, np.split(pixels[0], ends), strict=True):
            parts[number] = part
    for patch, part in zip(patches, parts, strict=True):
        _pixels_under(video, patch)[:] = part.reshape(patch.height, patch.width, 3)


def _pixels_under(video: np.ndarray, patch: Patch) -> np.ndarray:
    return video[patch.frame, patch.y : patch.y + patch.height, patch.x : patch.x + patch.width]


def _source_of(video: np.ndarray, patch: Patch) -> np.ndarray:
    frame, x, y = patch.source
    return video[frame, y : y + patch.height, x : x + patch.width]
