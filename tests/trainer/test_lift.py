"""Lifting finds the points of scenes whose geometry is known, and says what it cannot know."""

import json
from fractions import Fraction

import numpy as np
import pytest
import zarr

from shards import Clip, pack_clips, write_index
from shards.codecs import encode_png
from shards.depth import write_depth
from shards.layouts.camera import world_to_camera_of
from trainer.lift import lift_tracks, main
from trainer.lifting.camera import Camera, read_intrinsics, read_poses
from trainer.lifting.depth_maps import DepthMaps
from trainer.lifting.sampling import choose_surface, sample_z
from trainer.lifting.tracks3d_file import read_tracks3d
from trainer.tracks_file import writing_tracks

HEIGHT, WIDTH, NUM_FRAMES, FOCAL = 48, 64, 5, 70.0
INTRINSICS = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1.0]])


def look(position, angle):
    """World to camera (4, 4) of a camera at `position`, turned by `angle` about the vertical and a little down."""
    turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
    nod = np.array([[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]])
    pose = np.eye(4)
    pose[:3, :3] = nod @ turn
    pose[:3, 3] = -pose[:3, :3] @ position
    return pose


POSES = np.stack([look([0.1 * t, -0.05 * t, 0.2 * t], 0.03 * t) for t in range(NUM_FRAMES)])
NORMAL, OFFSET = np.array([0.2, -0.3, 1.0]), 6.0  # the plane normal . X = offset in the world


def see_plane(pose, pixels):
    """z (...) and points (..., 3) in the world where rays through raster pixels (..., 2) meet the plane."""
    rays = np.concatenate([(pixels - INTRINSICS[:2, 2]) / FOCAL, np.ones((*pixels.shape[:-1], 1))], -1) @ pose[:3, :3]
    centre = -pose[:3, 3] @ pose[:3, :3]
    z = (OFFSET - centre @ NORMAL) / (rays @ NORMAL)
    return z, centre + rays * z[..., None]


def pixel_centres(height=HEIGHT, width=WIDTH):
    return np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)  # (H, W, 2)


@pytest.fixture(scope="module")
def scene():
    """A plane seen by a moving camera: z (T, H, W), tracks (N, T, 2) of points of the plane, and these (N, 3)."""
    z = np.stack([see_plane(pose, pixel_centres())[0] for pose in POSES])
    start = np.random.default_rng(0).uniform([20, 10], [40, 38], (20, 2))
    world = see_plane(POSES[0], start)[1]
    local = np.einsum("tij,nj->nti", POSES[:, :3, :3], world) + POSES[:, :3, 3]
    tracks = local[..., :2] / local[..., 2:] * FOCAL + INTRINSICS[:2, 2]
    assert (tracks > 0.5).all() and (tracks < [WIDTH - 0.5, HEIGHT - 0.5]).all()
    return z, tracks, world


def maps(depth_m, kind="z"):
    return DepthMaps(name="depth", num_frames=len(depth_m), kind=kind, read=depth_m.__getitem__)


def all_visible(tracks):
    return np.ones(tracks.shape[:2], bool)


def write_tracks(path, tracks, visible=None, start_frame=0):
    visible = all_visible(tracks) if visible is None else visible
    query = np.concatenate([np.zeros((len(tracks), 1)), tracks[:, 0, [1, 0]]], 1)
    with writing_tracks(path, query, (HEIGHT, WIDTH), Fraction(24), start_frame) as writer:
        for t in range(tracks.shape[1]):
            writer.append(tracks[:, t], visible[:, t], np.zeros(len(tracks)))
    return path


