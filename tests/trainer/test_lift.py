"""3D lifting against scenes whose geometry is known in closed form, and files that do not fit."""

import json
from fractions import Fraction

import cv2
import numpy as np
import pytest
import zarr

from shards import Clip, ClipStore, pack_clips, write_index
from shards.depth import write_depth
from shards.layouts.camera import ray_lengths, world_to_camera_of
from trainer import lift
from trainer.depth_maps import open_depth, read_intrinsics, read_poses
from trainer.geometry import lift_frame, sample_z
from trainer.tracks_file import writing_tracks

HEIGHT, WIDTH, FOCAL, NUM_FRAMES = 48, 64, 60.0, 4
K = np.array([[FOCAL, 0, 32.0], [0, FOCAL, 24.0], [0, 0, 1]])
BALL, RADIUS = np.array([0.3, 0.2, 0.6]), 0.6


def poses():
    """Kubric's cameras: x right, y up, looking along -z; above a floor, going aside."""
    positions = np.array([[0.4 * t, -6.0, 3.0] for t in range(NUM_FRAMES)])
    angle = np.arctan2(6.0, 3.0)  # pitched down to the origin
    quaternion = [np.cos(angle / 2), np.sin(angle / 2), 0.0, 0.0]
    return positions, np.tile(quaternion, (NUM_FRAMES, 1))


def cast(origin, direction):
    """Distance along unit rays (..., 3) to a ball on the floor z = 0, whichever is nearer."""
    floor = np.where(direction[..., 2] < 0, -origin[2] / np.minimum(direction[..., 2], -1e-9), 50.0)
    middle = ((BALL - origin) * direction).sum(-1)
    gap = RADIUS**2 - (((BALL - origin) ** 2).sum() - middle**2)
    ball = np.where(gap > 0, middle - np.sqrt(np.maximum(gap, 0)), np.inf)
    return np.minimum(np.minimum(floor, 50.0), ball)


def make_scene(num_points=300):
    """A clip whose points were cast from random positions of each frame: depth and world_m are exact."""
    positions, quaternions = poses()
    camera = {"focal_px": FOCAL, "positions": positions.tolist(), "quaternions_wxyz": quaternions.tolist()}
    rng = np.random.default_rng(0)
    tracks = rng.uniform((0, 0), (WIDTH, HEIGHT), (NUM_FRAMES, num_points, 2)).astype(np.float32)
    visible = rng.random((NUM_FRAMES, num_points)) < 0.8
    clip = Clip(
        key="scene-0",
        video=np.zeros((NUM_FRAMES, HEIGHT, WIDTH, 3), np.uint8),
        tracks=tracks,
        visible=visible,
        metadata={"camera": camera},
    )
    to_world = np.linalg.inv(world_to_camera_of(clip))
    grid = np.stack(np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5), -1)
    depth, world = [], []
    for t in range(NUM_FRAMES):
        for places, rows in ((grid, depth), (tracks[t].astype(np.float64), world)):
            rays = np.concatenate([places, np.ones((*places.shape[:-1], 1))], -1) @ np.linalg.inv(K).T
            rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True) @ to_world[t, :3, :3].T
            distance = cast(positions[t], rays)
            rows.append(distance if rows is depth else positions[t] + rays * distance[:, None])
    fields = {name: getattr(clip, name) for name in ("key", "video", "tracks", "visible", "metadata")}
    return Clip(**fields, depth_m=np.float32(depth), world_m=np.float32(world))


@pytest.fixture(scope="module")
def scene():
    return make_scene()


@pytest.fixture
def index(scene, tmp_path):
    pack_clips([scene], tmp_path / "shard-000000", "png")
    write_index([tmp_path / "shard-000000.json"], "scene", tmp_path / "index.json")
    return tmp_path / "index.json"


