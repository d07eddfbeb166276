"""Which frames of a sequence become clips."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from shards.clip import Clip

CAMERA_LISTS = ("positions", "quaternions_wxyz", "intrinsics", "world_to_camera")
INSTANCE_LISTS = ("positions", "quaternions_wxyz", "velocities", "angular_velocities", "visible_pixels")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Frames start..stop of every sequence, cut into clips of at most `window` frames, with or without depth.

    `height` is that to which videos without tracks are resized. Raises ValueError for a negative start, an empty range,
    and a window or height of less than one.
    """

    start: int = 0
    stop: int | None = None
    window: int | None = None
    with_depth: bool = True
    height: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise ValueError(f"frames {self.start}:{self.stop}: give A:B with 0 <= A < B, such as --frames 0:24")
        if self.window is not None and self.window < 1:
            raise ValueError(f"a window of {self.window} frames: give at least 1, such as --window 24")
        if self.height is not None and self.height < 1:
            raise ValueError(f"a height of {self.height} pixels: give at least 1, such as --height 384")

    def ranges(self, num_frames: int) -> list[range]:
        """Frames of each clip of a sequence; the last may be shorter. ValueError when the sequence is too short."""
        stop = num_frames if self.stop is None else self.stop
        if stop > num_frames or self.start >= stop:
            raise ValueError(f"has frames 0..{num_frames - 1}; {self.start}:{stop} chooses others")
        step = self.window or stop - self.start
        return [range(first, min(first + step, stop)) for first in range(self.start, stop, step)]

    def name(self, key: str, frames: range) -> str:
        """The clip's key: with a window, the sequence's key and the first frame."""
        return key if self.window is None else f"{key}-{frames.start:05d}"


WHOLE = Choice()


def cut_clips(clips: Iterable[Clip], choice: Choice) -> Iterator[Clip]:
    """Cut whole clips; those of a reader that streams are cut while they are read."""
    for clip in clips:
        try:
            ranges = choice.ranges(len(clip.video))
        except ValueError as error:
            raise ValueError(f"clip {clip.key}: {error}") from None
        for frames in ranges:
            part = slice(frames.start, frames.stop)
            yield replace(
                clip,
                key=choice.name(clip.key, frames),
                video=clip.video[part],
                tracks=clip.tracks[part],
                visible=clip.visible[part],
                depth_m=clip.depth_m[part] if choice.with_depth and clip.depth_m is not None else None,
                person=clip.person.frames(list(frames)) if clip.person is not None else None,
                drive=clip.drive.frames(list(frames)) if clip.drive is not None else None,
                metadata=cut_metadata(clip.metadata, frames, len(clip.video)),
            )
        del clip  # before the next one is read


def cut_metadata(metadata: dict[str, Any], frames: range, num_frames: int) -> dict[str, Any]:
    """Metadata of some frames: lists of the camera and the instances that have one entry a frame are cut too."""
    if len(frames) == num_frames:
        return metadata
    cut = metadata | {"frames": [frames.start, frames.stop]}
    if isinstance(metadata.get("labels"), dict):
        cut["labels"] = _cut_labels(metadata["labels"], frames)
    if isinstance(metadata.get("camera"), dict):
        cut["camera"] = _cut_lists(metadata["camera"], CAMERA_LISTS, frames, num_frames)
    if isinstance(metadata.get("instances"), list):
        cut["instances"] = [
            _cut_lists(instance, INSTANCE_LISTS, frames, num_frames) if isinstance(instance, dict) else instance
            for instance in metadata["instances"]
        ]
    return cut


def _cut_labels(labels: dict[str, list], frames: range) -> dict[str, list]:
    kept = [place for place, frame in enumerate(labels["frames"]) if frame in frames]
    cut = {name: [values[place] for place in kept] for name, values in labels.items()}
    return cut | {"frames": [frame - frames.start for frame in cut["frames"]]}


def _cut_lists(content: dict[str, Any], names: tuple[str, ...], frames: range, num_frames: int) -> dict[str, Any]:
    return {
        name: value[frames.start : frames.stop]
        if name in names and isinstance(value, list) and len(value) == num_frames
        else value
        for name, value in content.items()
    }