def test_points_of_a_plane_are_exact_in_the_world_and_in_camera_axes(scene):
    z, tracks, world = scene
    camera = Camera(intrinsics=INTRINSICS[None], world_to_camera=POSES)
    lifted = lift_tracks(tracks, all_visible(tracks), (HEIGHT, WIDTH), maps(z), camera)
    assert lifted.axes == "world" and lifted.lifted.all() and not lifted.at_edge.any()
    assert np.abs(lifted.points_m - world[:, None]).max() < 1e-5

    local = lift_tracks(tracks, all_visible(tracks), (HEIGHT, WIDTH), maps(z), Camera(intrinsics=INTRINSICS[None]))
    expected = np.einsum("tij,nj->nti", POSES[:, :3, :3], world) + POSES[:, :3, 3]
    assert local.axes == "camera" and np.abs(local.points_m - expected).max() < 1e-5


def test_camera_axes_are_right_down_forward():
    camera = Camera(intrinsics=INTRINSICS[None])
    flat = maps(np.full((1, HEIGHT, WIDTH), 2.0))
    points = np.array([[[WIDTH / 2 + 7, HEIGHT / 2]], [[WIDTH / 2, HEIGHT / 2 + 7]]])
    lifted = lift_tracks(points, all_visible(points), (HEIGHT, WIDTH), flat, camera)
    assert np.allclose(lifted.points_m[:, 0], [[0.2, 0, 2], [0, 0.2, 2]])


def test_distance_to_the_centre_and_maps_of_another_size(scene):
    z, tracks, world = scene
    camera = Camera(intrinsics=np.repeat(INTRINSICS[None], NUM_FRAMES, 0), world_to_camera=POSES)
    rays = np.linalg.norm((pixel_centres() - INTRINSICS[:2, 2]) / FOCAL, axis=-1)
    distance = z * np.sqrt(1 + rays**2)
    lifted = lift_tracks(tracks, all_visible(tracks), (HEIGHT, WIDTH), maps(distance, "distance"), camera)
    assert np.abs(lifted.points_m - world[:, None]).max() < 1e-5

    centres = pixel_centres(HEIGHT // 2, WIDTH // 2) * 2  # in pixels of the video
    half_rays = np.linalg.norm((centres - INTRINSICS[:2, 2]) / FOCAL, axis=-1)
    half = np.stack([see_plane(pose, centres)[0] for pose in POSES]) * np.sqrt(1 + half_rays**2)
    lifted = lift_tracks(tracks, all_visible(tracks), (HEIGHT, WIDTH), maps(half, "distance"), camera)
    assert np.abs(lifted.points_m - world[:, None]).max() < 1e-5
    with pytest.raises(ValueError, match="not the same picture"):
        lift_tracks(tracks, all_visible(tracks), (HEIGHT, WIDTH), maps(z.swapaxes(1, 2)), camera)


def test_an_edge_is_never_a_mixture_and_a_missing_pixel_is_nothing():
    z = np.full((4, 6), 2.0)
    z[:, 3:] = 5.0
    points = np.array([[2.9, 2.0], [3.1, 2.0], [1.5, 2.0], [2.50001, 1.5], [5.9, 0.1]])
    found = sample_z(z, points)
    assert found.z_m.tolist() == [2, 5, 2, 2, 5]
    assert found.at_edge.tolist() == [True, True, False, False, False]  # (2.50001, 1.5) is a rounded pixel's centre
    assert sample_z(z, points, edge_ratio=3.0).z_m[0] == pytest.approx(1 / (0.6 / 2 + 0.4 / 5))
    for hole in (0.0, -1.0, np.nan, np.inf):
        z[1:3, 2] = hole
        found = sample_z(z, np.array([[2.6, 2.0], [2.1, 2.0], [1.9, 2.0]]))
        assert np.isnan(found.z_m[:2]).all() and found.z_m[2] == 2
        assert found.at_edge.tolist() == [False, False, True]
    outside = np.array([[-0.01, 1], [6.01, 1], [1, 4.01], [np.nan, 1]])
    assert np.isnan(sample_z(z, outside).z_m).all()


FAR_POSES = POSES + np.array(
    [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 3], [0, 0, 0, 0]]
)  # the world's z is not the camera's


