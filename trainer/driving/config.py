"""The `data.driving` section of a recipe: what a training sample of a drive is made of. Imports no torch."""

from dataclasses import dataclass, field

from shards.driving.actions import COMMANDS


@dataclass(frozen=True, kw_only=True)
class DrivingData:
    """How clips of drives become windows of frames, with what the driver does in them."""

    height: int = 64
    """Of the frames that a network makes, pixels: clips are cut to its aspect ratio in the middle, then resized."""
    width: int = 64
    num_frames: int = 8
    """Frames of a window, T."""
    stride: int = 1
    """Windows begin at every k-th frame of a clip."""
    frame_step: int = 1
    """A window takes every k-th frame of its clip."""
    is_balanced: bool = False
    """Windows with turns come 5 times as often, those whose speed, angle and goal are all known twice as often (Vista's
    phase 2): another clip is drawn until one is accepted, which reads drives and no frames."""
    one_kind: bool = True
    """A sample tells one kind of action, drawn evenly from those that are known (the reference); false: all of them."""
    flip: bool = False
    """Mirror half of the samples: left and right change places in frames and in actions."""
    latents: str | None = None
    """A folder of latents: of each data set a folder that `python -m trainer.encode_latents` wrote, or the graph does.
    Samples then hold those instead of frames, and no step runs the frozen networks. null: frames."""
    command_numbers: dict[str, int] = field(default_factory=lambda: {name: n for n, name in enumerate(COMMANDS)})
    """The number by which the model is told each command; they differ between data sets, so they are the model's."""

    def __post_init__(self) -> None:
        for name, lowest in {"height": 1, "width": 1, "num_frames": 2, "stride": 1, "frame_step": 1}.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"data.driving.{name}={getattr(self, name)} must be at least {lowest}")
        if self.flip and self.latents:
            raise ValueError(
                "data.driving.flip=true with latents: a mirrored latent is none of the mirrored frame; set flip=false, "
                "or latents=null"
            )
        numbers = self.command_numbers
        if set(numbers) != set(COMMANDS) or not all(type(number) is int for number in numbers.values()):
            raise ValueError(f"data.driving.command_numbers={numbers}: give a whole number to each of {list(COMMANDS)}")

    @property
    def span(self) -> int:
        """Frames of a clip from the first of a window to its last."""
        return (self.num_frames - 1) * self.frame_step + 1
