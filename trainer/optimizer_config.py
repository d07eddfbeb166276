"""The `optimizer` section of a recipe: AdamW, and its learning rate as a function of the step. Imports no torch."""

from dataclasses import dataclass, field

from trainer.strict import suggestion

SCHEDULES = ("warmup_cosine", "one_cycle", "constant", "warmup_constant")
"""Functions of trainer.optim."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW, and its learning rate as a function of the step (trainer/optim.py)."""

    name: str = "adamw"
    schedule: str = "warmup_cosine"
    """warmup_cosine (LBM, train.md: linear from 1e-5 of the peak, then a cosine to zero) or one_cycle (CoTracker3:
    torch's OneCycleLR, half a cosine up from 1/25 of the peak and half a cosine down), constant (BLADE) or
    warmup_constant (Vista: linear from 1e-6 of the peak over warmup_steps, then the peak)."""
    learning_rate: float = 5.0e-4
    """The peak."""
    weight_decay: float = 1.0e-5
    beta1: float = 0.9
    beta2: float = 0.999
    warmup_fraction: float = 0.01
    """Share of the steps up to the peak (OneCycleLR's pct_start)."""
    warmup_steps: int = 0
    """warmup_constant: steps up to the peak."""
    extra_steps: int = 0
    """one_cycle: the cycle ends so many steps after the training."""
    max_gradient_norm: float | None = 1.0
    """null: gradients are not clipped."""
    learning_rate_factors: dict[str, float] = field(default_factory=dict)
    """By the names of parts of the model, at any depth (`head`, `temporal_res_block`): their learning rate is so many
    times `learning_rate`. Where a parameter lies in two of them, the first counts."""
    rest_factor: float = 1.0
    """The same for all other parameters."""

    def __post_init__(self) -> None:
        if self.name != "adamw":
            raise ValueError(f"optimizer.name={self.name}; known: adamw")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"optimizer.schedule={self.schedule}: {suggestion(self.schedule, SCHEDULES)}")
        if not 0 <= self.warmup_fraction < 1:
            raise ValueError(f"optimizer.warmup_fraction={self.warmup_fraction} must be at least 0 and below 1")
        if self.extra_steps < 0 or (self.extra_steps and self.schedule != "one_cycle"):
            raise ValueError(
                f"optimizer.extra_steps={self.extra_steps} must be at least 0, and 0 unless schedule=one_cycle"
            )
        if self.warmup_steps < 0 or (self.warmup_steps and self.schedule != "warmup_constant"):
            raise ValueError(
                f"optimizer.warmup_steps={self.warmup_steps} must be at least 0, and 0 unless schedule=warmup_constant"
            )
        if not self.rest_factor > 0:
            raise ValueError(f"optimizer.rest_factor={self.rest_factor} must be above 0")
        if self.max_gradient_norm is not None and self.max_gradient_norm <= 0:
            raise ValueError(f"optimizer.max_gradient_norm={self.max_gradient_norm} must be positive, or null")
        for name, factor in self.learning_rate_factors.items():
            if isinstance(factor, bool) or not isinstance(factor, int | float) or factor <= 0:
                raise ValueError(f"optimizer.learning_rate_factors.{name}={factor!r} must be a positive number")