@pytest.mark.parametrize("poses", [None, FAR_POSES], ids=["camera", "world"])
def test_at_an_edge_the_surface_is_that_of_the_points_other_frames(poses):
    # In frame 2 the nearest pixel is on the nearer surface; the point is on the farther one, as frames 1 and 3 say.
    camera = Camera(intrinsics=INTRINSICS[None], world_to_camera=poses)
    z = np.full((NUM_FRAMES, HEIGHT, WIDTH), 5.0)
    z[2, :, :30] = 2.0
    tracks = np.full((2, NUM_FRAMES, 2), [29.9, 20.0])
    visible = all_visible(tracks)
    visible[1, [0, 1, 3, 4]] = False  # nothing is known of the second point: the nearest pixel counts
    lifted = lift_tracks(tracks, visible, (HEIGHT, WIDTH), maps(z), camera)
    assert lifted.at_edge.tolist() == [[False, False, True, False, False]] * 2
    local = lifted.points_m[:, 2].astype(float)
    if poses is not None:
        local = local @ poses[2, :3, :3].T + poses[2, :3, 3]
    assert np.allclose(local[:, 2], [5, 2], atol=1e-5)


def test_surfaces_that_are_missing_are_not_chosen():
    around = np.array([[np.nan, 2.0, 5.0, 2.0]] * 3).T
    found = choose_surface(around, np.array([4.8, -1.0, np.nan]), np.array([2.0, 3.0, 4.0]))
    assert found.tolist() == [5, 3, 4]


def test_hidden_points_are_not_lifted_and_no_points_are_fine(scene, tmp_path):
    z, tracks, _ = scene
    visible = all_visible(tracks)
    visible[3, 1:] = False
    camera = Camera(intrinsics=INTRINSICS[None], world_to_camera=POSES)
    lifted = lift_tracks(tracks, visible, (HEIGHT, WIDTH), maps(z), camera)
    assert (lifted.lifted == visible).all() and np.isnan(lifted.points_m[3, 1:]).all()
    none = lift_tracks(tracks[:0], visible[:0], (HEIGHT, WIDTH), maps(z), camera)
    assert none.points_m.shape == (0, NUM_FRAMES, 3)


@pytest.fixture
def files(scene, tmp_path):
    """The scene as files: tracks.npz, depth as an npy of floats, poses.json."""
    z, tracks, _ = scene
    write_tracks(tmp_path / "tracks.npz", tracks)
    np.save(tmp_path / "depth.npy", z)
    (tmp_path / "poses.json").write_text(json.dumps({"world_to_camera": POSES.tolist()}))
    return tmp_path


def run(folder, *options, tracks="tracks.npz", depth="depth.npy", intrinsics="70,70,32,24", out="out.npz"):
    given = ["--tracks", folder / tracks, "--depth", folder / depth, "--intrinsics", intrinsics, "--out", folder / out]
    return main([str(value) for value in (*given, *options)])


