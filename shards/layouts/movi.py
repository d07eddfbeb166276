"""Kubric's MOVi-A..F as TFDS writes them: TFRecords of tf.train.Example, read and written without TensorFlow.

Names and shapes are those of the builders challenges/movi/movi_[a-f].py in google-research/kubric; nested names are
joined by '/', a sequence of fixed-size tensors is one flat list, and a sequence in a sequence is ragged_flat_values
with ragged_row_lengths_0 (tensorflow_datasets/core/example_serializer.py). Legend: T frames, H W pixels, K instances.

MOVi has no point tracks. Ours are the additional features `tracks` (T, N, 2) and `visible` (T, N), both frame by frame,
and `metadata/frameline`, a JSON text.
"""

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from shards.clip import Clip
from shards.depth import metres, quantise
from shards.files import appearing
from shards.layouts.files import clean_name, naming
from shards.members import decode_codes, decode_rgb, encode_png, stack_frames
from shards.tfrecord import Feature, decode_example, encode_example, read_records, write_record

TRACKS, VISIBLE, OURS = "tracks", "visible", "metadata/frameline"
NO_TRACKS = "MOVi has no point tracks; python -m generation import, annotate and shards pack make them from its passes"
TEXTS = {"metadata/video_name", "background", "instances/asset_id", OURS}
"""The texts; `instances/asset_id` is a list of them. Other lists of bytes that are no images come as bytes."""
IMAGES = ("video", "depth", "segmentations", "normal", "object_coordinates", "uv")
FLOWS = ("forward_flow", "backward_flow")
PER_FRAME = {
    "positions": (3,),
    "quaternions": (4,),
    "velocities": (3,),
    "angular_velocities": (3,),
    "bboxes_3d": (8, 3),
    "image_positions": (2,),
    "visibility": (),
}
"""Shape behind the frames: (T, ...) of the camera, (K, T, ...) of the instances."""
PER_ROW = {"position": (3,), "image_position": (2,), "contact_normal": (3,), "color": (3,)}
RAGGED = {"instances/bboxes": (4,), "instances/bbox_frames": ()}
FLAT, LENGTHS = "/ragged_flat_values", "/ragged_row_lengths_0"
CLIP_FEATURES = {"video", "depth", TRACKS, VISIBLE, "background"}


def read_movi_records(path: Path, wanted: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
    """Every record of a MOVi file, or of a folder's *.tfrecord*, as nested dictionaries of arrays.

    video (T, H, W, 3) uint8; depth (T, H, W) uint16 codes over metadata.depth_range, distance to the camera's centre;
    segmentations (T, H, W) uint8, 0 is the background and instance k has k + 1; normal and object_coordinates
    (T, H, W, 3) uint16; forward_flow and backward_flow (T, H, W, 2) uint16 as (row, column) over
    metadata.forward_flow_range and backward_flow_range; camera: focal_length and sensor_width (mm), positions (T, 3),
    quaternions (T, 4) as w, x, y, z; instances: bboxes_3d (K, T, 8, 3), positions (K, T, 3), quaternions (K, T, 4),
    asset_id (list of K), is_dynamic (K,), bboxes (list of K arrays), ...; events.collisions: instances (M, 2), ...

    `wanted` names top-level features to decode (default: all); metadata and camera always come. A feature unknown here
    stays flat. Raises ValueError that names file, record and feature.

    Assumption (no published record was at hand, the builders' code was): a record follows its builder, so normals and
    object coordinates are 16-bit RGB PNGs, and flows are integers, row by row.
    """
    for file, number, content in _records(path):
        with naming(file, f"record {number}"):
            record = _decode_record(content, wanted)
        yield record


def _records(path: Path) -> Iterator[tuple[Path, int, bytes]]:
    files = sorted(p for p in path.glob("*.tfrecord*") if p.is_file()) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path}: there is no *.tfrecord* in it; give the folder of one configuration and version")
    for file in files:
        for number, content in enumerate(read_records(file)):
            yield file, number, content


def _decode_record(content: bytes, wanted: Collection[str] | None) -> dict[str, Any]:
    def is_wanted(name: str) -> bool:
        top = name.split("/")[0]
        return wanted is None or top in wanted or top in ("metadata", "camera")

    flat = decode_example(content, is_wanted)
    num_frames, height, width = (_scalar(flat, f"metadata/{name}") for name in ("num_frames", "height", "width"))
    if min(num_frames, height, width) < 1:
        raise ValueError(f"metadata says {num_frames} frames of {width}x{height}")
    record: dict[str, Any] = {}
    for name, value in flat.items():
        if name.endswith(LENGTHS):
            continue
        shape_of = _shaper(name, (num_frames, height, width))
        try:
            shaped = shape_of(value, flat)
        except ValueError as error:
            raise ValueError(f"feature {name!r}: {error}") from None
        *parents, last = name.removesuffix(FLAT).split("/")
        place = record
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f"feature {name!r}: {parent!r} is a feature too")
        place[last] = shaped
    return record


