"""Clips of a capsule man in front of cameras, for the tests of what a clip says of a person."""

from dataclasses import replace

import numpy as np

from generation.people.toy import make_toy
from shards import Clip
from shards.people.body import pose_body
from shards.people.camera import Camera, project
from shards.people.person import Person
from shards.people.raster import draw, parts_seen

BODY = make_toy()


def turns(rng, *shape, bound=0.4):
    """Rotation matrices (*shape, 3, 3) of random axes and angles up to `bound`, by Rodrigues' formula."""
    axis = rng.normal(size=(*shape, 3))
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    x, y, z = np.moveaxis(axis, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*shape, 3, 3)
    angle = rng.uniform(-bound, bound, shape)[..., None, None]
    return (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross).astype(np.float32)


def make_person(num_frames=3, size=(48, 40), seed=0):
    """A person in a few poses and cameras, with the parts that are seen, and the positions (T, 22, 2) of its joints."""
    rng = np.random.default_rng(seed)
    pelvis = np.stack([*rng.uniform(-0.1, 0.1, (2, num_frames)), rng.uniform(1.5, 3, num_frames)], -1)
    shape, rotations = rng.normal(size=(num_frames, 2)), turns(rng, num_frames, 22)
    posed = pose_body(BODY, shape, rotations, pelvis)
    focal, centre = 20 * pelvis[:, 2], np.tile(np.array(size[::-1]) / 2, (num_frames, 1))
    drawn = [
        draw(vertices, BODY.faces, f, c, size) for vertices, f, c in zip(posed.vertices_m, focal, centre, strict=True)
    ]
    person = Person(
        body=BODY.digest,
        focal_px=focal.astype(np.float32),
        centre_px=centre.astype(np.float32),
        pelvis_m=pelvis.astype(np.float32),
        joints_m=posed.joints_m,
        shape=shape.astype(np.float32),
        rotations=rotations,
        parts=np.stack([parts_seen(one, BODY.parts) for one in drawn]),
    )
    return person, project(Camera(focal_px=focal, centre_px=centre), posed.joints_m)


def person_clip(key="clip-0", **settings):
    """A clip of a person: grey, with lighter parts; depth is that of the pelvis everywhere."""
    person, joints = make_person(**settings)
    height, width = person.parts.shape[1:]
    inside = ((joints >= 0) & (joints < [width, height])).all(-1)
    depth_m = np.broadcast_to(person.pelvis_m[:, 2, None, None], person.parts.shape)
    return Clip(
        key=key,
        video=np.repeat(100 + 5 * person.parts[..., None], 3, -1),
        tracks=joints.astype(np.float32),
        visible=inside,
        depth_m=np.ascontiguousarray(depth_m),
        person=person,
        metadata={"recipe": {"source": "toy"}},
    )


def without_parts(clip):
    """The clip with all but the mask."""
    return replace(clip, person=replace(clip.person, parts=None))
