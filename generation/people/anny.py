"""Anny's bodies (Apache-2.0, data CC0) as a body file: adults, their shape in a few coefficients.

Anny (Brégier et al. 2025) makes a body's rest state from phenotypes, which are no linear space. What is kept here are
the mean and the largest principal components of a population of adults: a linear shape space like SMPL's, in which each
coefficient is about normal with variance 1. Bones that are none of the 22 joints hang on the nearest one.
"""

from pathlib import Path

import numpy as np

from generation.people.packages import available
from generation.people.skeleton import JOINTS, PARENTS, merge_bones, parts_of_faces
from shards.people.body import Body

TOPOLOGIES = ("anny", "notoes_collapse10pc", "notoes_collapse5pc")
"""Meshes of Anny: 13,718 vertices, and about a tenth and a twentieth of them."""
BONES = {
    "pelvis": "root", "left_hip": "upperleg01.L", "right_hip": "upperleg01.R", "spine1": "spine05",
    "left_knee": "lowerleg01.L", "right_knee": "lowerleg01.R", "spine2": "spine03", "left_ankle": "foot.L",
    "right_ankle": "foot.R", "spine3": "spine02", "left_foot": "toe3-1.L", "right_foot": "toe3-1.R",
    "neck": "neck01", "left_collar": "clavicle.L", "right_collar": "clavicle.R", "head": "head",
    "left_shoulder": "upperarm01.L", "right_shoulder": "upperarm01.R", "left_elbow": "lowerarm01.L",
    "right_elbow": "lowerarm01.R", "left_wrist": "wrist.L", "right_wrist": "wrist.R",
}  # fmt: skip
"""The bone whose head is each joint."""
TO_CAMERA = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float64)
"""Anny: z up, the person faces -y. Here: y down, the person faces -z."""
INSTALL = "python -m generation body-packages --out DIR, then --packages DIR (or: snakemake data/bodies/NAME.npz)"


def make_anny(*, topology: str, num_shapes: int, num_people: int, seed: int, packages: Path | None = None) -> Body:
    """The body of a population of adults; `packages` is where Anny is installed, if not in this environment.

    Takes a minute or two, and 0.8 GB for a while. Raises ValueError for an unknown topology and where Anny is missing.
    """
    if topology not in TOPOLOGIES:
        raise ValueError(f"topology={topology}: known are {', '.join(TOPOLOGIES)}")
    with available(packages):
        print(f"anny: building the mesh {topology}, which takes a minute or two", flush=True)
        model = load_model(topology)
    print(f"anny: drawing {num_people} adults", flush=True)
    rng = np.random.default_rng(seed)
    states = [rest_state(model, draw_adult(rng)) for _ in range(num_people)]
    vertices = np.stack([state[0] for state in states])  # (N, V, 3)
    joints = np.stack([state[1] for state in states])  # (N, J, 3)
    mean, directions = principal_directions(np.concatenate([vertices, joints], 1), num_shapes)
    num_vertices = vertices.shape[1]
    return assemble(
        model,
        f"anny-0.6.2-{topology}",
        (mean[:num_vertices], mean[num_vertices:]),
        (directions[:, :num_vertices], directions[:, num_vertices:]),
    )


def load_model(topology: str):
    """Anny's own model; ValueError where it is not installed."""
    try:
        import anny
    except ImportError as error:
        raise ValueError(f"Anny is not installed here ({error}); {INSTALL}") from None
    return anny.Anny(rig="anny", topology=topology, skinning_method="lbs")


def draw_adult(rng: np.random.Generator) -> dict[str, float]:
    """Phenotypes of an adult, each from 0 to 1: statures of about 1.5 to 2.05 metres."""
    return {
        "gender": float(rng.uniform()),
        "age": float(rng.uniform(0.65, 1.0)),
        "muscle": float(rng.uniform(0.1, 0.9)),
        "weight": float(rng.uniform(0.1, 0.9)),
        "height": float(np.clip(rng.normal(0.45, 0.07), 0.25, 0.65)),
        "proportions": float(rng.uniform()),
    }


def rest_state(model, phenotypes: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and joints (22, 3) at rest in camera axes, metres, from the pelvis."""
    output = model(None, phenotypes)
    heads = output["rest_bone_heads"][0].numpy()
    vertices = output["rest_vertices"][0].numpy()
    joints = heads[[model.bone_labels.index(BONES[name]) for name in JOINTS]]
    return (vertices - joints[0]) @ TO_CAMERA.T, (joints - joints[0]) @ TO_CAMERA.T


def principal_directions(points: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (M, 3) and the largest `count` principal directions (count, M, 3) of points (N, M, 3).

    Each is as long as one standard deviation, and points to where the sum of x, y, z of all points grows.
    """
    mean = points.mean(0)
    flat = (points - mean).reshape(len(points), -1)
    _, vectors = np.linalg.eigh(flat @ flat.T)  # (N, N): far smaller than (3 M, 3 M)
    largest = vectors[:, ::-1][:, :count].T * np.sqrt(1 / len(points))
    directions = (largest @ flat).reshape(count, *mean.shape)
    signs = np.sign(directions.sum((1, 2)))
    return mean, directions * np.where(signs == 0, 1, signs)[:, None, None]


def owners_of_bones(labels: list[str], parents: list[int]) -> np.ndarray:
    """The joint that each bone is, or hangs on."""
    joint_of = {bone: number for number, bone in enumerate(BONES[name] for name in JOINTS)}
    owners: list[int] = []
    for label, parent in zip(labels, parents, strict=True):
        owners.append(joint_of.get(label, owners[parent] if parent >= 0 else 0))
    return np.array(owners)


def assemble(model, name: str, means: tuple, directions: tuple) -> Body:
    """The body of Anny's mesh and weights with this mean and these directions of (vertices, joints)."""
    bone_weights = model.dense_vertex_bone_weights.numpy()  # (V, 104)
    weights = merge_bones(bone_weights, owners_of_bones(model.bone_labels, model.bone_parents), len(JOINTS))
    faces = model.faces.numpy().astype(np.int32)
    return Body(
        name=name,
        template_m=means[0].astype(np.float32),
        joints_m=means[1].astype(np.float32),
        shape_directions=directions[0].astype(np.float32),
        joint_directions=directions[1].astype(np.float32),
        parents=np.array(PARENTS, np.int32),
        weights=weights,
        faces=faces,
        parts=parts_of_faces(weights, faces),
        joint_names=JOINTS,
        part_names=JOINTS,
    )