def _scalar(flat: dict[str, Feature], name: str) -> int:
    value = flat.get(name)
    if not isinstance(value, np.ndarray) or value.shape != (1,):
        raise ValueError(f"has no feature {name!r}: not a MOVi record")
    return int(value[0])


def _shaper(name: str, size: tuple[int, int, int]) -> Callable[[Feature, dict[str, Feature]], Any]:
    """How a feature of that name takes its shape."""
    num_frames = size[0]
    top, last = name.split("/")[0], name.split("/")[-1]
    if name in IMAGES:
        return lambda value, flat: _decode_images(name, value, size)
    if name in FLOWS:
        return lambda value, flat: _reshape(value, (*size, 2), np.uint16)
    if name in TEXTS:
        return lambda value, flat: _texts(value, is_list=name == "instances/asset_id")
    if name.endswith(FLAT):
        tail = RAGGED.get(name.removesuffix(FLAT), ())
        return lambda value, flat: _split(_reshape(value, (-1, *tail)), flat.get(name.removesuffix(FLAT) + LENGTHS))
    if name == TRACKS:
        return lambda value, flat: _reshape(value, (num_frames, -1, 2), np.float32)
    if name == VISIBLE:
        return lambda value, flat: _reshape(value, (num_frames, -1), bool)
    if top == "camera" and last in PER_FRAME:
        return lambda value, flat: _reshape(value, (num_frames, *PER_FRAME[last]))
    if top == "instances" and last in PER_FRAME:
        return lambda value, flat: _reshape(value, (-1, num_frames, *PER_FRAME[last]))
    if name == "events/collisions/instances":
        return lambda value, flat: _reshape(value, (-1, 2))
    if last in PER_ROW and top in ("events", "instances"):
        return lambda value, flat: _reshape(value, (-1, *PER_ROW[last]))
    if name == "instances/is_dynamic":
        return lambda value, flat: _reshape(value, (-1,), bool)
    if top in ("metadata", "camera"):
        return lambda value, flat: value[0].item() if isinstance(value, np.ndarray) and len(value) == 1 else value
    return lambda value, flat: value


