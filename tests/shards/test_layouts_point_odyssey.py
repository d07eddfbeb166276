"""PointOdyssey: z to distance against a loop, windows that drop tracks, strange folders."""

import numpy as np
import pytest
from PIL import Image

from shards.layouts.choice import Choice
from shards.layouts.point_odyssey import read_point_odyssey, write_point_odyssey
from tests.shards.layout_clips import camera_clip

T, H, W, N = 6, 10, 14, 5


def write_sequence(root, **changes):
    """A sequence as released: float16 cameras, JPEGs, codes of z."""
    rng = np.random.default_rng(3)
    folder = root / "ani"
    (folder / "rgbs").mkdir(parents=True)
    (folder / "depths").mkdir()
    codes = rng.integers(1, 3000, (T, H, W)).astype(np.uint16)
    for t in range(T):
        Image.new("RGB", (W, H), (10 * t, 90, 30)).save(folder / "rgbs" / f"rgb_{t:05d}.jpg")
        Image.fromarray(codes[t]).save(folder / "depths" / f"depth_{t:05d}.png")
    arrays = {
        "trajs_2d": rng.uniform(0, 9, (T, N, 2)).astype(np.float16),
        "trajs_3d": rng.normal(size=(T, N, 3)).astype(np.float16),
        "visibs": rng.random((T, N)) < 0.5,
        "valids": np.ones((T, N), bool),
        "intrinsics": np.repeat(np.array([[[20, 0, 6.5], [0, 22, 5.5], [0, 0, 1]]], np.float16), T, 0),
        "extrinsics": np.repeat(np.eye(4, dtype=np.float16)[None], T, 0),
    }
    arrays |= changes
    np.savez(folder / "anno.npz", **{name: array for name, array in arrays.items() if array is not None})
    return arrays, codes


def test_z_becomes_distance(tmp_path):
    arrays, codes = write_sequence(tmp_path)
    (clip,) = read_point_odyssey(tmp_path)
    assert clip.key == "ani" and clip.metadata["num_dropped_tracks"] == 0
    np.testing.assert_array_equal(clip.tracks, arrays["trajs_2d"].astype(np.float32))
    np.testing.assert_array_equal(clip.visible, arrays["visibs"])
    for t, row, column in ((0, 0, 0), (2, 9, 13), (5, 4, 7)):
        z = codes[t, row, column] / 65535 * 1000
        point = z * np.array([(column + 0.5 - 6.5) / 20, (row + 0.5 - 5.5) / 22, 1])
        assert clip.depth_m[t, row, column] == pytest.approx(np.linalg.norm(point), rel=1e-6)
    np.testing.assert_allclose(clip.video[3].mean((0, 1)), (30, 90, 30), atol=3)


def test_a_window_keeps_the_tracks_that_are_whole_in_it(tmp_path):
    points = np.random.default_rng(0).uniform(0, 9, (T, N, 2)).astype(np.float32)
    points[1, 0] = np.nan
    points[4, 1, 1] = np.inf
    valids = np.ones((T, N), bool)
    valids[5, 2] = False
    write_sequence(tmp_path, trajs_2d=points, valids=valids)
    clips = list(read_point_odyssey(tmp_path, Choice(window=2)))
    assert [clip.tracks.shape[1] for clip in clips] == [4, 5, 3]
    assert [clip.metadata["num_dropped_tracks"] for clip in clips] == [1, 0, 2]
    np.testing.assert_array_equal(clips[0].tracks, points[:2, 1:])
    np.testing.assert_array_equal(clips[2].tracks, points[4:, [0, 3, 4]])
    (whole,) = read_point_odyssey(tmp_path)
    assert whole.tracks.shape[1] == 2


