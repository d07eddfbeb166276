"""BEDLAM-CC's renders and BEDLAM's training labels in their real formats; cameras are checked against Unreal's axes."""

import numpy as np
import pytest
from PIL import Image

from shards.convert import read_clips
from shards.layouts.choice import Choice
from shards.people.labels import Reading
from tests.shards.smpl_bodies import SIZE, as_body, expected, forward, make_labels, make_model, vertices_of

MODEL = make_model()
BODY = as_body(MODEL)
HEIGHT, WIDTH = SIZE
FOCAL_MM = 24.0
FOCAL_PX = FOCAL_MM / 36 * WIDTH
YAW, PITCH, DISTANCE_M = (20.0, 130.0, -75.0), (0.0, -25.0, 15.0), (1.8, 2.2, 2.5)


def look_directions():
    """Forward, right and up (T, 3) of Unreal's cameras: x forward, y right, z up; yaw from x to y, pitch upwards."""
    yaw, pitch = np.radians(YAW), np.radians(PITCH)
    forward_ = np.stack([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)], -1)
    right = np.stack([-np.sin(yaw), np.cos(yaw), 0 * yaw], -1)
    up = np.stack([-np.sin(pitch) * np.cos(yaw), -np.sin(pitch) * np.sin(yaw), np.cos(pitch)], -1)
    return forward_, right, up


def bedlam_cc(root, *, name="seq_000007", numbers=(0, 1, 2), infix="", **changes):
    """Write a sequence of three cameras that look at the body's pelvis from DISTANCE_M; returns its labels."""
    rng = np.random.default_rng(3)
    betas, poses = rng.normal(size=4), rng.normal(0, 0.2, (4, 165))
    turned, trans = rng.normal(0, 0.3, (4, 3)), rng.normal(0, 2, (4, 3))
    pelvis = pelvis_in_unreal(betas, trans)[1:]  # the body of image i has number i + 1
    place = 100 * (pelvis - np.array(DISTANCE_M)[:, None] * look_directions()[0])  # centimetres
    content = {
        "cam_pose": np.concatenate([place, np.stack([YAW, PITCH, np.zeros(3)], -1)], 1),
        "focal_length": np.full(3, FOCAL_MM), "smplx_betas": betas, "smplx_poses": poses,
        "smplx_global_ori": turned, "smplx_trans": trans, "subject_id": "rp_aaron_posed_002",
    } | changes  # fmt: skip
    (root / "info" / name).mkdir(parents=True)
    (root / "png" / name).mkdir(parents=True)
    np.savez(root / "info" / name / "camera_smplx.npz", **content)
    for number in numbers:
        image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(image).save(root / "png" / name / f"{name}_{infix}{number:04d}.png")
    return content


def to_unreal(points):
    """SMPL's axes (x left, y up, z front) in Unreal's world: the front is right, the left is forward, up is up."""
    return np.stack([points[..., 0], points[..., 2], points[..., 1]], -1)


def pelvis_in_unreal(betas, trans):
    rest = MODEL.joints[0] + np.tensordot(betas, MODEL.joint_directions[:, 0], 1)
    return to_unreal(rest + trans)


def seen_from(content, image):
    """Vertices in the axes of an image's camera: the plain forward in the world, then Unreal's own directions."""
    body = image + 1
    pose = content["smplx_poses"][body, 3:66].reshape(21, 3)
    vertices, _ = forward(MODEL, content["smplx_betas"], content["smplx_global_ori"][body], pose, 0)
    world = to_unreal(vertices + content["smplx_trans"][body]) - content["cam_pose"][image, :3] / 100
    ahead, right, up = (directions[image] for directions in look_directions())
    return np.stack([world @ right, -world @ up, world @ ahead], -1)


def read(path, source="bedlam_cc", body=BODY, choice=None, **settings):
    return list(read_clips(source, path, choice or Choice(), Reading(body=body, **settings)))


@pytest.mark.parametrize("infix", ["", "FinalImage_"])
def test_cameras_look_where_unreal_says(tmp_path, infix):
    content = bedlam_cc(tmp_path, infix=infix)
    (clip,) = read(tmp_path)
    assert (clip.key, clip.video.shape) == ("seq_000007", (3, *SIZE, 3))
    np.testing.assert_allclose(clip.person.pelvis_m, [[0, 0, d] for d in DISTANCE_M], atol=1e-5)
    np.testing.assert_allclose(clip.tracks[:, 0], [[WIDTH / 2, HEIGHT / 2]] * 3, atol=1e-3)
    np.testing.assert_allclose(clip.person.focal_px, FOCAL_PX, rtol=1e-6)
    for frame in range(3):
        np.testing.assert_allclose(vertices_of(BODY, clip.person, frame), seen_from(content, frame), atol=1e-5)
    joints = clip.tracks[0]
    assert joints[BODY.joint("head"), 1] < joints[0, 1] < joints[BODY.joint("left_ankle"), 1], "upright"


def test_images_may_be_missing_and_windows_are_cut(tmp_path):
    content = bedlam_cc(tmp_path, numbers=(0, 2))
    (clip,) = read(tmp_path)
    assert clip.metadata["frames"] == [0, 2]
    np.testing.assert_allclose(vertices_of(BODY, clip.person, 1), seen_from(content, 2), atol=1e-5)
    first, second = read(tmp_path, choice=Choice(window=1))
    assert (first.key, second.key) == ("seq_000007-00000", "seq_000007-00001")
    np.testing.assert_array_equal(second.person.pelvis_m, clip.person.pelvis_m[1:])


