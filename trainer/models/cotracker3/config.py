"""The settings of CoTracker3; the defaults are the published offline configuration."""

from dataclasses import dataclass

STRIDE = 4
"""Input pixels per cell of the finest feature map."""
STEP = 2
"""An online window starts half a window after the one before: window // STEP frames."""


@dataclass(frozen=True, kw_only=True)
class Cotracker3Config:
    """Architecture, inference and loss settings of CoTracker3."""

    online: bool = False
    """Sliding windows of `window` frames, each started from the one before; False: all frames at once."""
    window: int = 60
    """Frames that the time embedding is stored for: published 60 offline, 16 online."""
    input_size: tuple[int, int] = (384, 512)
    """Height and width to which videos are resized; multiples of 4, at least 32."""
    encoder_widths: tuple[int, int, int, int] = (64, 96, 128, 128)
    """Channels of the encoder's four stages."""
    feature_dim: int = 128
    num_levels: int = 4
    radius: int = 3
    """Cells on each side of a point that are compared with the cells around its query, on every level."""
    correlation_dim: int = 256
    """Channels into which the comparisons on one level are embedded."""
    dim: int = 384
    num_heads: int = 8
    num_rounds: int = 3
    """Rounds of attention over time, then over the points of a frame."""
    num_virtual_tracks: int = 64
    num_iterations: int = 4
    """Refinements of the tracks in training."""
    num_inference_iterations: int = 6
    recompute: bool = False
    """Let the backward pass compute each refinement again instead of keeping it: less memory, a sixth more time."""
    visibility_threshold: float = 0.6
    """A point is visible where visibility times confidence is above: at evaluation, and online everywhere."""
    predictor_visibility_threshold: float = 0.9
    """A point is visible where visibility alone is above: offline, in a person's own video (trainer.track)."""
    evaluation_grid: int | None = None
    """Points a side of a grid in frame 0 that is tracked along at evaluation; null as published: 5, online 0."""
    single_point: bool = False
    """At evaluation track each point without the others, with a grid around it: as published, 90 times the points."""
    huber_delta: float | None = 6.0
    """Pixels from which the error of visible points counts linearly; null: everywhere (L1)."""
    gamma: float = 0.8
    """Weight of an iteration's position error, as a share of the next one's."""
    confident_within: float = 12.0
    """A point is to be confident where its error is at most this many input pixels."""
    lambda_visible: float = 0.05
    lambda_invisible: float = 0.01
    lambda_visibility: float = 1.0
    lambda_confidence: float = 1.0
    freeze_visibility: bool = False
    """Keep the head of visibility and confidence as it is (fine-tuning on pseudo-labels)."""

    def __post_init__(self) -> None:
        least = STRIDE * 2 ** (self.num_levels - 1)
        if any(side < least or side % STRIDE for side in self.input_size):
            raise ValueError(
                f"model.input_size={list(self.input_size)}: height and width must be multiples of {STRIDE} and at "
                f"least {least} ({self.num_levels} levels)"
            )
        if self.dim % self.num_heads:
            raise ValueError(f"model.dim={self.dim} must be a multiple of model.num_heads={self.num_heads}")
        if self.evaluation_grid is not None and self.evaluation_grid < 0:
            raise ValueError(f"model.evaluation_grid={self.evaluation_grid} must be 0 or more; null is as published")
        if self.online and self.window % STEP:
            raise ValueError(f"model.window={self.window} must be a multiple of {STEP} (windows overlap by a half)")

    @property
    def evaluation_side(self) -> int:
        """Points a side of the grid that is tracked along at evaluation."""
        if self.evaluation_grid is None:
            return 0 if self.online else 5
        return self.evaluation_grid

    @property
    def token_dim(self) -> int:
        """Channels of a transformer token: visibility, confidence, correlations, and the encoded motion."""
        return 2 + self.num_levels * self.correlation_dim + MOTION_DIM

    @property
    def support(self) -> int:
        """Cells of the square around a point."""
        return (2 * self.radius + 1) ** 2


MOTION_FREQUENCIES = 10
MOTION_DIM = 4 + 2 * 4 * MOTION_FREQUENCIES
"""Channels of the encoded motion: four numbers, and sine and cosine of each at ten frequencies."""
