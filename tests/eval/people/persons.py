"""People whose every number is known: the capsule man before cameras of his own, packed as shards."""

from pathlib import Path

import numpy as np

from eval.people.predictions import PREDICTED, PersonPrediction, write_predictions
from shards import Clip, ClipStore, pack_clips, write_index
from shards.people.body import Body, pose_body
from shards.people.camera import Camera, project
from shards.people.person import Person

SIZE = 64


def draw_rotations(rng: np.random.Generator, *shape: int, degrees: float = 20.0) -> np.ndarray:
    """Rotations (*shape, 3, 3) float32 about random axes by angles that are normal with this deviation."""
    axis = rng.normal(size=(*shape, 3))
    x, y, z = np.moveaxis(axis / np.linalg.norm(axis, axis=-1, keepdims=True), -1, 0)
    angle = rng.normal(0, np.radians(degrees), shape)[..., None, None]
    cross = np.stack([0 * x, -z, y, z, 0 * x, -x, -y, x, 0 * x], -1).reshape(*shape, 3, 3)
    return (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross).astype(np.float32)


def make_person(body: Body, num_frames: int, seed: int) -> Person:
    """A person in one shape and pose, seen from 0.9 to 6 m by a camera that zooms with the distance."""
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.uniform(np.log(0.9), np.log(6), num_frames))
    focal = 30 * depth * rng.uniform(0.8, 1.2, num_frames)
    shape = np.tile(rng.normal(size=body.num_shapes), (num_frames, 1)).astype(np.float32)
    rotations = np.tile(draw_rotations(rng, 1, body.num_joints), (num_frames, 1, 1, 1))
    rotations[:, 0] = draw_rotations(rng, num_frames, degrees=60)
    pelvis = np.stack([*rng.normal(0, 0.05, (2, num_frames)) * depth, depth], -1).astype(np.float32)
    return Person(
        body=body.digest,
        focal_px=focal.astype(np.float32),
        centre_px=np.full((num_frames, 2), SIZE / 2, np.float32),
        pelvis_m=pelvis,
        joints_m=pose_body(body, shape, rotations, pelvis).joints_m,
        shape=shape,
        rotations=rotations,
    )


def joints_px(person: Person) -> np.ndarray:
    """The true 2D joints (T, J, 2) float32."""
    camera = Camera(focal_px=person.focal_px, centre_px=person.centre_px)
    return project(camera, person.joints_m).astype(np.float32)


def make_people_clip(body: Body, key: str, *, num_frames: int = 4, seed: int = 0) -> Clip:
    """A clip of a person on a grey picture."""
    person = make_person(body, num_frames, seed)
    tracks = joints_px(person)
    return Clip(
        key=key,
        video=np.full((num_frames, SIZE, SIZE, 3), 90 + seed, np.uint8),
        tracks=tracks,
        visible=((tracks >= 0) & (tracks < SIZE)).all(-1),
        person=person,
        metadata={"seed": seed},
    )


def pack_people(folder: Path, body: Body, dataset: str, num_clips: int = 5, first_seed: int = 0) -> Path:
    """Pack clips of people and return their index.json."""
    clips = [make_people_clip(body, f"{dataset}-{i}", seed=first_seed + i) for i in range(num_clips)]
    pack_clips(clips, folder / dataset / "shard-000000", "png")
    write_index([folder / dataset / "shard-000000.json"], dataset, folder / dataset / "index.json")
    return folder / dataset / "index.json"


def exact_prediction(clip: Clip, **changes) -> PersonPrediction:
    """What a model would say that knew the truth."""
    person = clip.person
    exact = {
        "depth_m": person.pelvis_m[:, 2].copy(),
        "shape": person.shape,
        "rotations": person.rotations,
        "joints_px": clip.tracks,
        "joints_score": np.ones(clip.visible.shape, np.float32),
    }
    return PersonPrediction(name=clip.key, **(exact | changes))


def write_exact(path: Path, index: Path, change=lambda clip: {}, **header) -> Path:
    """Predictions for all clips of an index: the truth with the changes that a function of the clip gives."""
    store = ClipStore(index)
    clips = [store[number] for number in range(len(store))]
    header = {
        "model": "exact",
        "condition": PREDICTED,
        "body": clips[0].person.body,
        "truth_sha256": store.sha256,
    } | header
    return write_predictions(path, clips=[exact_prediction(clip, **change(clip)) for clip in clips], **header)