def test_the_command_reads_every_kind_of_depth_and_camera(scene, files, capsys):
    z, _, world = scene
    (files / "K.json").write_text(json.dumps({"intrinsics": INTRINSICS.tolist()}))
    (files / "named.json").write_text(json.dumps({"fx": FOCAL, "fy": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2}))
    back = {"camera_to_world": np.linalg.inv(POSES).tolist()}
    (files / "back.json").write_text(json.dumps(back))
    (files / "png").mkdir()
    for t, codes in enumerate(np.rint(z * 5000).astype(np.uint16)):
        (files / "png" / f"{t:03d}.png").write_bytes(encode_png(codes))
    rays = np.linalg.norm((pixel_centres() - INTRINSICS[:2, 2]) / FOCAL, axis=-1)
    write_depth(files / "own.zarr", "clip-0", (z * np.sqrt(1 + rays**2)).astype(np.float32))
    zarr.create_array(str(files / "plain.zarr"), data=np.rint(z * 1000).astype(np.uint16))
    cases = (
        ("depth.npy", ["--depth-kind", "z", "--poses", files / "poses.json"], "70,70,32,24", 1e-5),
        ("png", ["--depth-kind", "z", "--depth-scale", 0.0002, "--poses", files / "back.json"], "K.json", 2e-4),
        ("plain.zarr", ["--depth-kind", "z", "--depth-scale", 0.001, "--poses", files / "poses.json"], "K.json", 1e-3),
        ("own.zarr/clip-0", ["--poses", files / "back.json"], "named.json", 2e-4),
    )
    for depth, options, intrinsics, tolerance in cases:
        intrinsics = files / intrinsics if intrinsics.endswith("json") else intrinsics
        assert run(files, *options, depth=depth, intrinsics=intrinsics) == 0, capsys.readouterr().err
        found = read_tracks3d(files / "out.npz")
        assert found.axes == "world" and np.abs(found.points_m - world[:, None]).max() < tolerance, depth
    assert "lifted 100 of 100 visible positions, 0 at depth edges" in capsys.readouterr().out


def test_tracks_that_begin_later_take_the_depth_and_poses_of_their_frames(scene, files, capsys):
    _, tracks, world = scene
    write_tracks(files / "late.npz", tracks[:, 2:], start_frame=2)
    options = ["--depth-kind", "z", "--poses", files / "poses.json"]
    assert run(files, *options, tracks="late.npz") == 0
    found = read_tracks3d(files / "out.npz")
    assert found.start_frame == 2 and np.abs(found.points_m - world[:, None]).max() < 1e-5
    write_tracks(files / "too-late.npz", tracks, start_frame=1)
    assert run(files, *options, tracks="too-late.npz") == 2
    assert "depth of 5 frames, and the tracks need 6" in capsys.readouterr().err


def test_the_ply_holds_the_positions_and_the_paths(scene, files):
    _, tracks, world = scene
    visible = all_visible(tracks)
    visible[0, 2] = False
    write_tracks(files / "tracks.npz", tracks, visible)
    assert run(files, "--depth-kind", "z", "--poses", files / "poses.json", "--ply", files / "out.ply") == 0
    header, body = (files / "out.ply").read_bytes().split(b"end_header\n")
    num_vertices, num_edges = 20 * NUM_FRAMES - 1, 20 * (NUM_FRAMES - 1) - 2
    assert f"element vertex {num_vertices}\n".encode() in header and f"element edge {num_edges}\n".encode() in header
    vertices = np.frombuffer(body, [("position", "<f4", 3), ("colour", "u1", 3)], num_vertices)
    edges = np.frombuffer(body, "<i4", offset=num_vertices * 15).reshape(-1, 2)
    assert len(edges) == num_edges and (edges[:, 1] - edges[:, 0] == 1).all()
    assert np.abs(vertices["position"][:4] - world[0]).max() < 1e-5
    assert (vertices["colour"][edges[:, 0]] == vertices["colour"][edges[:, 1]]).all()


@pytest.fixture(scope="module")
def clip(scene):
    """The plane as a clip of ours: quaternions and Kubric's axes (looking along -z, y up)."""
    z, tracks, world = scene
    rays = np.linalg.norm((pixel_centres() - INTRINSICS[:2, 2]) / FOCAL, axis=-1)
    rotations = (np.diag([1.0, -1.0, -1.0]) @ POSES[:, :3, :3]).transpose(0, 2, 1)  # camera to world
    camera = {
        "focal_px": FOCAL,
        "principal_point": [WIDTH / 2, HEIGHT / 2],
        "positions": [(-pose[:3, :3].T @ pose[:3, 3]).tolist() for pose in POSES],
        "quaternions_wxyz": [quaternion_of(rotation) for rotation in rotations],
    }
    made = Clip(
        key="plane-0",
        video=np.zeros((NUM_FRAMES, HEIGHT, WIDTH, 3), np.uint8),
        tracks=tracks.swapaxes(0, 1).astype(np.float32),
        visible=all_visible(tracks).T.copy(),
        depth_m=(z * np.sqrt(1 + rays**2)).astype(np.float32),
        world_m=np.repeat(world[None], NUM_FRAMES, 0).astype(np.float32),
        metadata={"camera": camera},
    )
    assert np.allclose(world_to_camera_of(made), POSES)
    return made


