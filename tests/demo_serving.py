"""What the tests of the click page share: a grey film, a tracker that slides, and a running server."""

import contextlib
import threading
import time
from fractions import Fraction
from types import SimpleNamespace

import numpy as np

from trainer.demo.server import DemoServer, Limits
from trainer.video import write_video

WIDTH, HEIGHT, NUM_FRAMES = 96, 64, 8
STEP = np.array([3.0, 1.0], np.float32)
"""Of the fake tracker, in pixels a frame."""


class SlidingTracker:
    """Moves every point by STEP a frame; the second one is hidden from its third frame on."""

    def __init__(self):
        self.pause_s, self.num_steps = 0.0, 0

    def start(self, frame, points=()):
        self.points, self.ages, self.num_steps = np.zeros((0, 2), np.float32), np.zeros(0, int), 0
        self.add(points)
        return self.positions

    def step(self, frame):
        assert frame.shape == (HEIGHT, WIDTH, 3)
        time.sleep(self.pause_s)
        self.num_steps += 1
        self.points, self.ages = self.points + STEP, self.ages + 1
        return self.positions

    def add(self, points):
        points = np.asarray(points, np.float32).reshape(-1, 2)
        self.points = np.concatenate([self.points, points])
        self.ages = np.concatenate([self.ages, np.zeros(len(points), int)])

    @property
    def positions(self):
        visible = (self.ages < 2) | (np.arange(len(self.ages)) != 1)
        uncertainty = np.full(len(self.ages), 0.25, np.float32)
        return SimpleNamespace(points=self.points, visible=visible, uncertainty=uncertainty)


def make_frames(num_frames=NUM_FRAMES):
    """A flat grey that grows lighter: whatever is coloured on the page was drawn there."""
    return [np.full((HEIGHT, WIDTH, 3), 40 + 10 * (t % 20), np.uint8) for t in range(num_frames)]


def write_grey_clip(folder):
    """The frames as a video file."""
    path = folder / "grey clip.mp4"
    write_video(make_frames(), Fraction(10), path)
    return path


@contextlib.contextmanager
def serving(folder, tracker=None, **limits):
    """A server on a free port that works in this folder."""
    folder.mkdir(exist_ok=True)
    with DemoServer(0, tracker or SlidingTracker(), folder, Limits(**limits)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
