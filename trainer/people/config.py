"""The `data.people` section of a recipe: what a training sample of a person is made of. Imports no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PeopleData:
    """How pictures of people become samples."""

    image_size: int = 64
    """Sides of the crop that a network sees, pixels."""
    crop: str = "box"
    """box: a square around the joints that lie in the picture (what a detector would find); whole: the whole picture,
    made square."""
    box_margin: float = 1.25
    """Side of the box, in units of the longer side of the joints' own one."""
    box_jitter: float = 0.1
    """In training the box is moved, and its side changed, by up to this share of its side."""
    flip: bool = True
    """Mirror half of the samples; left and right joints change places. For bodies that are symmetric at rest."""
    noise: float = 0.0
    """In training each colour is multiplied by its own factor, uniform from 1 - noise to 1 + noise."""
    crops: int = 1
    """So many crops of every picture, each with its own box, mirror and colours (repeated augmentation, Hoffer et al.
    2020): where pictures are drawn while they are learned from, drawing is most of the work."""
    endless: bool = False
    """Draw the people of every sample anew, with the settings that the data set's index names, instead of reading them:
    each clip of the data set then stands for as many pictures as there are epochs."""
    epochs_a_picture: int = 1
    """A picture that was drawn anew stays for so many epochs, each with another crop of it, and clips change theirs in
    different epochs: less drawing, and still no picture twice in a batch, by which batch norm sees more of them."""
    panoramas: str | None = None
    """What is behind people that are drawn anew, where the index says background=panorama: the file of panoramas that
    its clips were drawn with (data/panoramas/ASSETS.npz)."""
    body: str = "data/bodies/anny.npz"
    """The body file of the data set's people: what is drawn anew, losses on vertices and validation need it."""

    def __post_init__(self) -> None:
        if self.crop not in ("box", "whole"):
            raise ValueError(f"data.people.crop={self.crop}; use box or whole")
        if self.image_size < 8:
            raise ValueError(f"data.people.image_size={self.image_size} must be at least 8")
        if self.crops < 1:
            raise ValueError(f"data.people.crops={self.crops} must be at least 1")
        if self.epochs_a_picture < 1 or (self.epochs_a_picture > 1 and not self.endless):
            raise ValueError(
                f"data.people.epochs_a_picture={self.epochs_a_picture} must be at least 1, and 1 where "
                "pictures are read (data.people.endless=false)"
            )
        if self.box_margin < 1:
            raise ValueError(f"data.people.box_margin={self.box_margin} must be at least 1.0")
        for name in ("box_jitter", "noise"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"data.people.{name}={getattr(self, name)} must be at least 0 and below 1")
