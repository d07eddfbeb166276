"""How driving data of others is read: the rate of its frames, where its images start, what its numbers mean."""

from dataclasses import dataclass
from pathlib import Path

from shards.driving.actions import COMMANDS

RATE_HZ = 10.0
"""Vista's frames a second (its configuration; OpenDV is extracted at this rate)."""
TOLERANCE_S = 0.06
"""nuScenes' front camera has pauses of up to 0.1 s: some frame is within half of that, and its clock's jitter."""


@dataclass(frozen=True, kw_only=True)
class DriveReading:
    """Settings of readers of driving data. Checked when made; raises ValueError that names the option."""

    rate_hz: float = RATE_HZ
    """Frames a second: to which nuScenes is resampled, at which OpenDV's folders were extracted"""
    tolerance_s: float = TOLERANCE_S
    """How far from its time of the rate a frame may be (nuScenes)"""
    images: Path | None = None
    """The folder that paths of frames start from; None: that of the list (Vista's lists)"""
    commands: tuple[str, ...] | None = None
    """Names of the commands 0, 1, ... of Vista's lists"""
    scenes: Path | None = None
    """A file of names of scenes, one a line, which alone are read (nuScenes)"""

    def __post_init__(self) -> None:
        if not 0 < self.rate_hz <= 1000:
            raise ValueError(f"--rate {self.rate_hz}: give frames a second, such as --rate 10")
        if not 0 <= self.tolerance_s < 10:
            raise ValueError(f"--tolerance {self.tolerance_s}: give seconds, such as --tolerance 0.06")
        for name in self.commands or ():
            if name not in COMMANDS:
                raise ValueError(f"--commands: no command {name!r}, known are {', '.join(COMMANDS)}")
        if self.commands is not None and len(set(self.commands)) != len(self.commands):
            raise ValueError(f"--commands {','.join(self.commands)}: a name comes twice; each number means another")
