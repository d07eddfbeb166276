"""The settings of LBM; the defaults are the published configuration."""

from dataclasses import dataclass

STRIDE = 4
"""Input pixels per cell of the feature map."""


@dataclass(frozen=True, kw_only=True)
class LbmConfig:
    """Architecture, inference and loss settings of LBM."""

    input_size: tuple[int, int] = (384, 512)
    """Height and width to which every video is resized; multiples of 32."""
    backbone_width: int = 64
    """Channels of the trunk's first stage; the next ones have two and four times as many."""
    dim: int = 256
    num_heads: int = 4
    num_layers: int = 3
    num_levels: int = 4
    num_neighbours: int = 9
    """Sampling points per head and level of the deformable attentions (the collision memory's has 4)."""
    top_k: int = 9
    """Candidate cells in the first layer; 4 in those between, 1 in the last."""
    memory_size: int = 12
    dropout: float = 0.1
    random_memory_mask_drop: float = 0.1
    """Probability that training hides a memory slot."""
    recompute: str = "feed_forward"
    """What the backward pass computes again instead of keeping it: `none`, `feed_forward` (the hidden values of the
    feed-forward nets: 3 % more time, a fifth of the memory less), or `frame` (all of a frame, a third more time)."""
    visibility_threshold: float = 0.8
    temperature: float = 0.05
    loss_after_query: bool = True
    """Count only frames after a point's query frame."""
    lambda_classification: float = 3.0
    lambda_visibility: float = 1.0
    lambda_regression: float = 1.0
    lambda_uncertainty: float = 1.0
    """Weight of the uncertainty losses; the reference applies it twice to the first of them, and so do we."""
    uncertainty_weight_once: bool = False
    """Apply lambda_uncertainty once to each of them: the corrected form. Nothing changes while it is 1."""
    lambda_reference: float = 1.0

    def __post_init__(self) -> None:
        divisor = STRIDE * 2 ** (self.num_levels - 1)
        if any(side < divisor or side % divisor for side in self.input_size):
            raise ValueError(
                f"model.input_size={list(self.input_size)}: height and width must be multiples of {divisor} "
                f"(stride {STRIDE}, {self.num_levels} levels)"
            )
        if self.recompute not in ("none", "feed_forward", "frame"):
            raise ValueError(f"model.recompute={self.recompute}; use none, feed_forward or frame")
        if self.dim % self.num_heads:
            raise ValueError(f"model.dim={self.dim} must be a multiple of model.num_heads={self.num_heads}")
        if self.num_layers < 2:
            raise ValueError(f"model.num_layers={self.num_layers}: at least 2 (the last layer keeps one candidate)")

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of the feature map."""
        return self.input_size[0] // STRIDE, self.input_size[1] // STRIDE

    @property
    def level_sizes(self) -> list[tuple[int, int]]:
        """Height and width of each pyramid level, finest first."""
        height, width = self.map_size
        return [(height >> level, width >> level) for level in range(self.num_levels)]

    @property
    def candidates(self) -> list[int]:
        """Number of candidate cells in each layer."""
        return [self.top_k, *[4] * (self.num_layers - 2), 1]
