"""CPU-seconds of LBM by parts, for benchmarks/lbm_speed.py: forward ranges, and the backward nodes of each."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from trainer.models.lbm import backbone, correlation, deformable, layer, model, tracker, transformer

PREFIX, NODE = "part:", "autograd::engine::evaluate_function"
PARTS = (
    ("backbone", backbone.Backbone, "forward"),
    ("query features", model, "sample_features"),
    ("query features", tracker, "sample_features"),
    ("pyramid", model, "make_pyramid"),
    ("pyramid", tracker, "make_pyramid"),
    ("fuse levels", transformer.Transformer, "fuse"),
    ("correlation, top-k", layer.Layer, "correlate"),
    ("correlation, top-k", correlation.Correlation, "best"),
    ("correlation, top-k", correlation.PlainCorrelation, "best"),
    ("cross-entropy", correlation.Correlation, "cross_entropy"),
    ("cross-entropy", correlation.PlainCorrelation, "cross_entropy"),
    ("deformable attention", deformable.DeformableAttention, "forward"),
    ("blocks (norms, feed-forward)", layer, "run_block"),
    ("blocks (norms, feed-forward)", transformer, "run_block"),
    ("memory", layer.Layer, "predict"),
    ("memory", transformer.Transformer, "remember"),
    ("other losses", model, "sum_losses"),
)
"""Name, owner and attribute; a part inside another counts for itself only."""


def _ranged(name: str, function: Callable) -> Callable:
    def call(*arguments, **options):
        with record_function(PREFIX + name):
            return function(*arguments, **options)

    return call


@contextmanager
def _marked() -> Iterator[None]:
    patches = [patch.object(owner, name, _ranged(part, getattr(owner, name))) for part, owner, name in PARTS]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


def _owner(event: FunctionEvent, part_of: dict[int, str]) -> str:
    """The part of the nearest range or backward node around an event."""
    while event is not None:
        if event.name.startswith(PREFIX):
            return event.name.removeprefix(PREFIX)
        if event.name.startswith(NODE):
            return part_of.get(event.sequence_nr, "rest")
        event = event.cpu_parent
    return "rest"


def profile_parts(run: Callable[[], object]) -> dict[str, float]:
    """CPU-seconds of `run` by part, its backward passes included, after one run that is not measured; `rest` is what
    no part holds. The profiler knows wall time only: its shares are taken, and the CPU-seconds of the whole."""
    run()
    with _marked(), profile(activities=[ProfilerActivity.CPU]) as measured:
        began = time.process_time()
        run()
        whole = time.process_time() - began
    events = measured.events()
    part_of = {}
    for event in events:
        if event.sequence_nr >= 0 and not event.name.startswith(NODE) and event.scope == 0:
            part_of.setdefault(event.sequence_nr, _owner(event, {}))
    seconds: dict[str, float] = defaultdict(float)
    for event in events:
        seconds[_owner(event, part_of)] += event.self_cpu_time_total / 1e6
    scale = whole / sum(seconds.values())
    return {name: value * scale for name, value in seconds.items()}