def _reshape(value: Feature, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
    if not isinstance(value, np.ndarray) and len(value):
        raise ValueError("holds bytes, expected numbers")
    array = np.asarray(value) if dtype is None else np.asarray(value).astype(dtype)
    known = math.prod(length for length in shape if length >= 0)
    if array.size % known or (-1 not in shape and array.size != known):
        raise ValueError(f"has {array.size} numbers, which do not make {shape}")
    return array.reshape([array.size // known if length < 0 else length for length in shape])


def _split(rows: np.ndarray, lengths: Feature | None) -> list[np.ndarray]:
    if not isinstance(lengths, np.ndarray) or (lengths < 0).any() or lengths.sum() != len(rows):
        raise ValueError(f"its row lengths do not add up to its {len(rows)} rows")
    return np.split(rows, np.cumsum(lengths)[:-1]) if len(lengths) else []


def _texts(value: Feature, *, is_list: bool) -> Any:
    if not isinstance(value, list) or (len(value) != 1 and not is_list):
        raise ValueError("expected text")
    texts = [item.decode() for item in value]
    return texts if is_list else texts[0]


def _decode_images(name: str, value: Feature, size: tuple[int, int, int]) -> np.ndarray:
    if not isinstance(value, list):
        raise ValueError("holds numbers, expected images")
    decode = {"video": decode_rgb, "depth": decode_codes}.get(name, _decode_any)
    images = stack_frames([decode(item) for item in value])
    if images.shape[:3] != size:
        raise ValueError(f"has shape {images.shape}, metadata says {size}")
    return images


def _decode_any(content: bytes) -> np.ndarray:
    """A PNG with its own depth: (H, W) or (H, W, 3) in RGB order, uint8 or uint16, which Pillow would cut to 8 bits."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
    if image is None:
        raise ValueError("an image cannot be decoded")
    return np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image


def read_movi(path: Path) -> Iterator[Clip]:
    """Kubric's MOVi-A..F: one *.tfrecord* file or a folder of them; they have no tracks unless we wrote them.

    A record without tracks becomes a clip with N = 0 tracks, and metadata["tracks"] says how to get some.
    """
    for record in read_movi_records(path, CLIP_FEATURES):
        with naming(path, f"video {record['metadata'].get('video_name')!r}"):
            clip = _make_clip(record)
        yield clip


def _make_clip(record: dict[str, Any]) -> Clip:
    described, camera, video = record["metadata"], record.get("camera", {}), record["video"]
    metadata = json.loads(described["frameline"]) if "frameline" in described else {"source": "movi_tfrecord"}
    if "camera" not in metadata and {"positions", "quaternions", "focal_length", "sensor_width"} <= camera.keys():
        height, width = video.shape[1:3]
        metadata["camera"] = {
            "focal_length_mm": camera["focal_length"],
            "sensor_width_mm": camera["sensor_width"],
            "focal_px": camera["focal_length"] / camera["sensor_width"] * width,
            "principal_point": [width / 2, height / 2],
            "positions": camera["positions"].tolist(),
            "quaternions_wxyz": camera["quaternions"].tolist(),
        }
    if isinstance(record.get("background"), str):
        metadata.setdefault("background", record["background"])
    tracks, visible = record.get(TRACKS), record.get(VISIBLE)
    if tracks is None or visible is None:
        tracks, visible = np.zeros((len(video), 0, 2), np.float32), np.zeros((len(video), 0), bool)
        metadata["tracks"] = NO_TRACKS
    return Clip(
        key=clean_name(described["video_name"]),
        video=video,
        tracks=tracks,
        visible=visible,
        depth_m=metres(record["depth"], *map(float, described["depth_range"])) if "depth" in record else None,
        metadata=metadata,
    )


def write_movi(clips: Iterable[Clip], out: Path) -> int:
    """Write one TFRecord file with what a clip has of MOVi's features, and ours; returns the number of clips.

    A clip has no segmentations, flows, normals and object coordinates: TFDS's own reader, which wants every feature of
    its builder, needs a description of fewer features to read the file.
    """
    number = 0
    with appearing(out) as temporary, temporary.open("wb") as file:
        for clip in clips:
            write_record(file, encode_example(_features(clip)))
            number += 1
    return number


def _features(clip: Clip) -> dict[str, Feature]:
    num_frames, height, width = clip.video.shape[:3]
    features: dict[str, Feature] = {
        "metadata/video_name": [clip.key.encode()],
        "metadata/width": np.array([width]),
        "metadata/height": np.array([height]),
        "metadata/num_frames": np.array([num_frames]),
        OURS: [json.dumps(clip.metadata, sort_keys=True).encode()],
        "video": [encode_png(frame) for frame in clip.video],
        TRACKS: clip.tracks,
        VISIBLE: clip.visible,
    }
    if clip.depth_m is not None:
        codes, low, high = quantise(clip.depth_m)
        features["depth"] = [encode_png(frame) for frame in codes]
        features["metadata/depth_range"] = np.array([low, high])
    return features | _camera_features(clip) | _instance_features(clip)


def _camera_features(clip: Clip) -> dict[str, Feature]:
    camera = clip.metadata.get("camera")
    if not isinstance(camera, dict) or not {"focal_length_mm", "sensor_width_mm", "positions"} <= camera.keys():
        return {}
    focal, sensor = float(camera["focal_length_mm"]), float(camera["sensor_width_mm"])
    return {
        "camera/focal_length": np.array([focal]),
        "camera/sensor_width": np.array([sensor]),
        "camera/field_of_view": np.array([2 * math.atan2(sensor / 2, focal)]),
        "camera/positions": np.array(camera["positions"], np.float32),
        "camera/quaternions": np.array(camera["quaternions_wxyz"], np.float32),
    }


INSTANCE_FEATURES = {
    "mass": "mass",
    "friction": "friction",
    "restitution": "restitution",
    "scale": "scale",
    "positions": "positions",
    "quaternions": "quaternions_wxyz",
    "velocities": "velocities",
    "angular_velocities": "angular_velocities",
    "visibility": "visible_pixels",
    "is_dynamic": "is_dynamic",
}
"""MOVi's name and ours."""


def _instance_features(clip: Clip) -> dict[str, Feature]:
    instances = clip.metadata.get("instances")
    if not isinstance(instances, list) or not all(isinstance(instance, dict) for instance in instances):
        return {}
    features: dict[str, Feature] = {"metadata/num_instances": np.array([len(instances)])}
    for name, ours in INSTANCE_FEATURES.items():
        if instances and all(ours in instance for instance in instances):
            values = np.array([instance[ours] for instance in instances])
            if name not in PER_FRAME or values.shape == (len(instances), len(clip.video), *PER_FRAME[name]):
                is_integer = name in ("visibility", "is_dynamic")
                features[f"instances/{name}"] = values.astype(np.int64 if is_integer else np.float32)
    if instances and all("asset_id" in instance for instance in instances):
        features["instances/asset_id"] = [str(instance["asset_id"]).encode() for instance in instances]
    return features
