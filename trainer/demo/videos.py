"""A video that was uploaded: its frames as pictures for the page, its tracks, and what can be downloaded of them.

Legend: T frames, N points, H W source pixels.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from eval.drawing import identity_color
from shards.files import write_bytes
from trainer.demo.points import as_csv
from trainer.follow import Rows, Tracker, follow
from trainer.track import draw
from trainer.tracks_file import writing_tracks
from trainer.video import Video, open_video, write_video

# The page shows pictures, the tracker gets the frames themselves; larger pictures would only be slower to show.
PICTURE_SIDE = 1280
PICTURE_QUALITY = 88


@dataclass(kw_only=True)
class UploadedVideo:
    """A video in a folder of its own: the file as it came, a JPEG a frame for the page, the results.

    The sizes are known after `unpack`, the tracks after `follow`.
    """

    name: str
    folder: Path
    frame_size: tuple[int, int] = (0, 0)  # H, W
    num_frames: int = 0
    rate: Fraction = Fraction(0)  # frames a second
    note: str = ""
    tracked: list[Rows] = field(default_factory=list)

    @property
    def source(self) -> Path:
        """The file as it was uploaded."""
        return self.folder / "source"

    def picture(self, t: int) -> Path:
        """The file of frame t as a JPEG."""
        return self.folder / f"{t}.jpg"

    def result(self, kind: str) -> Path:
        """The file of the tracks: npz and csv are there after `follow`, mp4 after `draw_film`."""
        return self.folder / f"tracks.{kind}"

    def unpack(self, max_frames: int) -> Iterator[int]:
        """Write the pictures of the first `max_frames` frames; yields how many are done.

        Raises ValueError for a file that is not a video of at least two frames.
        """
        with self._open() as video:
            self.rate = video.rate
            for t, frame in enumerate(video.frames):
                if t == max_frames:
                    self.note = f"The video is too long: only its first {max_frames} frames are used (--max-frames)."
                    break
                picture = Image.fromarray(frame)
                picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
                picture.save(self.picture(t), quality=PICTURE_QUALITY)
                self.frame_size, self.num_frames = frame.shape[:2], t + 1
                yield self.num_frames
        if self.num_frames < 2:
            raise ValueError(f"{self.name}: a single picture, not a video")

    def follow(self, tracker: Tracker, query_tyx: np.ndarray, is_backward: bool = False) -> Iterator[Rows]:
        """Track points (N, 3) through the frames that are used; yields each frame's rows, and keeps them at the end.

        is_backward: to the frames before the points' own, too.
        """
        tracked = []
        with self._open() as video:
            frames = islice(video.frames, self.num_frames)
            for _, rows in follow(tracker, frames, query_tyx, is_backward=is_backward):
                tracked.append(rows)
                yield rows
        with writing_tracks(self.result("npz"), query_tyx, self.frame_size, self.rate) as writer:
            for rows in tracked:
                writer.append(rows.points, rows.visible, rows.uncertainty)
        write_bytes(self.result("csv"), as_csv(tracked))
        self.result("mp4").unlink(missing_ok=True)  # of the tracks before
        self.tracked = tracked

    def draw_film(self, tell: Callable[[int], None]) -> None:
        """Draw the tracks over the video; `tell` gets the number of frames that are done.

        Raises ValueError where nothing was tracked yet.
        """
        tracked = self.tracked
        if not tracked:
            raise ValueError("nothing is tracked yet: press Track first")
        colours = [identity_color(number) for number in range(len(tracked[0].points))]  # those of the page
        with self._open() as video:
            drawn = draw(zip(video.frames, tracked, strict=False), len(colours), colours)
            write_video(_counted(drawn, tell), self.rate, self.result("mp4"))

    @contextlib.contextmanager
    def _open(self) -> Iterator[Video]:
        """The uploaded file; its mistakes carry the name that the user knows."""
        try:
            with open_video(self.source) as video:
                yield video
        except ValueError as error:
            raise ValueError(str(error).replace(str(self.source), self.name)) from None


def _counted(frames: Iterator[np.ndarray], tell: Callable[[int], None]) -> Iterator[np.ndarray]:
    for done, frame in enumerate(frames, 1):
        yield frame
        tell(done)
