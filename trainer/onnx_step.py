"""LBM's step as an ONNX file: write it, run it in ONNX Runtime, and compare it with the whole-video call in PyTorch.

Needs the extra `export` (onnx, onnxruntime). Legend: H W source pixels, N points, M memory slots, C channels,
E entries a slot and point.
"""

import importlib
import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from shards.files import write_bytes
from trainer.models.lbm.model import Lbm
from trainer.models.lbm.stepping import Step

FORMAT = "frameline-step/1"
INPUTS = ("frame", "points", "is_new", "query", "memory", "ignored")
OUTPUTS = ("points_found", "visibility", "uncertainty", "query_kept", "slot", "slot_ignored")
AXES = {
    "frame": {0: "height", 1: "width"},
    **{name: {0: "num_points"} for name in ("points", "is_new", "query", *OUTPUTS)},
    **{name: {0: "num_points", 1: "num_slots"} for name in ("memory", "ignored")},
}
"""The dynamic axes: every other length is the model's own."""
OPSETS = range(17, 21)
"""grid_sample needs 16, layer normalisation as one node 17; torch's exporter by tracing knows them up to 20."""


def export_step(
    path: Path, model: Lbm, *, memory_size: int | None = None, num_points: int = 10, opset: int = 18
) -> None:
    """Write one step of online tracking with dynamic N and M as an ONNX file that appears whole or not at all.

    memory_size: frames that can be remembered (default as trained). num_points: the number for which the file is fast;
    it holds for every number, since the formulations that the model chooses by it are equal. Raises ValueError for
    settings that cannot be exported, and without the extra `export`.
    """
    onnx = _need("onnx")
    if opset not in OPSETS:
        raise ValueError(f"opset {opset} cannot hold this model; use --opset {OPSETS[0]} to {OPSETS[-1]}")
    if num_points < 1 or (memory_size is not None and memory_size < 1):
        raise ValueError(f"num_points={num_points} and memory_size={memory_size} must be at least 1")
    step = Step(model.eval().cpu(), memory_size)
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # The tracer warns of every length that it takes for a constant; `check_step` looks whether that was right.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.onnx.export(
            step,
            example_inputs(step, num_points),
            buffer,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes=AXES,
            opset_version=opset,
            # The exporter by torch.export takes twenty times as long and makes an equal graph, no faster.
            dynamo=False,
        )
    graph = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(graph, {"frameline": json.dumps(_settings(step), sort_keys=True)})
    onnx.checker.check_model(graph)
    write_bytes(path, graph.SerializeToString())


def example_inputs(step: Step, num_points: int) -> tuple[torch.Tensor, ...]:
    """Inputs of a step with every slot filled: a random frame of the model's own size and points (N, 2) in it."""
    config, generator = step.model.config, torch.Generator().manual_seed(0)
    height, width = config.input_size
    slots = (num_points, step.memory_size)
    return (
        torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator),
        torch.rand(num_points, 2, generator=generator) * torch.tensor([width, height]),
        torch.zeros(num_points, dtype=torch.bool),
        torch.randn(num_points, config.dim, generator=generator),
        torch.randn(*slots, step.num_entries, config.dim, generator=generator),
        torch.zeros(*slots, dtype=torch.bool),
    )


def open_session(path: Path, threads: int = 1, **options: object) -> object:
    """An ONNX Runtime session on the CPU that does not spin while it waits; `options` are fields of SessionOptions."""
    runtime = _need("onnxruntime")
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for name, value in options.items():
        setattr(settings, name, value)
    return runtime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


