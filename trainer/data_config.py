"""The `data` section of a recipe: which clips are read, and what a training sample is made of. Imports no torch."""

from dataclasses import dataclass

from trainer.driving.config import DrivingData
from trainer.people.config import PeopleData


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which clips are read and what a training sample is made of."""

    dataset: str
    """Name of a packed data set: its index is data/shards/<dataset>/index.json."""
    mixture: dict[str, float] | None = None
    """Shares of several data sets by name, `dataset` among them: every sample is drawn by itself, first a data set,
    then one of its clips. null: `dataset` alone, all of its clips in every epoch."""
    num_frames: int = 24
    """Length of the window that is cut from a clip."""
    min_frames: int | None = None
    """Every step draws its own length, uniform from this to num_frames, for all ranks; null: num_frames always."""
    max_frame_stride: int = 1
    """A window takes every k-th frame, k uniform from 1 to this (and to what the clip's length allows)."""
    num_points: int = 256
    """Tracks per sample, drawn among those visible in the window's first frame (and in those that follow here)."""
    sample_vis_middle_frame: bool = False
    """Tracks visible in frame num_frames // 2 may be drawn too; one visible in both has two chances."""
    sample_vis_last_frame: bool = False
    """The same for the last frame."""
    max_distance: float | None = None
    """Tracks that are ever this many pixels of the sample from its centre are not drawn; where no other is left, the
    sample is `valid` nowhere. null: no limit."""
    random_query_share: float = 0.25
    """Share of the points whose query is a random visible frame instead of the first visible one; 1.0: all of them."""
    num_workers: int = 0
    """Loader processes per rank; 0 decodes in the training process. Never changes what is read."""
    prefetch_factor: int = 2
    """Batches that each loader process makes ahead: at most num_workers times this many wait in memory."""
    on_error: str = "stop"
    """What a clip that cannot be used does (damaged, too short, no visible point): `stop` the training, or `skip` to
    another clip, said on stderr and counted in metrics.jsonl."""
    augment: bool = True
    """False: the crop in the middle, and colours as they are. Lengths below are pixels of the clip."""
    crop_size: tuple[int, int] | None = None
    """Height and width of a sample; null keeps the clip's own size."""
    max_padding: int = 24
    """Black pixels added to each side, uniform from 0 to this."""
    scale_range: tuple[float, float] = (0.75, 1.25)
    """Bounds of the uniform scale of the first frame."""
    scale_drift: float = 0.05
    """Bound of the uniform change of scale at the second frame, per axis; later changes keep 0.8 of the last one."""
    crop_margin: int = 10
    """The resized frame exceeds the crop by at least this."""
    crop_drift: int = 15
    """Bound of the crop's uniform step at the second frame, per axis; later steps keep 0.8 of the last one."""
    flip: bool = True
    """Mirror horizontally and vertically, each for half of the samples."""
    eraser_probability: float = 0.5
    """Probability for each frame after the first that rectangles get their mean colour (points there are hidden)."""
    replace_probability: float = 0.5
    """The same for rectangles filled from another place of the clip, with other colours."""
    max_patches: int = 10
    """A frame that is erased or replaced gets 1 to this many rectangles."""
    patch_size: tuple[int, int] = (2, 100)
    """Sides of these rectangles: from the first to below the second."""
    jitter_probability: float = 0.25
    """Probability for a sample that brightness, contrast, saturation and hue change, for each frame anew."""
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.0796
    """Bound of the turn of hues, 1 is a whole circle (published: 0.25 / 3.14)."""
    blur_probability: float = 0.25
    blur_kernel: int = 11
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Bounds of the uniform sigma, for each frame anew."""
    people: PeopleData | None = None
    """For stages that learn of people, whose samples are single frames: of what is above, they read `dataset`,
    `num_workers`, `prefetch_factor` and `on_error` only. null: for stages that track points."""
    driving: DrivingData | None = None
    """For stages of driving worlds, whose samples are windows of a drive: the same of what is above, and `mixture`."""

    def __post_init__(self) -> None:
        if self.mixture is not None:
            self._check_mixture(self.mixture)
        if self.on_error not in ("stop", "skip"):
            raise ValueError(f"data.on_error={self.on_error}; use stop or skip")
        if self.blur_kernel % 2 == 0:
            raise ValueError(f"data.blur_kernel={self.blur_kernel} must be odd")
        for name, lowest in {
            "num_frames": 1, "max_frame_stride": 1, "num_points": 1, "num_workers": 0, "prefetch_factor": 1,
            "max_padding": 0, "crop_margin": 0, "crop_drift": 0, "max_patches": 1, "blur_kernel": 1,
            "scale_drift": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0,
        }.items():  # fmt: skip
            if getattr(self, name) < lowest:
                raise ValueError(f"data.{name}={getattr(self, name)} must be at least {lowest}")
        for name in ("random_query_share", "eraser_probability", "replace_probability", "jitter_probability",
                     "blur_probability"):  # fmt: skip
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"data.{name}={getattr(self, name)} must lie in 0..1")
        if self.min_frames is not None and not 1 <= self.min_frames <= self.num_frames:
            raise ValueError(f"data.min_frames={self.min_frames} must lie in 1..{self.num_frames} (data.num_frames)")
        if self.max_distance is not None and self.max_distance <= 0:
            raise ValueError(f"data.max_distance={self.max_distance} must be positive, or null")
        if self.hue > 0.5:
            raise ValueError(f"data.hue={self.hue} must be at most 0.5, half of the circle")
        if self.crop_size is not None and min(self.crop_size) < 1:
            raise ValueError(f"data.crop_size={list(self.crop_size)} must be at least 1 x 1, or null")
        for name, (low, high) in (
            ("scale_range", self.scale_range), ("blur_sigma", self.blur_sigma), ("patch_size", self.patch_size),
        ):  # fmt: skip
            if not 0 < low <= high or (name == "patch_size" and low == high):
                raise ValueError(f"data.{name}=[{low}, {high}]: give two positive bounds, the smaller one first")

    def _check_mixture(self, mixture: dict[str, float]) -> None:
        shares = list(mixture.values())
        is_share = [isinstance(share, int | float) and 0 < share <= 1 for share in shares]
        if not all(is_share) or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"data.mixture={mixture}: shares must be above 0 and sum to 1")
        if self.dataset not in mixture:
            raise ValueError(f"data.dataset={self.dataset} is none of data.mixture, {', '.join(mixture)}: name one")

    @property
    def datasets(self) -> list[str]:
        """Names of all data sets that are read, in the order in which their clips count."""
        return [self.dataset] if self.mixture is None else sorted(self.mixture)
