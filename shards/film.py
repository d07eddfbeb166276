"""Tracks drawn over frames with fading trails, and films of them: H.264 in MP4, or animated WebP.

Legend: T frames, N points, H W pixels. A filled dot is visible, a ring is hidden, and each point keeps its hue.
"""

import colorsys
import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from shards.clip import Clip
from shards.files import appearing
from shards.people.skeleton import PARENTS

TRAIL = 8
"""Frames that a trail goes back."""
FRAMES_PER_SECOND = 12
"""Where a clip's recipe does not say."""
OUTLINE = (20, 20, 24)
FIXED_POINT_BITS = 4
FARTHEST = 1e5
"""Pixels; OpenCV counts in 32-bit fixed point, and what is farther out is not in the picture anyway."""


def draw_frames(clip: Clip, *, side: int, num_points: int = 40, frames: Iterable[int] | None = None) -> Iterator:
    """Yield frames (H', W', 3) uint8 with tracks drawn; the longer side is `side` pixels, both are even numbers.

    Of the tracks an even choice of at most `num_points` is drawn, each with a trail of TRAIL frames. Of a person all
    joints are drawn, with bones and without trails, as each frame has a camera of its own. `frames` names the frames to
    draw, default all.
    """
    is_person = clip.person is not None
    height, width = clip.video.shape[1:3]
    scale = side / max(height, width)
    size = tuple(max(2, 2 * round(length * scale / 2)) for length in (width, height))
    points = spread(clip.tracks.shape[1], clip.tracks.shape[1] if is_person else num_points)
    tracks = clip.tracks[:, points] * (np.array(size) / (width, height))  # (T, N, 2)
    visible = clip.visible[:, points]
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    for t in range(len(clip.video)) if frames is None else frames:
        past = slice(t if is_person else max(0, t - TRAIL), t + 1)
        frame = cv2.resize(clip.video[t], size, interpolation=interpolation)
        if is_person and len(points) == len(PARENTS):
            frame = draw_bones(frame, tracks[t], visible[t], thickness=max(1, round(side / 240)))
        yield draw_tracks(frame, tracks[past], visible[past], radius=max(2.5, side / 120))


def draw_tracks(
    frame: np.ndarray, tracks: np.ndarray, visible: np.ndarray, *, radius: float, colours: list | None = None
) -> np.ndarray:
    """A frame (H, W, 3) uint8 with points (T, N, 2), visible (T, N): dots at the last of T, trails of the earlier ones.

    Positions are raster pixels of the frame. Older parts of a trail are fainter, and hidden parts are thin. `colours`:
    RGB of each point, default those of `point_colours`.
    """
    colours = point_colours(tracks.shape[1]) if colours is None else colours
    # OpenCV counts from the centre of the top-left pixel, in sixteenths.
    places = np.rint((np.clip(tracks, -FARTHEST, FARTHEST) - 0.5) * 2**FIXED_POINT_BITS).astype(int).tolist()
    settings = {"lineType": cv2.LINE_AA, "shift": FIXED_POINT_BITS}
    paint, opacity = frame.copy(), np.zeros(frame.shape[:2], np.uint8)
    for t in range(len(tracks) - 1):
        for n, colour in enumerate(colours):
            thickness = max(1, round(radius * (0.6 if visible[t : t + 2, n].all() else 0.25)))
            ends = places[t][n], places[t + 1][n]
            cv2.line(paint, *ends, colour, thickness + 2, **settings)
            cv2.line(opacity, *ends, round(230 * (t + 1) / len(tracks)), thickness, **settings)
    share = opacity[..., None] / 255
    image = np.rint(frame + (paint.astype(np.float32) - frame) * share).astype(np.uint8)
    for n, colour in enumerate(colours):
        x, y = np.clip(tracks[-1, n], -FARTHEST, FARTHEST)
        if visible[-1, n]:
            _stamp(image, x, y, radius + 1, 0, OUTLINE)
            _stamp(image, x, y, radius, 0, colour)
        else:
            _stamp(image, x, y, 1.3 * radius + 1, 0.7 * radius, OUTLINE)
            _stamp(image, x, y, 1.3 * radius, 0.7 * radius, colour)
    return image