class OnnxTracker:
    """Follows points through frames as they come, by the exported file alone: NumPy and ONNX Runtime, no torch needed.

    `points` (N, 2) float32 source pixels (x, y), `visibility` and `uncertainty` (N,) are those of the last frame.
    """

    def __init__(self, path: Path, threads: int = 1):
        """Raises ValueError for a file that `export_step` did not write."""
        self.session = open_session(path, threads)
        settings = json.loads(self.session.get_modelmeta().custom_metadata_map.get("frameline", "{}"))
        if settings.get("format") != FORMAT:
            raise ValueError(f"{path}: no exported step of this version; run python -m trainer.export --format onnx")
        self.memory_size, shape = settings["memory_size"], (settings["num_entries"], settings["channels"])
        self.points, self.query = np.zeros((0, 2), np.float32), np.zeros((0, shape[1]), np.float32)
        self.visibility = self.uncertainty = np.zeros(0, np.float32)
        # A file must have a slot to read from the beginning: one that every point ignores.
        self.memory, self.ignored = np.zeros((0, 1, *shape), np.float32), np.ones((0, 1), bool)

    def step(self, frame: np.ndarray, new_points: np.ndarray | None = None) -> None:
        """Follow all points into a frame (H, W, 3) uint8; new_points (K, 2) begin in it. Without points: nothing."""
        new = np.zeros((0, 2), np.float32) if new_points is None else np.asarray(new_points, np.float32)
        count = len(self.points) + len(new)
        points, query, memory, ignored = (
            np.concatenate([old, np.full((len(new), *old.shape[1:]), blank, old.dtype)])
            for old, blank in ((self.points, 0), (self.query, 0), (self.memory, 0), (self.ignored, True))
        )
        points[count - len(new) :] = new
        if not count:
            return
        is_new = np.arange(count) >= count - len(new)
        inputs = zip(INPUTS, (frame, points, is_new, query, memory, ignored), strict=True)
        found = self.session.run(OUTPUTS, dict(inputs))
        self.points, self.visibility, self.uncertainty, self.query, slot, slot_ignored = found
        self.memory = np.concatenate([memory, slot[:, None]], 1)[:, -self.memory_size :]
        self.ignored = np.concatenate([ignored, slot_ignored[:, None]], 1)[:, -self.memory_size :]

    def keep(self, index: np.ndarray) -> None:
        """Follow only the points at index (K,), in this order."""
        for name in ("points", "visibility", "uncertainty", "query", "memory", "ignored"):
            setattr(self, name, getattr(self, name)[index])


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The largest differences between ONNX Runtime and PyTorch: points in source pixels, the others probabilities."""

    points_px: float
    visibility: float
    uncertainty: float
    num_frames: int
    num_points: tuple[int, ...]
    """How many points were followed, in the order of the frames."""


@torch.no_grad()
def check_step(
    path: Path, model: Lbm, counts: tuple[int, ...] = (1, 10, 64), size: tuple[int, int] | None = None
) -> Difference:
    """Follow points with the file, and compare with `Lbm.track` on the whole video with the same memory.

    The video (of `size`, H and W, default the model's own) is a sliding texture, long enough to overfill the memory;
    the number of points grows through `counts` by points that begin later, and falls to the first in the end.
    """
    tracker, model = OnnxTracker(path), model.eval().cpu()
    num_frames, last = tracker.memory_size + 3, counts[-1]
    height, width = size or model.config.input_size
    video = sliding_texture(num_frames, height, width)  # (T, H, W, 3)
    begin = np.searchsorted(counts, np.arange(last), side="right")  # (N,): points of the k-th group begin in frame k
    begin = np.minimum(begin, num_frames - 1)
    xy = np.random.default_rng(1).uniform(0, (width, height), (last, 2)).astype(np.float32)
    queries = torch.from_numpy(np.concatenate([begin[:, None].astype(np.float32), xy], 1))[None]
    frames = torch.from_numpy(video).permute(0, 3, 1, 2)[None]
    expected = model.track(frames, queries, tracker.memory_size)
    largest, followed = np.zeros(3), []
    for t, frame in enumerate(video):
        if t == num_frames - 1:
            tracker.keep(np.arange(counts[0]))
        tracker.step(frame, xy[begin == t])
        count = len(tracker.points)
        followed.append(count)
        for number, (found, wanted) in enumerate(
            (
                (tracker.points, expected.points[0, t]),
                (tracker.visibility, expected.visibility_logit[0, t].sigmoid()),
                (tracker.uncertainty, expected.rho_logit[0, t].sigmoid()),
            )
        ):
            difference = np.abs(found - wanted[:count].numpy())
            largest[number] = max(largest[number], difference.max()) if np.isfinite(difference).all() else np.inf
    return Difference(
        points_px=float(largest[0]),
        visibility=float(largest[1]),
        uncertainty=float(largest[2]),
        num_frames=num_frames,
        num_points=tuple(followed),
    )


def sliding_texture(num_frames: int, height: int, width: int) -> np.ndarray:
    """Smooth random colours that move one pixel a frame to the left: (T, H, W, 3) uint8."""
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(1, 3, height // 4, (width + num_frames) // 4, generator=generator)
    size = (height, width + num_frames)
    canvas = torch.nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=False)
    canvas = (canvas[0].permute(1, 2, 0) * 255).byte().numpy()
    return np.stack([canvas[:, t : t + width] for t in range(num_frames)])


def _settings(step: Step) -> dict[str, object]:
    config = step.model.config
    return {
        "format": FORMAT,
        "memory_size": step.memory_size,
        "num_entries": step.num_entries,
        "channels": config.dim,
        "input_size": list(config.input_size),
        "visibility_threshold": config.visibility_threshold,
    }


def _need(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ValueError(f"{name} is not installed; run pip install 'frameline[export]'") from None
