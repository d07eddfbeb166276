"""MOVi records, made here feature by feature as TFDS flattens them, and strange ones."""

import struct
import zlib

import numpy as np
import pytest

from shards.layouts.movi import read_movi, read_movi_records, write_movi
from shards.tfrecord import encode_example, write_record
from tests.shards.layout_clips import camera_clip

T, H, W, K = 3, 6, 8, 2


def png(image):
    """A PNG by the book, with no image library: 8 or 16 bits, grey or RGB."""
    channels = 1 if image.ndim == 2 else 3
    bits, kind = 8 * image.itemsize, {1: 0, 3: 2}[channels]
    rows = image.astype(image.dtype.newbyteorder(">")).reshape(len(image), -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], bits, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    packed = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + packed


def movi():
    """Arrays of a record, by TFDS's name."""
    rng = np.random.default_rng(7)
    pictures = {
        "video": rng.integers(0, 256, (T, H, W, 3), np.uint8),
        "depth": rng.integers(0, 65536, (T, H, W), np.uint16),
        "segmentations": rng.integers(0, 3, (T, H, W), np.uint8),
        "normal": rng.integers(0, 65536, (T, H, W, 3), np.uint16),
        "object_coordinates": rng.integers(0, 65536, (T, H, W, 3), np.uint16),
    }
    flows = {f"{way}_flow": rng.integers(0, 65536, (T, H, W, 2), np.uint16) for way in ("forward", "backward")}
    numbers = {
        "camera/positions": rng.normal(size=(T, 3)),
        "camera/quaternions": rng.normal(size=(T, 4)),
        "instances/positions": rng.normal(size=(K, T, 3)),
        "instances/quaternions": rng.normal(size=(K, T, 4)),
        "instances/bboxes_3d": rng.normal(size=(K, T, 8, 3)),
        "instances/mass": rng.normal(size=K),
        "events/collisions/position": rng.normal(size=(5, 3)),
    }
    return pictures, flows, {name: value.astype(np.float32) for name, value in numbers.items()}


def record(**changes):
    pictures, flows, numbers = movi()
    features = {name: [png(image) for image in images] for name, images in pictures.items()} | flows | numbers
    features |= {
        "metadata/video_name": [b"2437"],
        "metadata/width": np.array([W]),
        "metadata/height": np.array([H]),
        "metadata/num_frames": np.array([T]),
        "metadata/num_instances": np.array([K]),
        "metadata/depth_range": np.array([2.5, 9.5], np.float32),
        "metadata/forward_flow_range": np.array([-3, 4], np.float32),
        "background": [b"studio"],
        "camera/focal_length": np.array([35.0]),
        "camera/sensor_width": np.array([32.0]),
        "instances/asset_id": [b"Shoe", b"Mug"],
        "instances/is_dynamic": np.array([0, 1]),
        "instances/visibility": np.arange(K * T),
        "instances/bboxes/ragged_flat_values": np.arange(12, dtype=np.float32),
        "instances/bboxes/ragged_row_lengths_0": np.array([3, 0]),
        "instances/bbox_frames/ragged_flat_values": np.array([0, 1, 2]),
        "instances/bbox_frames/ragged_row_lengths_0": np.array([3, 0]),
        "events/collisions/instances": np.array([0, 1] * 5),
    }
    features |= {name.replace("__", "/"): value for name, value in changes.items()}
    return encode_example({name: value for name, value in features.items() if value is not None})


def save(path, *contents):
    with path.open("wb") as file:
        for content in contents:
            write_record(file, content)
    return path


def test_all_passes_come_as_arrays(tmp_path):
    (read,) = read_movi_records(save(tmp_path / "x.tfrecord-00000-of-00001", record()))
    pictures, flows, numbers = movi()
    for name, expected in (pictures | flows).items():
        assert read[name].dtype == expected.dtype
        np.testing.assert_array_equal(read[name], expected)
    for name, expected in numbers.items():
        value = read
        for part in name.split("/"):
            value = value[part]
        np.testing.assert_array_equal(value, expected)
    assert read["metadata"]["depth_range"].tolist() == [2.5, 9.5] and read["metadata"]["video_name"] == "2437"
    assert read["camera"]["focal_length"] == 35 and read["background"] == "studio"
    instances = read["instances"]
    assert instances["asset_id"] == ["Shoe", "Mug"] and instances["is_dynamic"].tolist() == [False, True]
    assert instances["visibility"].shape == (K, T) and read["events"]["collisions"]["instances"].shape == (5, 2)
    assert [boxes.shape for boxes in instances["bboxes"]] == [(3, 4), (0, 4)]
    assert [frames.tolist() for frames in instances["bbox_frames"]] == [[0, 1, 2], []]