def draw_bones(frame: np.ndarray, joints: np.ndarray, visible: np.ndarray, *, thickness: int) -> np.ndarray:
    """A frame (H, W, 3) uint8 with the bones between joints (22, 2), visible (22,): thin where an end is hidden."""
    image, colours = frame.copy(), point_colours(len(joints))
    # As in draw_tracks: OpenCV counts from the centre of the top-left pixel, in sixteenths.
    places = np.rint((np.clip(joints, -FARTHEST, FARTHEST) - 0.5) * 2**FIXED_POINT_BITS).astype(int).tolist()
    for joint, parent in enumerate(PARENTS[1:], start=1):
        ends, width = (places[parent], places[joint]), thickness if visible[[parent, joint]].all() else 1
        for colour, wider in ((OUTLINE, 2), (colours[joint], 0)):
            cv2.line(image, *ends, colour, width + wider, lineType=cv2.LINE_AA, shift=FIXED_POINT_BITS)
    return image


def _stamp(image: np.ndarray, x: float, y: float, radius: float, hole: float, colour: tuple[int, int, int]) -> None:
    """Paint a disc, or a ring around a hole, with smooth edges: OpenCV's small circles are diamonds."""
    height, width = image.shape[:2]
    left, right = max(0, int(x - radius - 1)), min(width, int(x + radius + 2))
    top, bottom = max(0, int(y - radius - 1)), min(height, int(y + radius + 2))
    if left >= right or top >= bottom:
        return
    distance = np.hypot(np.arange(left, right) + 0.5 - x, np.arange(top, bottom)[:, None] + 0.5 - y)
    share = np.clip(radius + 0.5 - distance, 0, 1) * (np.clip(distance - hole + 0.5, 0, 1) if hole else 1)
    patch = image[top:bottom, left:right]
    patch[:] = np.rint(patch + (np.array(colour, float) - patch) * share[..., None]).astype(np.uint8)


def point_colours(num_points: int) -> list[tuple[int, int, int]]:
    """RGB of each point: evenly spaced hues."""
    hues = (number / max(1, num_points) for number in range(num_points))
    return [tuple(round(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.85, 1)) for hue in hues]


def frame_rate(clip: Clip) -> Fraction:
    """Frames per second that the clip's recipe gives, else FRAMES_PER_SECOND."""
    recipe = clip.metadata.get("recipe")
    rate = recipe.get("frame_rate") if isinstance(recipe, dict) else None
    is_rate = isinstance(rate, int | float) and 0.1 <= rate <= 240
    return Fraction(rate if is_rate else FRAMES_PER_SECOND).limit_denominator(1001)


def write_mp4(frames: Iterable[np.ndarray], rate: Fraction, out: Path) -> None:
    """Write frames (H, W, 3) uint8 of even sizes as H.264 yuv420p, which browsers and slides play.

    A build of PyAV without libx264 writes MPEG-4 Part 2 instead, which every player but a browser plays.
    """
    import av  # only here: it takes longer to import than the rest of this package

    fast_start = {"movflags": "+faststart"}
    with appearing(out) as temporary, av.open(str(temporary), "w", format="mp4", options=fast_start) as container:
        has_h264 = "libx264" in av.codecs_available
        codec, options = ("libx264", {"crf": "18"}) if has_h264 else ("mpeg4", {"qmin": "2", "qmax": "4"})
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # so that the same clip gives the same bytes
        for number, frame in enumerate(frames):
            if number == 0:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def encode_webp(frames: Iterable[np.ndarray], rate: Fraction, quality: int = 80) -> bytes:
    """Frames (H, W, 3) uint8 as an animated WebP that loops."""
    first, *others = map(Image.fromarray, frames)
    buffer = io.BytesIO()
    duration = max(1, round(1000 / rate))  # milliseconds
    first.save(buffer, "webp", save_all=True, append_images=others, duration=duration, loop=0, quality=quality)
    return buffer.getvalue()


def spread(count: int, at_most: int) -> np.ndarray:
    """Up to `at_most` evenly spaced numbers of 0..count-1."""
    return np.unique(np.linspace(0, count - 1, min(count, at_most)).round().astype(int))
