"""Step PyBullet through a scene and give what it computed to kubric's bodies.

Renderer side. This stands for kubric's own `PyBullet.run`, which keeps contacts and keyframes while objects settle, and
looks for a contact's assets among all: most of the time of setting a scene.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

TRAITS = ("position", "quaternion", "velocity", "angular_velocity")
LEAST_FORCE = 1e-6


@dataclass(frozen=True)
class Contact:
    """Two kubric assets that press on each other in one step of the simulation."""

    frame: float
    assets: tuple[Any, Any]
    force: float


class _Bodies:
    """PyBullet's side of kubric's assets."""

    def __init__(self, simulator: Any):
        self.client = simulator._physics_client
        self.step = self.client.stepSimulation  # each look-up of a name costs as much as a call
        self.pose_of, self.speed_of = self.client.getBasePositionAndOrientation, self.client.getBaseVelocity
        scene = simulator.scene
        self.steps_per_frame = scene.step_rate // scene.frame_rate
        self.assets = {
            asset.linked_objects[simulator]: asset for asset in scene.assets if simulator in asset.linked_objects
        }

    def state(self, number: int) -> dict[str, tuple[float, ...]]:
        """The four traits of a body now; quaternions (w, x, y, z)."""
        position, (x, y, z, w) = self.pose_of(number)
        velocity, angular_velocity = self.speed_of(number)
        return dict(zip(TRAITS, (position, (w, x, y, z), velocity, angular_velocity), strict=True))


def settle(simulator: Any, bodies: list[Any], num_frames: int) -> None:
    """Let the simulation run for some frames, and tell the bodies where they are."""
    simulated = _Bodies(simulator)
    for _ in range(num_frames * simulated.steps_per_frame):
        simulated.step()
    for body in bodies:
        for name, value in simulated.state(body.linked_objects[simulator]).items():
            setattr(body, name, value)


def simulate(simulator: Any, bodies: list[Any], last_frame: int) -> tuple[dict[str, np.ndarray], list[Contact]]:
    """Simulate from frame 0 and set the bodies' keyframes.

    Returns the poses at the start of every frame by trait, (K, last_frame + 1, 3 or 4), and all contacts.
    """
    simulated = _Bodies(simulator)
    contacts_now = simulated.client.getContactPoints
    poses: dict[str, list[list[tuple[float, ...]]]] = {name: [[] for _ in bodies] for name in TRAITS}
    contacts = []
    for step in range((last_frame + 1) * simulated.steps_per_frame):
        frame = step / simulated.steps_per_frame
        for _, one, other, *_, force, _, _, _, _ in contacts_now():
            if force > LEAST_FORCE:
                contacts.append(Contact(frame, (simulated.assets[other], simulated.assets[one]), force))
        if step % simulated.steps_per_frame == 0:
            for index, body in enumerate(bodies):
                for name, value in simulated.state(body.linked_objects[simulator]).items():
                    poses[name][index].append(value)
        simulated.step()
    for index, body in enumerate(bodies):
        for frame in range(last_frame + 1):
            for name in ("position", "quaternion"):
                setattr(body, name, poses[name][index][frame])
                body.keyframe_insert(name, frame)
    return {name: np.array(values) for name, values in poses.items()}, contacts
