"""What a model answers to a benchmark's queries: video by video, decoded ahead, spread over processes.

Legend of the shape comments: T frames, N queries, R resolution of the frames that the model is given.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from torch import nn

from eval.predictions import BACKWARD, INDEPENDENT, JOINT, NOTHING, TRACKED, Making, VideoPrediction
from eval.protocol import Truth, scale_points
from eval.tapvid import RESOLUTION

QUEUED = 2
"""Videos that each process has been asked for: the next one is begun while the last one is fetched."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How a model is asked: the protocol, and LBM's memory slots (None: as trained)."""

    query_mode: str = "first"
    resolution: int = RESOLUTION
    memory_size: int | None = None


@torch.no_grad()
def track(
    model: nn.Module, video: np.ndarray, query_tyx: np.ndarray, memory_size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Track one video forward in time: video (T, H, W, 3) uint8, queries (N, 3) -> points (T, N, 2), visible (T, N)."""
    device = next(model.parameters()).device
    frames = torch.from_numpy(video).to(device).permute(0, 3, 1, 2)[None].float()  # (1, T, 3, H, W)
    queries = torch.from_numpy(query_tyx[:, [0, 2, 1]].astype(np.float32))[None].to(device)  # (1, N, 3) t, x, y
    result = model.track(frames, queries, memory_size=memory_size)
    return result.points[0].cpu().numpy(), result.visible[0].cpu().numpy()


def track_both_ways(
    model: nn.Module, video: np.ndarray, query_tyx: np.ndarray, memory_size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Track forward, and fill the frames before each query from the time-reversed video: the model is causal."""
    points, visible = track(model, video, query_tyx, memory_size)
    query_frame = np.round(query_tyx[:, 0]).astype(int)
    if query_frame.max(initial=0) == 0:
        return points, visible
    reversed_query = query_tyx.copy()
    reversed_query[:, 0] = len(video) - 1 - query_frame
    back_points, back_visible = track(model, np.ascontiguousarray(video[::-1]), reversed_query, memory_size)
    before = np.arange(len(video))[:, None] < query_frame  # (T, N)
    points = np.where(before[..., None], back_points[::-1], points)
    return points, np.where(before, back_visible[::-1], visible)


def describe_making(model: nn.Module, asking: Asking) -> Making:
    """How a model's answers are made: whether queries are answered alone, and what is said of frames before a query."""
    before = (BACKWARD if asking.query_mode == "strided" else NOTHING) if model.is_causal else TRACKED
    queries = JOINT if model.is_joint else INDEPENDENT
    return Making(resolution=asking.resolution, queries=queries, before_query=before)


def answer(
    model: nn.Module, frames: np.ndarray, query_points: np.ndarray, asking: Asking
) -> tuple[np.ndarray, np.ndarray]:
    """Answer queries (N, 3) as (t, y, x), at 256x256, on frames (T, R, R, 3): tracks (N, T, 2) there, occluded (N, T).

    In mode strided a causal model's frames before a query are filled from the reversed video.
    """
    follow = track_both_ways if asking.query_mode == "strided" and model.is_causal else track
    given, official = frames.shape[1:3], (RESOLUTION, RESOLUTION)
    asked = query_points.copy()
    asked[:, [2, 1]] = scale_points(query_points[:, [2, 1]], official, given)
    points, visible = follow(model, frames, asked, asking.memory_size)
    tracks = scale_points(points, given, official).astype(np.float32)  # (T, N, 2)
    return tracks.transpose(1, 0, 2), ~visible.T


def answer_here(model: nn.Module, truth: Truth, names: Sequence[str], asking: Asking) -> Iterator[VideoPrediction]:
    """Answer the videos `names` one after the other; a thread decodes the next one while the model works."""

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        # All reading is in this one thread.
        return truth.video(name, asking.query_mode).query_points, truth.frames(name, asking.resolution)

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, names[0]) if names else None
        for name, following in zip_longest(names, names[1:]):
            query_points, frames = coming.result()
            coming = reader.submit(read, following) if following else None
            tracks, occluded = answer(model, frames, query_points, asking)
            yield VideoPrediction(name=name, query_points=query_points, tracks=tracks, occluded=occluded)


Start = Callable[[Sequence[str]], Iterator[VideoPrediction]]
"""What each process runs: it loads a model and answers the videos that it is given."""
_answers: Iterator[VideoPrediction]


def answer_spread(start: Start, names: Sequence[str], num_processes: int) -> Iterator[VideoPrediction]:
    """Answer the videos `names` in their order, each by one of `num_processes` processes, which take turns.

    start: pickled and called in each process. Raises ValueError when one of them dies.
    """
    num_processes = min(num_processes, len(names))
    with ExitStack() as stack:
        workers, asked = [], [deque() for _ in range(num_processes)]
        left = [len(names[number::num_processes]) for number in range(num_processes)]

        def ask(number: int) -> None:
            if left[number]:
                left[number] -= 1
                asked[number].append(workers[number].submit(_next_answer))

        for number in range(num_processes):
            context, own = multiprocessing.get_context("spawn"), names[number::num_processes]
            worker = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(start, own))
            stack.callback(worker.shutdown, cancel_futures=True)
            workers.append(worker)
            for _ in range(QUEUED):
                ask(number)
        for position, name in enumerate(names):
            number = position % num_processes
            try:
                found = asked[number].popleft().result()
            except BrokenProcessPool:
                raise ValueError(
                    f"a process died before it had answered {name!r} (is memory short?); use fewer --processes"
                ) from None
            ask(number)
            yield found


def _begin(start: Start, names: Sequence[str]) -> None:
    global _answers
    _answers = start(names)


def _next_answer() -> VideoPrediction:
    return next(_answers)
