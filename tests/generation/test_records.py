"""A published record becomes a clip folder whose tracks are those of the passes it was made from."""

import cv2
import numpy as np
import pytest

from generation.__main__ import main
from generation.annotate import annotate
from generation.config import TrackConfig
from generation.geometry import box_corners
from generation.records import bounds_of
from generation.stored import read_passes
from shards.sources import read_clip_folders
from shards.tfrecord import encode_example, write_record
from tests.generation.analytic import make_passes

SENSOR_MM, FOCAL_MM = 32.0, 35.2  # the analytic camera's 1.1 frame widths
TURNS = np.tile([np.sqrt(0.5), np.sqrt(0.5), 0, 0], (6, 1))


def png(image):
    return cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def write_movi_record(path, passes, **changes):
    """The analytic scene with MOVi's feature names and encodings."""
    codes = np.rint((passes.depth_m - 2) / 18 * 65535).astype(np.uint16)
    coordinates = np.rint(passes.coordinates * 65535).astype(np.uint16)
    normals = np.rint((passes.normals + 1) / 2 * 65535).astype(np.uint16)
    video = np.random.default_rng(0).integers(0, 255, (6, 48, 48, 3), dtype=np.uint8)
    centre = passes.boxes[0].mean(1)
    edge = passes.boxes[0][:, 4] - passes.boxes[0][:, 0]
    angle = np.arctan2(edge[:, 1], edge[:, 0])
    turns = np.stack([np.cos(angle / 2), 0 * angle, 0 * angle, np.sin(angle / 2)], -1)
    features = {
        "metadata/video_name": [b"17"],
        "metadata/num_frames": np.array([6]),
        "metadata/height": np.array([48]),
        "metadata/width": np.array([48]),
        "metadata/depth_range": np.array([2.0, 20.0]),
        "video": [png(frame) for frame in video],
        "depth": [png(frame) for frame in codes],
        "segmentations": [png(frame) for frame in passes.segmentation],
        "object_coordinates": [png(frame) for frame in coordinates],
        "normal": [png(frame) for frame in normals],
        "camera/focal_length": np.array([FOCAL_MM]),
        "camera/sensor_width": np.array([SENSOR_MM]),
        "camera/positions": passes.camera_positions.ravel(),
        "camera/quaternions": TURNS.ravel(),
        "instances/bboxes_3d": passes.boxes.ravel(),
        "instances/positions": centre.ravel(),
        "instances/quaternions": turns.ravel(),
        "instances/asset_id": [b"cube"],
        "instances/is_dynamic": np.array([1]),
    } | changes
    with path.open("wb") as file:
        write_record(file, encode_example({name: value for name, value in features.items() if value is not None}))
    return video


def test_a_record_is_annotated_like_the_passes_that_it_holds(tmp_path, capsys):
    passes = make_passes()
    video = write_movi_record(tmp_path / "movi_e-train.tfrecord-00000-of-00001", passes)
    words = [str(tmp_path), "--dataset", "movi_e", "--out", str(tmp_path / "clips"), "--done", str(tmp_path / "c.json")]
    assert main(["import", *words]) == 0
    clip = tmp_path / "clips" / "movi_e-000017"
    assert capsys.readouterr().out.strip() == str(clip)
    stored = read_passes(clip)
    settings = TrackConfig(num_tracks=300, sampling_stride=1)
    one, other = (annotate(each, settings, np.random.default_rng(1)) for each in (passes, stored))
    np.testing.assert_allclose(other.tracks, one.tracks, atol=0.02)
    assert (other.visible == one.visible).mean() > 0.995
    words = [str(tmp_path / "c.json"), "--out", str(tmp_path / "tracks"), "--done", str(tmp_path / "t.json")]
    assert main(["annotate", *words, "num_tracks=40", "sampling_stride=1"]) == 0
    (packed,) = read_clip_folders(tmp_path / "t.json")
    np.testing.assert_array_equal(packed.video, video)
    assert packed.tracks.shape == (6, 40, 2)
    before = (clip / "manifest.json").stat().st_mtime_ns
    assert main(["import", str(tmp_path), "--dataset", "movi_e", "--out", str(tmp_path / "clips")]) == 0
    assert (clip / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["instances/bboxes_3d", "object_coordinates", "camera/positions"])
def test_what_a_record_lacks_is_named(tmp_path, capsys, name):
    write_movi_record(tmp_path / "x.tfrecord", make_passes(), **{name: None})
    assert main(["import", str(tmp_path / "x.tfrecord"), "--out", str(tmp_path / "clips")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert f"video 17: lacks '{name.split('/')[-1]}'" in error
    assert not list((tmp_path / "clips").iterdir())


def test_bounds_are_those_of_the_corners():
    rng = np.random.default_rng(0)
    bounds = np.sort(rng.uniform(-2, 2, (5, 2, 3)), axis=1)
    positions, quaternions = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    corners = np.concatenate(
        [box_corners(b, p[None], q[None]) for b, p, q in zip(bounds, positions, quaternions, strict=True)]
    )
    np.testing.assert_allclose(bounds_of(corners, positions, quaternions), bounds, atol=1e-9)