MISTAKES = {
    "another body": ({}, "toy", "the labels are of smplx, and the body file is of toy"),
    "short labels": ({"smplx_trans": np.zeros((3, 3))}, "smplx-t", r"smplx_trans has shape \(3, 3\), expected \(4 or"),
    "no body pose": ({"smplx_poses": np.zeros((4, 63))}, "smplx-t", r"smplx_poses has shape \(4, 63\)"),
    "NaN": ({"focal_length": np.array([24, np.nan, 24])}, "smplx-t", "focal_length is NaN or infinite at image 1"),
    "metres for centimetres": ({"cam_pose": np.zeros((3, 6))}, "smplx-t", "other axes, units or a camera"),
    "many coefficients": ({"smplx_betas": np.ones(11)}, "smplx-t", "labels have 11 shape coefficients"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(tmp_path, mistake):
    changes, name, message = MISTAKES[mistake]
    bedlam_cc(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, body=as_body(MODEL, name))
    assert str(tmp_path) in str(caught.value)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no png/seq_\* in it; give the folder that holds png and info"):
        read(tmp_path)
    (tmp_path / "png" / "seq_000001").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"there is no image, such as seq_000001_0000\.png, in it"):
        read(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "png" / "seq_000001" / "seq_000001_0000.png")
    with pytest.raises(ValueError, match=r"seq_000001/camera_smplx\.npz: not there"):
        read(tmp_path)


def bedlam(folder, *, scene="20221010_3_1000_batch01hand_6fps", turned=False, **changes):
    """Write BEDLAM's training labels and images of three people; returns the npz and the labels as SMPL-X has them."""
    labels, rng = make_labels(), np.random.default_rng(0)
    part = rng.normal(0, 0.3, (3, 3))  # trans_cam and the last column of cam_ext share the translation
    cam_ext = np.tile(np.eye(4), (3, 1, 1))
    cam_ext[:, :3, 3] = labels["transl"] - part
    pose = np.concatenate([labels["global_orient"], labels["body_pose"].reshape(3, -1), rng.normal(size=(3, 99))], 1)
    k = np.array([[70.0, 0, WIDTH / 2], [0, 70.0, HEIGHT / 2], [0, 0, 1]])
    content = {
        "imgname": np.array([f"seq_00000{n}/seq_00000{n}_0005.png" for n in range(3)]),
        "center": np.zeros((3, 2)), "scale": np.ones(3), "pose_cam": pose, "pose_world": pose,
        "shape": labels["betas"], "trans_cam": part, "cam_ext": cam_ext, "cam_int": np.tile(k, (3, 1, 1)),
        "gender": np.array(["neutral"] * 3), "sub": np.array(["rp_aaron_posed_002"] * 3),
    } | changes  # fmt: skip
    folder.mkdir(exist_ok=True)
    np.savez(folder / f"{scene}.npz", **content)
    for name in content["imgname"]:
        path = folder / "png" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(np.rot90(image) if turned else image).save(path)
    return folder / f"{scene}.npz", labels


def test_training_labels_of_bedlam(tmp_path):
    path, labels = bedlam(tmp_path)
    clips = read(path, "bedlam", images=tmp_path / "png")
    for row, clip in enumerate(clips):
        vertices, joints = expected(MODEL, labels, row)
        np.testing.assert_allclose(vertices_of(BODY, clip.person), vertices, atol=2e-6)
        np.testing.assert_allclose(clip.person.pelvis_m[0], joints[0], atol=2e-6)
    assert [clip.metadata["row"] for clip in clips] == [0, 1, 2]
    assert clips[1].key == "20221010_3_1000_batch01hand_6fps-0000001"


def test_images_of_close_ups_are_turned_upright(tmp_path):
    path, _ = bedlam(tmp_path, scene="closeup", turned=True)
    clip = read(path, "bedlam", images=tmp_path / "png")[0]
    stored = np.array(Image.open(tmp_path / "png" / clip.metadata["image_path"]))
    assert stored.shape == (WIDTH, HEIGHT, 3) and clip.video.shape == (1, *SIZE, 3)
    np.testing.assert_array_equal(clip.video[0, 0], stored[::-1, 0], "clockwise: the left column is on top")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cam_ext": np.zeros((3, 3, 3))}, r"cam_ext has shape \(3, 3, 3\), which does not fit 3 rows"),
        ({"pose_cam": np.zeros((3, 63))}, "pose_cam has 63 numbers a row, expected 66 or more"),
        ({"trans_cam": np.full((3, 3), np.nan)}, "row 0: transl is NaN or infinite"),
        ({"cam_int": np.tile([[70.0, 0, 10], [0, 70, 10], [0, 0, 1]], (3, 1, 1))}, "image is 80x60, cam_int is of"),
    ],
)
def test_mistakes_in_training_labels_are_named(tmp_path, changes, message):
    path, _ = bedlam(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        read(path, "bedlam", images=tmp_path / "png")
    assert str(path) in str(caught.value)
