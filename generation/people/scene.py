"""Clips of one person from many cameras: `make_clip` is a pure function of recipe, body and seed."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from generation.people.config import PeopleConfig
from generation.people.look import Look, draw_background, draw_floor, draw_look, light_vertices, shade
from generation.people.panoramas import Panoramas, Surroundings
from generation.people.pose import BodyState, draw_state
from generation.people.view import View, draw_view
from shards.clip import Clip
from shards.people.body import Body, Posed, pose_body
from shards.people.camera import Camera, project
from shards.people.person import Person
from shards.people.raster import Drawn, draw, parts_seen, vertex_normals
from shards.people.visibility import joints_seen

ATTEMPTS = 50
"""So many cameras may show too little of a body before that is an error."""
MIN_DEPTH_M = 0.1
"""All of a body is so far in front of its camera."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """One body in its pose and clothes, in its own axes: the same for all cameras of a clip."""

    body: Body
    state: BodyState
    look: Look
    posed: Posed
    """Of one body: (1, V, 3) and (1, J, 3)"""
    light: np.ndarray
    """(V,) float32, how bright each vertex is"""
    surroundings: Surroundings | None
    """What is behind, if that is a panorama"""

    @property
    def floor_m(self) -> float:
        """y of the lowest vertex: where the floor is."""
        return float(self.posed.vertices_m[..., 1].max())


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One picture and what is known of it."""

    picture: np.ndarray
    """(H, W, 3) uint8"""
    depth_m: np.ndarray
    """(H, W) float32, distance to the camera's centre"""
    parts: np.ndarray
    """(H, W) uint8"""
    joints_px: np.ndarray
    """(J, 2) float32"""
    seen: np.ndarray
    """(J,) bool"""
    joints_m: np.ndarray
    """(J, 3) float32 in camera axes"""
    rotations: np.ndarray
    """(J, 3, 3) float32 in camera axes"""
    focal_px: float
    view: View
    behind: np.ndarray
    """(H', W', 3) float32 of 1, what is behind body and floor; with supersampling larger than the picture"""


Studio = Callable[[PeopleConfig, Subject, Sequence[Frame], int], np.ndarray]
"""What renders the views of a clip with a seed: (T, H, W, 4) float32 of 1, colours and how much they cover."""


def make_clip(
    config: PeopleConfig,
    body: Body,
    seed: int | Sequence[int],
    key: str,
    *,
    first_camera: int = 0,
    panoramas: Panoramas | None = None,
    studio: Studio | None = None,
) -> Clip:
    """The clip of a seed: one body in one pose, config.num_frames cameras from `first_camera` on (what they look at
    goes round).

    Raises ValueError where no camera shows enough, and where panoramas or a studio are asked for and not given.
    """
    if config.renderer == "cycles" and studio is None:
        raise ValueError(
            "renderer=cycles needs a studio: python -m generation people renders so, with --renderer PYTHON"
        )
    rng = np.random.default_rng(seed)
    subject = draw_subject(config, body, rng, panoramas)
    numbers = range(first_camera, first_camera + config.num_frames)
    frames = [draw_frame(config, subject, number, rng) for number in numbers]
    video = np.stack([frame.picture for frame in frames])
    if config.renderer == "cycles":
        seeds = seed if isinstance(seed, Sequence) else [seed]
        video = put_before(studio(config, subject, frames, zlib.crc32(repr(list(seeds)).encode())), config, frames, rng)
    joints_m = np.stack([frame.joints_m for frame in frames])
    num_frames = len(frames)
    person = Person(
        body=body.digest,
        focal_px=np.array([frame.focal_px for frame in frames], np.float32),
        centre_px=np.full((num_frames, 2), config.resolution / 2, np.float32),
        pelvis_m=joints_m[:, 0],
        joints_m=joints_m,
        shape=np.tile(subject.state.shape, (num_frames, 1)),
        rotations=np.stack([frame.rotations for frame in frames]),
        parts=np.stack([frame.parts for frame in frames]),
    )
    return Clip(
        key=key,
        video=video,
        tracks=np.stack([frame.joints_px for frame in frames]),
        visible=np.stack([frame.seen for frame in frames]),
        depth_m=np.stack([frame.depth_m for frame in frames]),
        person=person,
        metadata={"recipe": describe(config, body, panoramas)}
        | ({"seed": seed} if isinstance(seed, int) else {})
        | ({"scene": {"hdri": subject.surroundings.name}} if subject.surroundings else {}),
    )


def describe(config: PeopleConfig, body: Body, panoramas: Panoramas | None = None) -> dict:
    """What a clip's metadata says of its making, and an index of all its clips."""
    recipe = {"people": asdict(config), "body": {"name": body.name, "digest": body.digest}}
    return recipe | ({"panoramas": panoramas.digest} if panoramas and config.background == "panorama" else {})


def draw_subject(
    config: PeopleConfig, body: Body, rng: np.random.Generator, panoramas: Panoramas | None = None
) -> Subject:
    """A random shape, pose and look of a body, and where it is."""
    state, look = draw_state(config, body, rng), draw_look(body, rng)
    posed = pose_body(body, state.shape[None], state.rotations[None])
    light = light_vertices(look, vertex_normals(posed.vertices_m[0], body.faces))
    surroundings = None
    if config.background == "panorama":
        if panoramas is None:
            raise ValueError(
                "background=panorama needs the panoramas of an asset pack: --panoramas FILE, which "
                "python -m generation panoramas writes"
            )
        name = str(rng.choice(panoramas.of_split(config.split)))
        turn = float(rng.uniform(0, 2 * np.pi))
        surroundings = Surroundings(name=name, picture=panoramas.pictures[name], turn=turn)
    return Subject(body=body, state=state, look=look, posed=posed, light=light, surroundings=surroundings)


