"""Training samples of people: one frame of a clip, or one that is drawn for it, its crop, and what is true there.

Legend: J joints, S shape coefficients, H W pixels.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from generation.people.config import PeopleConfig, from_recipe
from generation.people.panoramas import Panoramas, read_panoramas
from generation.people.scene import make_clip
from shards import Clip, ClipStore
from shards.people.body import Body, read_body
from shards.people.camera import Camera, crop_camera
from shards.people.skeleton import MIRRORED
from trainer.batch import Sample, lasting_rng
from trainer.config import DataConfig
from trainer.people.config import PeopleData

ATTEMPTS = 8
"""Bodies that are drawn for one sample at most."""
KEPT = 2048
"""Drawn pictures that a process keeps, some 0.1 MB each."""
SMALLEST_BOX = 8
"""Pixels of the picture."""
MIRROR = np.array(MIRRORED)
FLIPPED = np.diag([-1.0, 1.0, 1.0]).astype(np.float32)


def make_people_sample(store: ClipStore, number: int, config: DataConfig, rng: np.random.Generator) -> Sample:
    """One training sample of one person; `sample_of_clip` says what it holds.

    A random frame of the clip, or with data.people.endless a picture drawn now, with a random box, mirrored or not.
    With data.people.crops = K above 1 every array has a first axis of K such crops of one picture.
    Raises ValueError when the clip is damaged, has no person, or none of its joints in the picture.
    """
    people = settings_of(config)
    if people.endless:
        draw = draw_clip if people.epochs_a_picture == 1 else keep_clip
        clip = draw(store, number, people, rng)
    else:
        frame = int(rng.integers(store.row(number)["num_frames"]))
        clip = store.read(number, frames=slice(frame, frame + 1))
    crops = [draw_crop(clip, people, rng) for _ in range(people.crops)]
    return crops[0] if len(crops) == 1 else {name: np.stack([crop[name] for crop in crops]) for name in crops[0]}


def draw_crop(clip: Clip, people: PeopleData, rng: np.random.Generator) -> Sample:
    """A random crop of a clip's first frame: its box, mirrored or not, its colours."""
    jitter = rng.uniform(-people.box_jitter, people.box_jitter, 3)
    sample = sample_of_clip(clip, 0, people, jitter)
    if people.flip and rng.random() < 0.5:
        sample = mirror(sample)
    if people.noise:
        factors = rng.uniform(1 - people.noise, 1 + people.noise, 3)
        sample["image"] = np.rint(sample["image"] * factors).clip(0, 255).astype(np.uint8)
    return sample


def settings_of(config: DataConfig) -> PeopleData:
    """The `data.people` section; ValueError where the recipe has none."""
    if config.people is None:
        raise ValueError("this stage trains on people: the recipe needs the section data.people (data=people)")
    return config.people


