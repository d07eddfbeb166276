"""The settings of pseudo-labels. Imports no torch: trainer/config.py reads this module."""

from dataclasses import dataclass
from pathlib import Path

WEIGHTS, PREDICTIONS = ".safetensors", ".npz"
"""How the files of teachers end."""


@dataclass(frozen=True, kw_only=True)
class PseudoLabelConfig:
    """Who labels the videos, and what of it counts."""

    teachers: list
    """Stages (edges of the graph), weights files (.safetensors) of any model here, and predictions files (.npz). Every
    step draws one of them."""
    visible_above: float = 0.9
    """A point is visible to a teacher that is a model where its probability of visibility is above."""

    def __post_init__(self) -> None:
        if not self.teachers or not all(isinstance(teacher, str) and teacher for teacher in self.teachers):
            raise ValueError(
                f"pseudo_labels.teachers={self.teachers}: name at least one stage, {WEIGHTS} file or {PREDICTIONS} file"
            )
        if not 0 <= self.visible_above < 1:
            raise ValueError(f"pseudo_labels.visible_above={self.visible_above} must be at least 0 and below 1")

    @property
    def stages(self) -> list[str]:
        """The teachers that are stages of the graph."""
        return [teacher for teacher in self.teachers if not teacher.endswith((WEIGHTS, PREDICTIONS))]

    @property
    def files(self) -> list[Path]:
        """The file of each teacher; a stage's are its finished weights."""
        return [
            Path(f"results/{teacher}/weights{WEIGHTS}" if teacher in self.stages else teacher)
            for teacher in self.teachers
        ]
