"""A benchmark of drives through streets, and rollouts of made-up models that do something known with actions."""

from itertools import product

import numpy as np
import pytest

from eval.driving.rollouts import SHUFFLED, TOLD, RolloutsWriter, other_key
from eval.driving.truth import DriveTruth
from tests.eval.driving.street import see, street_index

FEW = {"num_frames": 4, "frame_step": 1, "height": 24, "width": 36, "num_given": 1}
"""Windows of which several begin in a clip of 10 frames."""
SIZES = {"num_frames": 8, "frame_step": 1, "height": 24, "width": 36, "num_given": 1}


@pytest.fixture(scope="session")
def street(tmp_path_factory):
    """The index of 8 clips of 10 frames."""
    return street_index(tmp_path_factory.mktemp("street"), num_clips=8, num_frames=10, size=(24, 36))


def write_rollouts(
    path, index, *, follows=True, told=TOLD, swap=None, model="made", noise=6.0, reward=False, sizes=SIZES, windows=1
):
    """Rollouts of a model that knows each clip's world: it drives as it is told, or always as the clip did.

    Told nothing it stays where it is. swap: what is told, by what the file says of it.
    """
    truth = DriveTruth(index)
    window = {name: sizes[name] for name in ("num_frames", "frame_step", "height", "width")}
    header = {"model": model, "weights_sha256": "ab", "dataset_digest": truth.sha256, "settings": sizes}
    with RolloutsWriter(path, **header) as writer:
        for number, key in enumerate(truth.keys):
            for first, said in product(truth.starts(key, sizes["num_frames"], 1, windows), told):
                given, drive = truth.window(key, **window, first=first)
                what = (swap or {}).get(said, said)
                other = other_key(truth.keys, key)
                whose = {"true": key, "shuffled": other}.get(what, key) if follows else key
                poses = drive.camera_to_world
                if what == "none" and follows:
                    poses = np.repeat(poses[:1], len(poses), axis=0)
                elif whose != key:
                    poses = carry(truth.window(whose, **window, first=first)[1].camera_to_world, poses[0])
                rng = np.random.default_rng([number, TOLD.index(said), *([first] if first else [])])
                made = see(poses, (24, 36), number) + rng.normal(0, noise, given.shape)
                made = np.concatenate([given[:1], np.clip(np.rint(made[1:]), 0, 255).astype(np.uint8)])
                value = None if not reward else 1 - 0.1 * (what != "true") - 0.001 * number
                writer.add(key, first, said, made, value, other if said == SHUFFLED else None)
    return path


def carry(poses, start):
    """Poses (T, 3, 4) moved as a whole so that the first is `start`: the same drive in another place."""
    turn = start[:, :3] @ poses[0, :, :3].T
    places = (poses[:, :, 3] - poses[0, :, 3]) @ turn.T + start[:, 3]
    return np.concatenate([turn @ poses[:, :, :3], places[..., None]], -1)