def sample_of_clip(clip: Clip, frame: int, people: PeopleData, jitter: np.ndarray | None = None) -> Sample:
    """One frame of a clip of people as a sample.

    image (H, W, 3) uint8, the crop; box (3,) left, top, side of it in the picture's pixels; picture (2,) width and
    height; focal_px () and centre_px (2,) of the crop's camera; pelvis_m (3,); joints_px (J, 2) in the crop's pixels;
    joints_seen (J,) bool; joints_m (J, 3) from the pelvis; shape (S,); rotations (J, 3, 3); has_pose () bool.
    """
    person = clip.person
    if person is None:
        raise ValueError(f"clip {clip.key} shows no person that is annotated; train on a data set of people")
    height, width = clip.video.shape[1:3]
    joints = clip.tracks[frame]
    if people.crop == "whole":
        side = max(height, width)
        box = np.array([(width - side) // 2, (height - side) // 2, side])
    else:
        box = find_box(joints, (height, width), people.box_margin, np.zeros(3) if jitter is None else jitter, clip.key)
    scale = people.image_size / box[2]
    whole = Camera(focal_px=person.focal_px[frame : frame + 1], centre_px=person.centre_px[frame : frame + 1])
    camera = crop_camera(whole, box[None].astype(np.float64), people.image_size)
    return {
        "image": cut_out(clip.video[frame], box, people.image_size),
        "box": box.astype(np.float32),
        "picture": np.array([width, height], np.float32),
        "focal_px": np.float32(camera.focal_px[0]),
        "centre_px": camera.centre_px[0].astype(np.float32),
        "pelvis_m": person.pelvis_m[frame],
        "joints_px": ((joints - box[:2]) * scale).astype(np.float32),
        "joints_seen": clip.visible[frame],
        "joints_m": person.joints_m[frame] - person.pelvis_m[frame],
        "shape": person.shape[frame],
        "rotations": person.rotations[frame],
        "has_pose": np.array(True),
    }


def find_box(joints: np.ndarray, size: tuple[int, int], margin: float, jitter: np.ndarray, key: str) -> np.ndarray:
    """(3,) whole pixels left, top, side: a square around the joints (J, 2) that lie in a picture of size (H, W).

    jitter (3,): shares of its side by which it is moved in x and y, and changed. Raises ValueError where none does.
    """
    is_inside = ((joints >= 0) & (joints <= np.array(size[::-1]))).all(-1)
    if not is_inside.any():
        raise ValueError(f"clip {key}: no joint of the person lies in the picture; leave this clip out of the data set")
    low, high = joints[is_inside].min(0), joints[is_inside].max(0)
    side = max(margin * float((high - low).max()), SMALLEST_BOX)
    centre = (low + high) / 2 + jitter[:2] * side
    side = round(side * (1 + jitter[2]))
    return np.array([*np.rint(centre - side / 2).astype(int), side])


def cut_out(picture: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) uint8: what a box (3,) of whole pixels shows of a picture (H, W, 3); black beyond its edges."""
    left, top, side = (int(value) for value in box)
    height, width = picture.shape[:2]
    cut = np.zeros((side, side, 3), np.uint8)
    rows, columns = (slice(max(first, 0), min(first + side, end)) for first, end in ((top, height), (left, width)))
    part = picture[rows, columns]
    cut[rows.start - top : rows.start - top + len(part), columns.start - left :][:, : part.shape[1]] = part
    return cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)


def mirror(sample: Sample) -> Sample:
    """The sample as in a mirror: the same person with left and right exchanged, seen by the mirrored camera."""
    size, width = sample["image"].shape[1], sample["picture"][0]
    left, top, side = sample["box"]
    flipped = sample | {
        "image": np.ascontiguousarray(sample["image"][:, ::-1]),
        "box": np.array([width - left - side, top, side], np.float32),
        "centre_px": np.array([size - sample["centre_px"][0], sample["centre_px"][1]], np.float32),
        "pelvis_m": sample["pelvis_m"] @ FLIPPED,
        "joints_px": (sample["joints_px"] * [-1, 1] + [size, 0])[MIRROR].astype(np.float32),
        "joints_seen": sample["joints_seen"][MIRROR],
        "joints_m": (sample["joints_m"] @ FLIPPED)[MIRROR],
        "rotations": (FLIPPED @ sample["rotations"] @ FLIPPED)[MIRROR],
    }
    return flipped


@lru_cache(maxsize=4)
def body_of(path: str) -> Body:
    """The body of a file, read once by each process."""
    return read_body(Path(path))


def check_body(body: Body, digest: str, where: str) -> None:
    """ValueError where labels are of another body than this one."""
    if body.digest != digest:
        raise ValueError(
            f"{where}: its people are bodies {digest}, data.people.body is {body.name} ({body.digest}); name the body "
            "file that they were made with, or make them again"
        )


def draw_clip(store: ClipStore, number: int, people: PeopleData, rng: np.random.Generator) -> Clip:
    """A clip of one frame, drawn now with the settings that the index names; ValueError where it names none.

    The stand-in of clip `number`: nothing but its name depends on that, everything on the generator.
    """
    config, digest = recipe_of(store)
    body, panoramas = body_of(people.body), None
    check_body(body, digest, store.name)
    if config.background == "panorama":
        panoramas = panoramas_of(store, people.panoramas)
    for attempt in range(1, ATTEMPTS + 1):
        seed, camera = (int(value) for value in rng.integers(2**31, size=2))
        try:
            key = f"{store.keys[number]}-drawn"
            return make_clip(config, body, seed, key, first_camera=camera, panoramas=panoramas)
        except ValueError as error:  # a body in a pose that hardly any camera sees
            if attempt == ATTEMPTS:
                raise ValueError(f"{store.name}: {ATTEMPTS} bodies in a row cannot be drawn: {error}") from None
    raise AssertionError("not reached")


def keep_clip(store: ClipStore, number: int, people: PeopleData, rng: np.random.Generator) -> Clip:
    """`draw_clip` for a clip that keeps its picture for some epochs, which are a pure function of the generator.

    The last KEPT of a process are not drawn again; one that resumes draws them once more.
    """
    lasting = lasting_rng(rng, people.epochs_a_picture)
    return _drawn(store, number, people, tuple(lasting.bit_generator.seed_seq.entropy))


@lru_cache(maxsize=KEPT)
def _drawn(store: ClipStore, number: int, people: PeopleData, entropy: tuple[int, ...]) -> Clip:
    return draw_clip(store, number, people, np.random.default_rng(entropy))


@lru_cache(maxsize=4)
def panoramas_of(store: ClipStore, path: str | None) -> Panoramas:
    """The panoramas of a file, read once by each process.

    ValueError where none is given, and where the data set's clips were drawn with others.
    """
    if path is None:
        raise ValueError(
            f"{store.name}: its people stand before panoramas; set data.people.panoramas to the file that they were "
            "drawn with (data/panoramas/open.npz), or data.people.endless=false"
        )
    panoramas, digest = read_panoramas(Path(path)), store.summary["recipe"].get("panoramas")
    if panoramas.digest != digest:
        raise ValueError(
            f"{store.name}: its people stand before panoramas {digest}, data.people.panoramas={path} is "
            f"{panoramas.digest}; name the file that they were drawn with, or draw them again"
        )
    return panoramas


@lru_cache(maxsize=4)
def recipe_of(store: ClipStore) -> tuple[PeopleConfig, str]:
    """The settings of single pictures that an index names, and the digest of the body; ValueError where it has none."""
    recipe = store.summary["recipe"]
    if not isinstance(recipe, dict) or not {"people", "body"} <= recipe.keys():
        raise ValueError(
            f"{store.name}: names no one recipe of drawn people; set data.people.endless=false, or a data set of "
            "source: people"
        )
    config = from_recipe(recipe["people"])
    if config.renderer != "z_buffer":
        raise ValueError(
            f"{store.name}: its people are rendered by {config.renderer}, and none while they are learned from; set "
            "data.people.endless=false"
        )
    return replace(config, num_frames=1), recipe["body"]["digest"]