def quaternion_of(rotation):
    """(w, x, y, z), by the eigenvector that a rotation about its axis leaves (Bar-Itzhack's matrix)."""
    r = rotation
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], 0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
        ]
    )
    x, y, z, w = np.linalg.eigh(k / 3)[1][:, -1]
    return [w, x, y, z]


def test_a_packed_clip_brings_its_depth_and_camera(clip, scene, tmp_path, capsys):
    _, tracks, world = scene
    pack_clips([clip], tmp_path / "shard-000000")
    index, out = tmp_path / "index.json", tmp_path / "out.npz"
    write_index([tmp_path / "shard-000000.json"], "plane", index)
    assert main(["--clip", str(index), "plane-0", "--out", str(out)]) == 0, capsys.readouterr().err
    found = read_tracks3d(out)
    assert found.axes == "world" and found.lifted.all() and np.abs(found.points_m - world[:, None]).max() < 2e-4

    given = write_tracks(tmp_path / "tracks.npz", tracks[:5])
    assert main(["--clip", str(index), "plane-0", "--tracks", str(given), "--out", str(out)]) == 0
    assert np.abs(read_tracks3d(out).points_m - world[:5, None]).max() < 2e-4
    assert main(["--clip", str(index), "plane-7", "--out", str(out)]) == 2
    assert "no clip 'plane-7'" in capsys.readouterr().err


def test_mistakes_are_one_line_and_leave_nothing(files, capsys):
    (files / "few.json").write_text(json.dumps({"world_to_camera": POSES[:3].tolist()}))
    (files / "mirrored.json").write_text(json.dumps({"world_to_camera": (POSES * [[1], [1], [-1], [1]]).tolist()}))
    (files / "both.json").write_text(json.dumps({"world_to_camera": [], "camera_to_world": []}))
    (files / "list.json").write_text("[1, 2]")
    (files / "broken.json").write_text("{")
    np.save(files / "flat.npy", np.zeros((3, 4)))
    np.save(files / "codes.npy", np.ones((NUM_FRAMES, HEIGHT, WIDTH), np.uint16))
    np.save(files / "pickle.npy", np.array([{}], object), allow_pickle=True)
    (files / "store.zarr").mkdir()
    zarr.create_group(str(files / "store.zarr"))
    write_depth(files / "store.zarr", "clip-0", np.ones((2, 4, 4), np.float32))
    (files / "video.npz").write_bytes(b"not a zip")
    kind = ["--depth-kind", "z"]
    cases = (
        ([], {}, "give --depth-kind z"),
        (kind, {"depth": "codes.npy"}, "give --depth-scale"),
        ([*kind, "--depth-scale", 0], {}, "--depth-scale 0.0"),
        (kind, {"depth": "flat.npy"}, "expected numbers (T, H, W)"),
        (kind, {"depth": "pickle.npy"}, "pickle.npy"),
        (kind, {"depth": "nowhere.npy"}, "nowhere.npy"),
        (kind, {"depth": "nowhere"}, "not depth; give"),
        (kind, {"depth": "store.zarr"}, "such as"),
        (kind, {"depth": "store.zarr/clip-0"}, "leave out --depth-scale and z"),
        ([], {"depth": "store.zarr/clip-0"}, "depth of 2 frames, and the tracks need 5"),
        ([*kind, "--poses", files / "few.json"], {}, "poses of 3 frames"),
        ([*kind, "--poses", files / "mirrored.json"], {}, "the pose of frame 0 is not a rotation"),
        ([*kind, "--poses", files / "both.json"], {}, "expected either"),
        ([*kind, "--poses", files / "list.json"], {}, "holds a list"),
        ([*kind, "--poses", files / "broken.json"], {}, "not readable JSON"),
        ([*kind, "--poses", files / "nowhere.json"], {}, "not there"),
        (kind, {"intrinsics": "70,70,32"}, "not intrinsics"),
        (kind, {"intrinsics": "0,70,32,24"}, "fx, fy > 0"),
        (kind, {"intrinsics": "nan,70,32,24"}, "fx, fy > 0"),
        (kind, {"intrinsics": str(files / "both.json")}, "lacks fx, fy, cx, cy"),
        (kind, {"tracks": "video.npz"}, "not a readable tracks.npz"),
        ([*kind, "--edge-ratio", 0.9], {}, "--edge-ratio"),
        ([*kind, "--clip", "index.json", "a"], {}, "leave out --depth"),
        (kind, {"out": "out.mp4"}, "must end in .npz"),
        (kind, {"out": "tracks.npz"}, "choose another name"),
    )
    for options, changed, message in cases:
        assert run(files, *options, **changed) == 2, message
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and message in error, (message, error)
        assert not (files / "out.npz").exists()