def test_one_sequence_may_be_given_itself(tmp_path):
    write_sequence(tmp_path)
    (clip,) = read_point_odyssey(tmp_path / "ani", Choice(with_depth=False))
    assert clip.key == "ani" and clip.depth_m is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valids": None}, r"anno\.npz: .*lacks valids; it holds trajs_2d"),
        ({"visibs": np.zeros((T, N + 1), bool)}, r"anno\.npz: visibs has shape \(6, 6\)"),
        ({"trajs_2d": np.zeros((T, N))}, r"anno\.npz: trajs_2d has shape \(6, 5\)"),
        ({"intrinsics": np.zeros((T, 3, 3))}, r"ani: intrinsics .* are not those of a camera"),
        ({"trajs_2d": np.array([{}], object)}, r"anno\.npz: cannot be read \(Object arrays cannot be loaded"),
        (
            {
                "trajs_2d": np.zeros((T, 0, 2)),
                "trajs_3d": None,
                "visibs": np.zeros((T, 0), bool),
                "valids": np.zeros((T, 0), bool),
            },
            r"anno\.npz: has 0 tracks",
        ),
    ],
)
def test_strange_annotations_are_named(tmp_path, changes, message):
    write_sequence(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        list(read_point_odyssey(tmp_path))


def test_missing_and_damaged_files_are_named(tmp_path):
    write_sequence(tmp_path)
    frame, depth = tmp_path / "ani" / "rgbs" / "rgb_00002.jpg", tmp_path / "ani" / "depths" / "depth_00001.png"
    Image.fromarray(np.zeros((H, W), np.uint16)).save(depth)
    with pytest.raises(ValueError, match=r"depth_00001\.png: 140 pixels have no depth \(code 0\); use --no-depth"):
        list(read_point_odyssey(tmp_path))
    depth.write_bytes(depth.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"depth_00001\.png: cannot be decoded"):
        list(read_point_odyssey(tmp_path))
    content = frame.read_bytes()
    frame.unlink()
    with pytest.raises(ValueError, match=r"rgbs: frame 2 is missing: rgb_00001\.jpg is followed by rgb_00003\.jpg"):
        list(read_point_odyssey(tmp_path))
    frame.write_bytes(content)
    (tmp_path / "ani" / "rgbs" / "rgb_00005.jpg").unlink()
    with pytest.raises(ValueError, match=r"rgbs: 5 frames, and anno\.npz has 6"):
        list(read_point_odyssey(tmp_path))
    annotation = tmp_path / "ani" / "anno.npz"
    annotation.write_bytes(annotation.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"anno\.npz: cannot be read"):
        list(read_point_odyssey(tmp_path))
    with pytest.raises(ValueError, match=r"no <sequence>/anno\.npz in it"):
        list(read_point_odyssey(tmp_path / "ani" / "rgbs"))


def test_depth_that_does_not_fit_the_codes_is_refused(tmp_path):
    clip = camera_clip()
    clip.depth_m[0, 0, 0] = 5000
    with pytest.raises(ValueError, match=r"does not fit codes of 0\.015 to 1000 m; use --no-depth"):
        write_point_odyssey([clip], tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_written_camera_projects_as_ours(tmp_path):
    clip = camera_clip()
    write_point_odyssey([clip], tmp_path)
    with np.load(tmp_path / clip.key / "anno.npz") as arrays:
        k, transform = arrays["intrinsics"][2], arrays["extrinsics"][2]
    camera = clip.metadata["camera"]
    w, x, y, z = camera["quaternions_wxyz"][2]
    kubric = np.array([0.4, -0.3, -5.0])  # before a camera that looks along -z, y up
    vector = np.array([x, y, z])
    world = kubric + 2 * np.cross(vector, np.cross(vector, kubric) + w * kubric) + camera["positions"][2]
    here = transform @ [*world, 1]
    u, v, _ = k @ here[:3] / here[2]
    assert here[2] == pytest.approx(5)
    assert (u, v) == pytest.approx((15 + 40 * 0.4 / 5, 11 + 40 * 0.3 / 5))