def draw_frame(config: PeopleConfig, subject: Subject, number: int, rng: np.random.Generator) -> Frame:
    """The picture of the `number`th camera; others are drawn until enough of the body is in it."""
    body, floor_m = subject.body, subject.floor_m
    for _ in range(ATTEMPTS):
        view = draw_view(config, body, subject.posed.joints_m[0].astype(np.float64), floor_m, number, rng)
        joints_m = _seen_from(view, subject.posed.joints_m[0])
        vertices_m = _seen_from(view, subject.posed.vertices_m[0])
        if vertices_m[:, 2].min() < MIN_DEPTH_M:
            continue
        centre = np.full(2, config.resolution / 2)
        camera = Camera(focal_px=np.array([view.focal_px]), centre_px=centre[None])
        joints_px = project(camera, joints_m[None])[0]
        inside = ((joints_px >= 0) & (joints_px < config.resolution)).all(-1)
        if inside.sum() < config.min_joints:
            continue
        drawn = draw(vertices_m, body.faces, view.focal_px, centre, (config.resolution,) * 2)
        if not drawn.mask.any():
            continue
        behind = _draw_behind(config, subject, view, rng)
        picture, depth_m = _paint(config, subject, view, vertices_m, drawn, behind, rng)
        rotations = subject.state.rotations.copy()
        rotations[0] = view.rotation @ rotations[0]
        return Frame(
            picture=picture,
            depth_m=depth_m,
            parts=parts_seen(drawn, body.parts),
            joints_px=joints_px.astype(np.float32),
            seen=joints_seen(body, drawn, joints_px, joints_m),
            joints_m=joints_m,
            rotations=rotations,
            focal_px=view.focal_px,
            view=view,
            behind=behind,
        )
    raise ValueError(
        f"{ATTEMPTS} cameras in a row show fewer than {config.min_joints} joints of a body, or are inside it; "
        "lower min_joints, or widen near_m and polar"
    )


def _seen_from(view: View, points_m: np.ndarray) -> np.ndarray:
    """Points (N, 3) of the person's axes in those of the camera, float32."""
    return ((points_m - view.position_m) @ view.rotation.T).astype(np.float32)


def put_before(
    rendered: np.ndarray, config: PeopleConfig, frames: Sequence[Frame], rng: np.random.Generator
) -> np.ndarray:
    """(T, H, W, 3) uint8: rendered pictures (T, H, W, 4) before what is behind, with the camera's noise."""
    size = (config.resolution, config.resolution)
    behind = np.stack([cv2.resize(frame.behind, size, interpolation=cv2.INTER_AREA) for frame in frames])
    colours = behind + rendered[..., 3:] * (rendered[..., :3] - behind)
    noisy = colours + config.sensor_noise * rng.standard_normal(colours.shape, np.float32)
    return (255 * noisy.clip(0, 1) + 0.5).astype(np.uint8)


def _draw_behind(config: PeopleConfig, subject: Subject, view: View, rng: np.random.Generator) -> np.ndarray:
    """(H', W', 3) float32 of 1: a panorama or made-up colours, at the size that is painted at."""
    size, factor = config.resolution, config.supersample
    if subject.surroundings:
        return subject.surroundings.seen_along(_rays(view, size, factor))
    colours = draw_background(config, size, rng)
    return cv2.resize(colours, (size * factor,) * 2) if factor > 1 else colours


def _paint(
    config: PeopleConfig,
    subject: Subject,
    view: View,
    vertices_m: np.ndarray,
    drawn: Drawn,
    behind: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The picture (H, W, 3) uint8 and its depth (H, W) float32; a larger one is drawn for supersampling."""
    body, look, size, factor = subject.body, subject.look, config.resolution, config.supersample
    fine = drawn
    if factor > 1:
        centre = np.full(2, size * factor / 2)
        fine = draw(vertices_m, body.faces, view.focal_px * factor, centre, (size * factor,) * 2)
    rays = _rays(view, size, 1)
    fine_rays = rays if factor == 1 else _rays(view, size, factor)
    colours = behind
    z_m = np.full((size, size), config.background_m, np.float32)
    if config.has_floor:
        coarse, squares = draw_floor(rays, view.position_m, subject.floor_m, look)
        z_m = np.minimum(z_m, coarse)
        floor = coarse
        if factor > 1:
            floor, squares = draw_floor(fine_rays, view.position_m, subject.floor_m, look)
        colours = np.where((floor < config.background_m)[..., None], squares, colours)
    colours = np.where(fine.mask[..., None], shade(body, look, fine, subject.light), colours)
    if factor > 1:
        colours = cv2.resize(colours.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    noisy = colours + config.sensor_noise * rng.standard_normal(colours.shape, np.float32)
    picture = (255 * noisy.clip(0, 1) + 0.5).astype(np.uint8)
    # A clip's depth is the distance to the camera's centre, as everywhere here, and z is along its axis.
    depth_m = np.where(drawn.mask, drawn.depth_m, z_m) * np.linalg.norm(rays, axis=-1)
    return picture, depth_m.astype(np.float32)


def _rays(view: View, size: int, factor: int) -> np.ndarray:
    """(H, W, 3): where pixels look, in the person's axes, as vectors of depth 1."""
    places = ((np.arange(size * factor) + 0.5) / factor - size / 2) / view.focal_px
    x, y = np.meshgrid(places, places)
    return np.stack([x, y, np.ones_like(x)], -1) @ view.rotation
