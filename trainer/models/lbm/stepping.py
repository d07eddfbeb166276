"""One frame of LBM as a pure function of tensors, the state among them: what is exported for deployment.

Legend: H W source pixels, N points, M memory slots (oldest first), C channels, E entries a slot and point.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from trainer.models.lbm.backbone import sample_features
from trainer.models.lbm.layer import make_pyramid
from trainer.models.lbm.memory import Projected
from trainer.models.lbm.model import Lbm

KINDS = ("collision", "stream")


@dataclass(frozen=True, kw_only=True)
class StackedMemory:
    """What a frame reads of a `Memory`, from one tensor: entries (N, M, E, C), ignored (N, M) bool; nothing is stored.

    Entry 4 * layer + 2 * kind holds the projected keys, the next one the values; kinds in the order of KINDS.
    """

    size: int
    entries: torch.Tensor
    ignored: torch.Tensor

    def ignored_slots(self) -> torch.Tensor:
        """Where a slot must not be read, (1, N, M)."""
        return self.ignored[None]

    def slots(self, kind: str, layer: int) -> Projected:
        """Keys and values (1, N, M, C) of one layer."""
        first = 4 * layer + 2 * KINDS.index(kind)
        return self.entries[None, :, :, first], self.entries[None, :, :, first + 1]


class Step(nn.Module):
    """One frame of online tracking without hidden state; equal to `Lbm.track` frame by frame."""

    def __init__(self, model: Lbm, memory_size: int | None = None):
        """`memory_size`: frames that can be remembered (default as trained; the time embedding is interpolated)."""
        super().__init__()
        self.model = model
        self.memory_size = memory_size or model.config.memory_size
        self.eval()  # a new module is in training mode, whatever its parts are in

    @property
    def num_entries(self) -> int:
        """E: keys and values of two memories for each layer."""
        return 4 * self.model.config.num_layers

    def forward(
        self,
        frame: torch.Tensor,
        points: torch.Tensor,
        is_new: torch.Tensor,
        query: torch.Tensor,
        memory: torch.Tensor,
        ignored: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Follow N points into a frame (H, W, 3) uint8.

        points (N, 2) float32 source pixels (x, y), read where is_new (N,) bool says that a point begins in this frame;
        query (N, C), memory (N, M, E, C) with 1 <= M <= memory_size, ignored (N, M) bool: the state, slots that a point
        has not filled are ignored. Returns points (N, 2), visibility (N,) and uncertainty (N,) as probabilities, and
        the new state: query (N, C), the slot (N, E, C) to append to the memory, and (N,) bool to append to `ignored`.
        """
        config = self.model.config
        height, width = frame.shape[:2]
        per_pixel = config.input_size[1] / width, config.input_size[0] / height  # input pixels a source pixel, (x, y)
        image = frame.permute(2, 0, 1)[None].float()
        image = F.interpolate(image, config.input_size, mode="bilinear", align_corners=False)
        features = self.model.encode(image)  # (1, C, h, w)
        asked_at = torch.stack([x * scale for x, scale in zip(points.unbind(-1), per_pixel, strict=True)], -1)
        sampled = sample_features(features, asked_at[None], config)[0]
        query = torch.where(is_new[:, None], sampled, query)
        state = StackedMemory(size=self.memory_size, entries=memory, ignored=ignored)
        asked = torch.ones_like(is_new)[None]
        found = self.model.transformer(query[None], make_pyramid(features, config), state, asked)
        return (
            torch.stack([x / scale for x, scale in zip(found.points[0].unbind(-1), per_pixel, strict=True)], -1),
            found.visibility_logit[0].sigmoid(),
            found.rho_logit[0].sigmoid(),
            query,
            self.new_slot(found.collision[0], found.stream[0]),
            found.hidden[0],
        )

    def new_slot(self, collision: torch.Tensor, stream: torch.Tensor) -> torch.Tensor:
        """What all layers will read of this frame, (N, E, C), from its two entries (N, C)."""
        projected = []
        for layer in self.model.transformer.layers:
            projected += [*layer.collision_attention.project(collision), *layer.stream_attention.project(stream)]
        return torch.stack(projected, 1)
