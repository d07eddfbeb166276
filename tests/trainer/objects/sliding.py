"""Detections by hand, and a point tracker that knows the motion."""

from types import SimpleNamespace

import numpy as np

from trainer.objects.boxes import from_xywh
from trainer.objects.detections import Detections

SIZE = (384, 512)


def detect(*rows):
    """Detections of rows x, y, width, height, score, label."""
    rows = np.array(rows, float).reshape(-1, 6)
    return Detections(boxes=from_xywh(rows[:, :4]), scores=rows[:, 4], labels=rows[:, 5].astype(np.int64))


class SlidingPoints:
    """Follows points exactly: those of frame t move by `velocity(points, t)`; `hidden(points, t)` hides some."""

    def __init__(self, velocity, hidden=lambda points, t: np.zeros(len(points), bool)):
        self.velocity, self.hidden = velocity, hidden
        self.calls = []
        self._forget()

    def _forget(self):
        self.ids, self.points, self.t, self.next_id = np.zeros(0, np.int64), np.zeros((0, 2)), 0, 0

    def _positions(self):
        visible = ~self.hidden(self.points, self.t)
        return SimpleNamespace(ids=self.ids.copy(), points=self.points.copy(), visible=visible)

    def start(self, frame, points):
        self._forget()
        self.add(points) if len(points) else None
        return self._positions()

    def step(self, frame):
        self.t += 1
        if len(self.points):
            self.points = self.points + self.velocity(self.points, self.t)
        return self._positions()

    def add(self, points):
        self.calls.append(len(points))
        ids = np.arange(self.next_id, self.next_id + len(points))
        self.next_id += len(points)
        self.ids = np.concatenate([self.ids, ids])
        self.points = np.concatenate([self.points, points])
        return ids

    def remove(self, ids):
        assert np.isin(ids, self.ids).all()
        kept = ~np.isin(self.ids, ids)
        self.ids, self.points = self.ids[kept], self.points[kept]