def write_flat(path, clip, start_frame=0):
    query = np.zeros((clip.tracks.shape[1], 3))
    with writing_tracks(path, query, clip.video.shape[1:3], Fraction(25), start_frame) as writer:
        for points, visible in zip(clip.tracks, clip.visible, strict=True):
            writer.append(points, visible, np.zeros(len(points), np.float32))
    return path


def plane_z(normal, offset, height=HEIGHT, width=WIDTH):
    """z (H, W) of the plane normal . X = offset in the camera's axes."""
    x, y = np.meshgrid((np.arange(width) + 0.5 - 32) / FOCAL, (np.arange(height) + 0.5 - 24) / FOCAL)
    return offset / (normal[0] * x + normal[1] * y + normal[2])


def test_a_tilted_plane_is_lifted_exactly():
    normal, offset = np.array([0.3, -0.4, 1.0]), 5.0
    points = np.random.default_rng(0).uniform((1, 1), (WIDTH - 1, HEIGHT - 1), (200, 2))
    found, at_edge = lift_frame(points, plane_z(normal, offset), "z", K, (HEIGHT, WIDTH))
    assert not at_edge.any()
    np.testing.assert_allclose(found @ normal, offset, rtol=1e-12)
    np.testing.assert_allclose(found[:, :2] / found[:, 2:] * FOCAL + (32, 24), points)
    distance = plane_z(normal, offset) * ray_lengths(HEIGHT, WIDTH, K)
    np.testing.assert_allclose(lift_frame(points, distance, "distance", K, (HEIGHT, WIDTH))[0], found)


def test_depth_of_another_resolution_is_scaled():
    normal, offset = np.array([0.3, -0.4, 1.0]), 5.0
    points = np.random.default_rng(0).uniform((2, 2), (WIDTH - 2, HEIGHT - 2), (50, 2))
    coarse = plane_z(normal, offset).reshape(HEIGHT, WIDTH)
    x, y = np.meshgrid((2 * np.arange(32) + 1 - 32) / FOCAL, (2 * np.arange(24) + 1 - 24) / FOCAL)
    coarse = offset / (normal[0] * x + normal[1] * y + normal[2])  # half the size
    for kind, depth in (("z", coarse), ("distance", coarse * np.sqrt(1 + x**2 + y**2))):
        found, _ = lift_frame(points, depth, kind, K, (HEIGHT, WIDTH))
        np.testing.assert_allclose(found @ normal, offset, rtol=1e-12)


def test_at_an_edge_the_nearest_pixel_counts():
    depth = np.full((4, 6), 2.0)
    depth[:, 3:] = 10.0
    z, at_edge = sample_z(depth, np.array([[2.9, 2.0], [3.1, 2.0], [1.5, 1.5], [5.0, 2.0]]))
    assert z.tolist() == [2.0, 10.0, 2.0, 10.0] and at_edge.tolist() == [True, True, False, False]


def test_missing_depth_and_places_outside_are_not_lifted():
    depth = np.full((4, 6), 2.0)
    depth[1, 1] = np.nan
    places = np.array([[1.5, 1.5], [2.1, 1.5], [-0.1, 2.0], [6.0, 4.0], [6.1, 2.0], [np.nan, 1.0], [0.0, 0.0]])
    z, at_edge = sample_z(depth, places)
    np.testing.assert_array_equal(z, [np.nan, 2.0, np.nan, 2.0, np.nan, np.nan, 2.0])
    assert at_edge.tolist() == [True, True, False, False, False, False, False]