def test_damaged_depth_is_an_error_and_not_a_number(scene, files, capsys):
    z, _, _ = scene
    write_depth(files / "own.zarr", "gone", z.astype(np.float32))
    (files / "own.zarr" / "gone" / "c" / "0" / "0" / "0").unlink()
    zarr.create_array(str(files / "plain.zarr"), data=z, chunks=z.shape)
    chunk = files / "plain.zarr" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:100])
    (files / "png").mkdir()
    for t in range(NUM_FRAMES):
        (files / "png" / f"{t:03d}.png").write_bytes(encode_png(np.ones((HEIGHT, WIDTH), np.uint8)))
    for depth, options, message in (
        ("own.zarr/gone", [], "chunk file is missing"),
        ("plain.zarr", ["--depth-kind", "z"], "depth of frame 0 cannot be read"),
        ("png", ["--depth-kind", "z", "--depth-scale", 0.1], "expected 16-bit grey"),
    ):
        assert run(files, *options, depth=depth) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1 and not (files / "out.npz").exists()


def test_cameras_that_stand_still_and_change_their_lens(scene, tmp_path):
    z, tracks, _ = scene
    (tmp_path / "fixed.json").write_text(json.dumps({"camera_to_world": np.linalg.inv(POSES[1]).tolist()}))
    assert np.allclose(read_poses(tmp_path / "fixed.json"), POSES[1:2])
    zoom = np.repeat(INTRINSICS[None], NUM_FRAMES, 0) * np.linspace(1, 2, NUM_FRAMES)[:, None, None]
    zoom[:, 2, 2] = 1
    (tmp_path / "K.json").write_text(json.dumps({"intrinsics": zoom.tolist()}))
    camera = Camera(intrinsics=read_intrinsics(str(tmp_path / "K.json")), world_to_camera=POSES[1:2])
    lifted = lift_tracks(tracks, all_visible(tracks), (HEIGHT, WIDTH), maps(z), camera)
    local = lifted.points_m @ POSES[1, :3, :3].T + POSES[1, :3, 3]
    seen = np.einsum("tij,ntj->nti", zoom, local / local[..., 2:])[..., :2]
    assert np.abs(seen - tracks).max() < 1e-3


def test_another_file_is_no_tracks3d(files, tmp_path):
    with pytest.raises(ValueError, match="frameline-tracks3d/1"):
        read_tracks3d(files / "tracks.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="lift again"):
        read_tracks3d(tmp_path / "bad.npz")
