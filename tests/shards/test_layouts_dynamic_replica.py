"""Dynamic Replica: files as torch and gzip write them, PyTorch3D's cameras, strange lists."""

import gzip
import json

import numpy as np
import pytest
import torch
from PIL import Image

from shards.layouts.choice import Choice
from shards.layouts.dynamic_replica import read_dynamic_replica, write_dynamic_replica
from tests.shards.layout_clips import camera_clip

T, H, W, N = 3, 10, 14, 5
VIEW = {
    "R": [[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]],
    "T": [0.5, -0.25, 2],
    "focal_length": [3.0, 3.5],
    "principal_point": [0.1, -0.2],
    "intrinsics_format": "ndc_isotropic",
}


def write_split(root, *, change=lambda rows: rows, points=N, listed_in=None):
    """One sequence of two cameras; only the left one has trajectories."""
    rng = np.random.default_rng(1)
    split = root / "train"
    rows, z, tracks, visible = [], [], [], []
    for camera in ("right", "left"):
        folder = split / f"abc-3_obj_source_{camera}"
        for kind in ("images", "depths", "trajectories"):
            (folder / kind).mkdir(parents=True)
        for t in reversed(range(T)):
            name = folder.name
            row = {
                "sequence_name": "abc-3_obj", "frame_number": t, "frame_timestamp": t / 30, "camera_name": camera,
                "image": {"path": f"{name}/images/{t:04d}.png", "size": [H, W]},
                "depth": {"path": f"{name}/depths/{t:04d}.geometric.png"},
                "viewpoint": VIEW,
            }  # fmt: skip
            image = rng.integers(0, 256, (H, W, 3), np.uint8)
            Image.fromarray(image).save(split / row["image"]["path"])
            depth = rng.uniform(1, 9, (H, W)).astype(np.float16)
            Image.fromarray(depth.view(np.uint16)).save(split / row["depth"]["path"])
            if camera == "left":
                row["trajectories"] = {"path": f"{name}/trajectories/{t:06d}.pth"}
                content = {
                    "traj_2d": torch.tensor(rng.uniform(-1, 12, (points, 3)), dtype=torch.float32),
                    "traj_3d_world": torch.zeros(points, 3),
                    "verts_inds_vis": torch.tensor(rng.random(points) < 0.8),
                    "img": torch.tensor(image),
                    "instances": torch.zeros(points),
                }
                torch.save(content, split / row["trajectories"]["path"])
                z.insert(0, depth)
                tracks.insert(0, content["traj_2d"].numpy()[:, :2])
                visible.insert(0, content["verts_inds_vis"].numpy())
            rows.append(row)
    index = (listed_in or split) / "frame_annotations_train.jgz"
    index.write_bytes(gzip.compress(json.dumps(change(rows)).encode()))
    return index, np.stack(z), np.stack(tracks), np.stack(visible)


def test_the_left_camera_becomes_a_clip(tmp_path):
    index, z, tracks, visible = write_split(tmp_path)
    for source in (index, index.parent):
        (clip,) = read_dynamic_replica(source)
        assert clip.key == "abc-3_obj"
        np.testing.assert_array_equal(clip.tracks, tracks)
        inside = ((tracks >= 0) & (tracks <= (W, H))).all(-1)
        assert (visible & ~inside).any()
        np.testing.assert_array_equal(clip.visible, visible & inside)
        focal, centre = np.array([3, 3.5]) * 5, np.array([7 - 0.1 * 5, 5 + 0.2 * 5])
        point = np.array([(4.5 - centre[0]) / focal[0], (8.5 - centre[1]) / focal[1], 1])
        assert clip.depth_m[1, 8, 4] == pytest.approx(z[1, 8, 4] * np.linalg.norm(point), rel=1e-5)


def test_paths_may_start_from_the_split_beside_the_list(tmp_path):
    index, *_ = write_split(tmp_path, listed_in=tmp_path)
    assert [clip.key for clip in read_dynamic_replica(index)] == ["abc-3_obj"]


def test_cameras_are_those_of_pytorch3d(tmp_path):
    index, *_ = write_split(tmp_path)
    (clip,) = read_dynamic_replica(index)
    world = np.array([0.3, -0.7, 4.0])
    x, y, z = world @ np.array(VIEW["R"]) + VIEW["T"]  # left, up, forward
    ndc = np.array([3 * x / z + 0.1, 3.5 * y / z - 0.2])
    expected = np.array([W, H]) / 2 - ndc * min(W, H) / 2
    camera = clip.metadata["camera"]
    here = np.array(camera["world_to_camera"][0]) @ [*world, 1]
    found = np.array(camera["intrinsics"][0]) @ here[:3] / here[2]
    np.testing.assert_allclose(found[:2], expected)