def test_a_clip_agrees_with_its_own_points(scene, index, tmp_path, capsys):
    out, ply = tmp_path / "tracks3d.npz", tmp_path / "points.ply"
    assert lift.main(["--clip", str(index), "scene-0", "--out", str(out), "--ply", str(ply)]) == 0
    assert "against the clip's own points: median 0.000" in capsys.readouterr().out
    with np.load(out) as found:
        assert str(found["format"]) == "frameline-tracks3d/1"
        valid, at_edge, world_m = found["valid"], found["at_edge"], found["world_m"]
    assert np.array_equal(valid, scene.visible.T)
    error_m = np.linalg.norm(world_m - scene.world_m.transpose(1, 0, 2), axis=-1)
    assert np.isnan(error_m[~valid]).all() and 0.01 < at_edge[valid].mean() < 0.3
    # The floor is a plane; on the ball the interpolation cuts its curve, at most 3 cm at 7 m and 60 px.
    assert np.percentile(error_m[valid & ~at_edge], 95) < 0.03 and np.median(error_m[valid]) < 0.002
    lines = ply.read_text().splitlines()
    assert f"element vertex {valid.sum()}" in lines and len(lines) == valid.sum() + 10


def test_files_give_what_the_clip_gives(scene, index, tmp_path):
    """The same scene as tracks.npz, 16-bit PNGs or zarr, K and poses in each notation."""
    lifted, _ = lift.lift_clip(index, "scene-0", None)
    tracks = write_flat(tmp_path / "tracks.npz", scene)
    z_m = np.stack([scene.depth_m[t] / ray_lengths(HEIGHT, WIDTH, K) for t in range(NUM_FRAMES)])
    (tmp_path / "png").mkdir()
    for t, frame in enumerate(z_m):
        cv2.imwrite(str(tmp_path / "png" / f"{t:03d}.png"), np.rint(frame / 0.001).astype(np.uint16))
    array = zarr.create_array(str(tmp_path / "plain.zarr"), shape=z_m.shape, dtype="float32")
    array[:] = z_m
    write_depth(tmp_path / "ours.zarr", "scene-0", scene.depth_m)
    world_to_camera = world_to_camera_of(scene)
    (tmp_path / "a.json").write_text(json.dumps({"world_to_camera": world_to_camera.tolist()}))
    opengl = np.linalg.inv(np.diag([1.0, -1, -1, 1]) @ world_to_camera)
    (tmp_path / "b.json").write_text(json.dumps({"camera_to_world": opengl.tolist(), "axes": "opengl"}))
    (tmp_path / "k.json").write_text(json.dumps({"fx": FOCAL, "fy": FOCAL, "cx": 32, "cy": 24}))
    (tmp_path / "matrix.json").write_text(json.dumps({"intrinsics": K.tolist()}))
    out = tmp_path / "out.npz"
    for depth, intrinsics, pose in (
        (["png", "--depth-scale", "0.001"], f"{FOCAL},{FOCAL},32,24", "a.json"),
        (["plain.zarr"], str(tmp_path / "k.json"), "b.json"),
        (["ours.zarr/scene-0"], str(tmp_path / "matrix.json"), "a.json"),
    ):
        given = ["--depth", str(tmp_path / depth[0]), *depth[1:], "--intrinsics", intrinsics]
        command = ["--tracks", str(tracks), *given, "--poses", str(tmp_path / pose), "--out", str(out)]
        assert lift.main(command) == 0
        with np.load(out) as found:
            steady = lifted.valid & found["valid"] & (lifted.at_edge == found["at_edge"])
            assert steady.sum() > 0.99 * lifted.valid.sum()
            np.testing.assert_allclose(found["world_m"][steady], lifted.world_m[steady], atol=5e-3)
    assert lift.main([*command[:6], "--out", str(out)]) == 0  # without poses
    with np.load(out) as found:
        assert "world_m" not in found


def test_tracks_of_a_later_part_take_the_later_depth(scene, index, tmp_path):
    whole, _ = lift.lift_clip(index, "scene-0", None)
    names = ("key", "video", "tracks", "visible")
    later = Clip(**{name: getattr(scene, name)[1:3] if name != "key" else "part" for name in names})
    tracks = write_flat(tmp_path / "part.npz", later, start_frame=1)
    part, comparison = lift.lift_clip(index, "scene-0", tracks)
    np.testing.assert_array_equal(part.world_m, whole.world_m[:, 1:3])
    assert comparison == ""