def test_only_wanted_features_are_decoded(tmp_path):
    path = save(tmp_path / "x.tfrecord", record(normal=[b"damaged"] * T))
    (read,) = read_movi_records(path, {"video"})
    assert set(read) == {"video", "metadata", "camera"}
    with pytest.raises(ValueError, match=r"x\.tfrecord: record 0: feature 'normal': an image cannot be decoded"):
        list(read_movi_records(path))


def test_a_record_becomes_a_clip_without_tracks(tmp_path):
    save(tmp_path / "movi_f-train.tfrecord-00000-of-00002", record())
    save(tmp_path / "movi_f-train.tfrecord-00001-of-00002", record(metadata__video_name=[b"9.1"]))
    (tmp_path / "features.json").write_text("{}")
    clip, other = read_movi(tmp_path)
    assert (clip.key, other.key) == ("2437", "9-1")
    assert clip.tracks.shape == (T, 0, 2) and "python -m generation import" in clip.metadata["tracks"]
    depth = movi()[0]["depth"]
    np.testing.assert_allclose(clip.depth_m, 2.5 + depth * (7 / 65535), rtol=1e-6)
    assert clip.metadata["camera"]["focal_px"] == pytest.approx(35 / 32 * W)


def test_a_clip_keeps_everything_of_ours(tmp_path):
    clip = camera_clip()
    write_movi([clip], tmp_path / "x.tfrecord")
    (read,) = read_movi(tmp_path / "x.tfrecord")
    assert read.metadata == clip.metadata
    np.testing.assert_array_equal(read.tracks, clip.tracks)
    (record,) = read_movi_records(tmp_path / "x.tfrecord")
    camera = clip.metadata["camera"]
    np.testing.assert_allclose(record["camera"]["positions"], camera["positions"], atol=1e-6)
    assert record["camera"]["field_of_view"] == pytest.approx(2 * np.arctan(30 / 2 / 40), abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata__num_frames": None}, "has no feature 'metadata/num_frames': not a MOVi record"),
        ({"metadata__num_frames": np.array([T + 1])}, "feature '.*': has"),
        ({"metadata__width": np.array([0])}, "metadata says 3 frames of 0x6"),
        ({"metadata__num_frames": np.array([1 << 62])}, "feature"),
        ({"video": [b"x"]}, r"feature 'video': cannot be decoded \(neither PNG, JPEG nor WebP\)"),
        ({"video": [png(np.zeros((H, W, 3), np.uint8))]}, r"feature 'video': has shape \(1, 6, 8, 3\), metadata says"),
        ({"video": np.arange(4)}, "feature 'video': holds numbers"),
        ({"depth": [png(np.zeros((H, W), np.uint8))] * T}, "feature 'depth': is a 2-d image of uint8"),
        ({"forward_flow": np.arange(7)}, "feature 'forward_flow': has 7 numbers"),
        ({"forward_flow": [b"x"]}, "feature 'forward_flow': holds bytes"),
        ({"instances__positions": np.zeros(5, np.float32)}, "feature 'instances/positions': has 5 numbers"),
        ({"instances__bboxes__ragged_row_lengths_0": None}, "row lengths do not add up"),
        ({"instances__bboxes__ragged_row_lengths_0": np.array([4, -1])}, "row lengths do not add up"),
        ({"metadata__video_name": [b"\xff"]}, "feature 'metadata/video_name'"),
        ({"video__x": np.arange(3)}, "'video' is a feature too"),
    ],
)
def test_strange_records_are_named(tmp_path, changes, message):
    path = save(tmp_path / "x.tfrecord", record(), record(**changes))
    with pytest.raises(ValueError, match=rf"x\.tfrecord: record 1: .*{message}"):
        list(read_movi_records(path))


@pytest.mark.parametrize(("missing", "message"), [("video", "lacks 'video'"), ("metadata__depth_range", "lacks")])
def test_a_record_that_makes_no_clip_is_named(tmp_path, missing, message):
    path = save(tmp_path / "x.tfrecord", record(**{missing: None}))
    with pytest.raises(ValueError, match=rf"x\.tfrecord: video '2437': not as expected \({message}"):
        list(read_movi(path))


def test_a_folder_without_records(tmp_path):
    with pytest.raises(ValueError, match=r"there is no \*\.tfrecord\* in it"):
        list(read_movi(tmp_path))
