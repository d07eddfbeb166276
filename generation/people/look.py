"""What a drawn body looks like: colours of clothes, light, what is behind. A mannequin, and no photograph."""

from dataclasses import dataclass

import cv2
import numpy as np

from generation.people.config import PeopleConfig
from shards.people.body import Body
from shards.people.raster import Drawn

SKIN = ((0.95, 0.8, 0.69), (0.87, 0.67, 0.53), (0.71, 0.49, 0.35), (0.49, 0.32, 0.22), (0.31, 0.2, 0.14))
CLOTHES = {
    "top": ("spine1", "spine2", "spine3", "left_collar", "right_collar"),
    "sleeves": ("left_shoulder", "right_shoulder"),
    "long_sleeves": ("left_elbow", "right_elbow"),
    "shorts": ("pelvis", "left_hip", "right_hip"),
    "trousers": ("left_knee", "right_knee"),
    "shoes": ("left_ankle", "right_ankle", "left_foot", "right_foot"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """Colours and light of one clip."""

    albedo: np.ndarray
    """(P + 1, 3) float32, of 1, by part"""
    light: np.ndarray
    """(3,) float32, unit vector to the light in the person's axes"""
    ambient: float
    floor: np.ndarray
    """(2, 3) float32, colours of the floor's squares"""
    square_m: float
    """Their side: another for each clip, so that it tells no distance"""
    turn: float
    """Of the squares about the vertical, radians"""


def draw_look(body: Body, rng: np.random.Generator) -> Look:
    """Random skin, clothes and light."""
    skin = np.array(SKIN[rng.integers(len(SKIN))]) * rng.uniform(0.85, 1.1)
    albedo = np.tile(skin, (len(body.part_names) + 1, 1))
    top, bottom, shoes = rng.uniform(0.05, 1, (3, 3))
    worn = {"top": top, "shorts": bottom, "shoes": shoes}
    worn |= {"sleeves": top} if rng.random() < 0.8 else {}
    worn |= {"long_sleeves": top} if "sleeves" in worn and rng.random() < 0.5 else {}
    worn |= {"trousers": bottom} if rng.random() < 0.6 else {}
    for cloth, colour in worn.items():
        for part in CLOTHES[cloth]:
            if part in body.part_names:
                albedo[1 + body.part_names.index(part)] = colour
    light = rng.normal(size=3)
    light[1] = -abs(light[1]) - 0.3  # from above: y is down
    return Look(
        albedo=albedo.astype(np.float32),
        light=(light / np.linalg.norm(light)).astype(np.float32),
        ambient=float(rng.uniform(0.25, 0.6)),
        floor=_muted(rng.uniform(0.1, 0.9, (2, 3))).astype(np.float32),
        square_m=float(np.exp(rng.uniform(np.log(0.15), np.log(1.5)))),
        turn=float(rng.uniform(0, np.pi)),
    )


def light_vertices(look: Look, normals: np.ndarray) -> np.ndarray:
    """(V,) float32, how bright vertices of these normals (V, 3), in the person's axes, are: Lambert's law."""
    return look.ambient + (1 - look.ambient) * np.clip(normals @ look.light, 0, 1)


def shade(body: Body, look: Look, drawn: Drawn, vertex_light: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32: colours lit by what is between vertices (V,); 0 where no body is."""
    face = drawn.face[drawn.mask]
    light = (vertex_light[body.faces[face]] * drawn.weights[drawn.mask]).sum(-1)
    picture = np.zeros((*drawn.face.shape, 3), np.float32)
    picture[drawn.mask] = look.albedo[body.parts[face]] * light[:, None]
    return picture


def draw_background(config: PeopleConfig, size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) float32 of 1: a gradient with soft patches of several sizes, or one colour."""
    first, second = _muted(rng.uniform(0, 1, (2, 3)))
    if config.background == "plain":
        return np.broadcast_to(first, (size, size, 3)).astype(np.float32)
    down = np.linspace(0, 1, size)[:, None, None]
    picture = (first * (1 - down) + second * down + np.zeros((1, size, 1))).astype(np.float32)
    for cells in (3, 6, 12, 24):
        patches = _muted(rng.normal(size=(cells, cells, 3))).astype(np.float32) * (0.35 / cells**0.5)
        picture += cv2.resize(patches, (size, size), interpolation=cv2.INTER_LINEAR)
    return picture


def _muted(colours: np.ndarray) -> np.ndarray:
    """Colours (..., 3) with two fifths of their saturation."""
    grey = colours.mean(-1, keepdims=True)
    return grey + 0.4 * (colours - grey)


def draw_floor(rays: np.ndarray, position_m: np.ndarray, floor_m: float, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Depth of the floor along rays (H, W, 3) in the person's axes, infinite above the horizon, and its colours.

    A ray is of depth 1: the depth is how often it fits. The squares fade with the distance.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(rays[..., 1] > 1e-6, (floor_m - position_m[1]) / rays[..., 1], np.inf)
    is_floor = np.isfinite(depth) & (depth > 0)
    places = position_m[[0, 2]] + np.where(is_floor, depth, 0)[..., None] * rays[..., [0, 2]]
    cos, sin = np.cos(look.turn), np.sin(look.turn)
    squares = places @ np.array([[cos, -sin], [sin, cos]]) / look.square_m
    odd = np.floor(squares).astype(np.int64).sum(-1) % 2
    fade = np.exp(-np.where(is_floor, depth, 0) / (8 * look.square_m))[..., None]
    colours = fade * look.floor[odd] + (1 - fade) * look.floor.mean(0)
    return np.where(is_floor, depth, np.inf).astype(np.float32), colours.astype(np.float32)