def test_codes_of_a_range(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.array([[0, 65535]], np.uint16))
    assert open_depth(tmp_path, range_m=(1.0, 3.0)).frame(0).tolist() == [[1.0, 3.0]]
    np.testing.assert_array_equal(open_depth(tmp_path, scale_m=0.001).frame(0), [[np.nan, 65.535]])


def test_a_clip_without_depth_or_camera_is_named(dataset, capsys):
    index = dataset(num_clips=1)
    key = ClipStore(index).keys[0]
    assert lift.main(["--clip", str(index), key, "--out", "x.npz"]) == 2
    assert f"clip {key} has no depth or no camera" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3", "no intrinsics"),
        ("a,b,c,d", "expected numbers"),
        ("0,1,2,3", "focal lengths must be positive"),
        ("nan,1,2,3", "NaN"),
    ],
)
def test_bad_intrinsics_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        read_intrinsics(text, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a readable JSON"),
        ("[]", "expected one of"),
        (json.dumps({"world_to_camera": [[1, 2], [3]]}), "as many in each row"),
        (json.dumps({"world_to_camera": np.eye(4).tolist()}), r"expected \(T, 4, 4\)"),
        (json.dumps({"world_to_camera": [(2 * np.eye(4)).tolist()]}), "no rotation"),
        (json.dumps({"world_to_camera": [np.diag([1.0, 1, -1, 1]).tolist()]}), "no rotation"),
        (json.dumps({"world_to_camera": [np.eye(4).tolist()], "axes": "blender"}), "use opencv or opengl"),
    ],
)
def test_bad_poses_are_named(tmp_path, content, message):
    (tmp_path / "poses.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_poses(tmp_path / "poses.json")


def test_bad_depth_is_named(tmp_path, scene):
    with pytest.raises(ValueError, match="no folder"):
        open_depth(tmp_path / "none")
    with pytest.raises(ValueError, match="neither a zarr array nor"):
        open_depth(tmp_path)
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="--depth-scale METRES or --depth-range"):
        open_depth(tmp_path)
    with pytest.raises(ValueError, match="expected one channel of 16 bits"):
        open_depth(tmp_path, scale_m=0.001).frame(0)
    write_depth(tmp_path / "ours.zarr", "scene-0", scene.depth_m)
    with pytest.raises(ValueError, match="says itself that it is the distance"):
        open_depth(tmp_path / "ours.zarr" / "scene-0", kind="z")
    zarr.create_array(str(tmp_path / "codes.zarr"), shape=(2, 3, 4), dtype="uint16")
    with pytest.raises(ValueError, match="say how many metres one is"):
        open_depth(tmp_path / "codes.zarr")
    zarr.create_group(str(tmp_path / "group.zarr")).create_array("clip-0", shape=(2, 3, 4), dtype="float32")
    with pytest.raises(ValueError, match=r"holds several arrays; give one of them: .*clip-0"):
        open_depth(tmp_path / "group.zarr")


def test_depth_that_is_too_short_is_named(scene, tmp_path, capsys):
    tracks = write_flat(tmp_path / "tracks.npz", scene)
    zarr.create_array(str(tmp_path / "d.zarr"), shape=(2, HEIGHT, WIDTH), dtype="float32")
    given = ["--tracks", str(tracks), "--depth", str(tmp_path / "d.zarr"), "--intrinsics", "60,60,32,24"]
    assert lift.main([*given, "--out", str(tmp_path / "x.npz")]) == 2
    assert "has 2 frames; the tracks have 4" in capsys.readouterr().err and not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("arguments", [["--out", "x"], ["--clip", "i", "k", "--depth", "d", "--out", "x"]])
def test_options_that_do_not_belong_together_are_refused(arguments):
    with pytest.raises(SystemExit):
        lift.parse_arguments(arguments)