def test_written_files_are_read_by_torch_and_cameras_come_back(tmp_path):
    clip = camera_clip("seq")
    write_dynamic_replica([clip], tmp_path / "valid")
    (row, *_) = json.loads(gzip.decompress((tmp_path / "valid" / "frame_annotations_valid.jgz").read_bytes()))
    content = torch.load(tmp_path / "valid" / row["trajectories"]["path"], weights_only=True)
    np.testing.assert_array_equal(content["traj_2d"][:, :2], clip.tracks[0])
    np.testing.assert_array_equal(content["verts_inds_vis"], clip.visible[0])
    np.testing.assert_array_equal(content["img"], clip.video[0])
    assert row["image"]["size"] == [22, 30] and row["camera_name"] == "left"
    (read,) = read_dynamic_replica(tmp_path / "valid")
    write_dynamic_replica([read], tmp_path / "again")
    (again,) = read_dynamic_replica(tmp_path / "again")
    for name in ("intrinsics", "world_to_camera"):
        np.testing.assert_allclose(again.metadata["camera"][name], read.metadata["camera"][name], atol=1e-12)
    np.testing.assert_allclose(read.metadata["camera"]["intrinsics"][0], [[40, 0, 15], [0, 40, 11], [0, 0, 1]])


def first_left(rows, **changes):
    return [row | changes if row["camera_name"] == "left" and row["frame_number"] == 0 else row for row in rows]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], r"frames \[1, 2\]\.\.\. are not 0, 1, 2"),
        (lambda rows: [row for row in rows if row["frame_number"] != 1], r"frames \[0, 2\]\.\.\. are not 0, 1, 2"),
        (lambda rows: [row for row in rows if row["camera_name"] == "right"], "lists no frame of the left camera"),
        (lambda rows: first_left(rows, trajectories=None), "a frame has no trajectories"),
        (lambda rows: first_left(rows, image={"path": "../../secret.png"}), "leads out of the data set"),
        (lambda rows: first_left(rows, image={"path": "/etc/hosts"}), "leads out of the data set"),
        (lambda rows: first_left(rows, depth={"path": "gone.png"}), r"gone\.png: not there"),
        (lambda rows: first_left(rows, viewpoint=None), "has depth and no viewpoint; use --no-depth"),
        (lambda rows: first_left(rows, viewpoint=VIEW | {"intrinsics_format": "px"}), "intrinsics of format 'px'"),
        (lambda rows: first_left(rows, viewpoint={"R": 1}), r"not as expected \(lacks 'intrinsics_format'\)"),
        (lambda rows: {"a": 1}, "not as expected"),
    ],
)
def test_strange_lists_are_named(tmp_path, change, message):
    index, *_ = write_split(tmp_path, change=change)
    with pytest.raises(ValueError, match=message):
        list(read_dynamic_replica(index))


def test_damaged_files_are_named(tmp_path):
    index, *_ = write_split(tmp_path)
    left = tmp_path / "train" / "abc-3_obj_source_left"
    Image.fromarray(np.zeros((H, W), np.uint16)).save(left / "depths" / "0001.geometric.png")
    with pytest.raises(ValueError, match=r"0001\.geometric\.png: 140 pixels have no depth; use --no-depth"):
        list(read_dynamic_replica(index))
    assert len(list(read_dynamic_replica(index, Choice(with_depth=False)))) == 1
    more = {"traj_2d": torch.zeros(N + 1, 3), "verts_inds_vis": torch.zeros(N + 1)}
    torch.save(more, left / "trajectories" / "000002.pth")
    with pytest.raises(ValueError, match=r"000002\.pth: has 6 tracks, the first frame has 5"):
        list(read_dynamic_replica(index))
    torch.save({"traj_2d": torch.zeros(N, 3)}, left / "trajectories" / "000002.pth")
    with pytest.raises(ValueError, match=r"000002\.pth: not as expected \(lacks 'verts_inds_vis'\)"):
        list(read_dynamic_replica(index))
    index.write_bytes(index.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"frame_annotations_train\.jgz: not whole gzipped JSON"):
        list(read_dynamic_replica(index))
    index.rename(index.with_name("other.jgz"))
    with pytest.raises(ValueError, match=r"expected one frame_annotations_<split>\.jgz in it, found none"):
        list(read_dynamic_replica(index.parent))


def test_a_sequence_without_points_is_refused(tmp_path):
    index, *_ = write_split(tmp_path, points=0)
    with pytest.raises(ValueError, match=r"\.pth: traj_2d \(0, 3\)"):
        list(read_dynamic_replica(index))


def test_a_track_that_is_not_finite_is_dropped_where_it_is_not(tmp_path):
    index, _, tracks, _ = write_split(tmp_path)
    path = tmp_path / "train" / "abc-3_obj_source_left" / "trajectories" / "000002.pth"
    content = torch.load(path)
    content["traj_2d"][3, 0] = float("nan")
    torch.save(content, path)
    first, second = read_dynamic_replica(index, Choice(window=2))
    assert (first.tracks.shape[1], second.tracks.shape[1]) == (N, N - 1)
    np.testing.assert_array_equal(second.tracks[0], tracks[2, [0, 1, 2, 4]])
