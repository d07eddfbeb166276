"""Annotations of a data set of videos with boxes (TAO, BFT, OVT-B: json with videos, images, annotations)."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.objects.boxes import from_xywh
from trainer.objects.detections import check_box, frame_index_of, load_json, whole_number


@dataclass(frozen=True, kw_only=True)
class AnnotatedImage:
    """One image of a video; `size` is (height, width), or None where the file does not say."""

    id: int
    frame_index: int
    file_name: str
    size: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class AnnotatedVideo:
    """One video: its images in the order of their frame index."""

    id: int
    name: str
    images: tuple[AnnotatedImage, ...]


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Boxes of one image: (D, 4) left, top, right, bottom in pixels; track_ids (D,); labels (D,) category ids."""

    boxes: np.ndarray
    track_ids: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """Videos, the true boxes by image id (only images that have some), and what merged category ids stand for."""

    path: Path
    videos: tuple[AnnotatedVideo, ...]
    truth: dict[int, Boxes]
    merged_into: dict[int, int]

    @property
    def image_ids(self) -> set[int]:
        """Ids of all images."""
        return {image.id for video in self.videos for image in video.images}


def read_annotations(path: Path) -> Annotations:
    """Read the annotations of a data set; without `annotations` (a test split) there is no truth.

    Raises ValueError for a file that is damaged or of another kind.
    """
    content = load_json(path)
    if not isinstance(content, dict) or not content.get("videos") or not content.get("images"):
        raise ValueError(f"{path}: expected json with 'videos' and 'images' (TAO style)")
    for name in ("videos", "images", "annotations", "categories"):
        rows = content.get(name, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{path}: '{name}' is no list of objects")
    merged_into = {
        whole_number(other, "id", f"{path}: a merged category"): category["id"]
        for category in content.get("categories", [])
        for other in category.get("merged", [])
    }
    videos = _read_videos(path, content)
    known = {image.id for video in videos for image in video.images}
    rows = []
    for number, row in enumerate(content.get("annotations", [])):
        where = f"{path}: annotation {number}"
        if whole_number(row, "image_id", where) not in known:
            raise ValueError(f"{where} is for image {row['image_id']}, which is not in 'images'")
        rows.append(_read_row(row, where, merged_into))
    return Annotations(path=path, videos=videos, truth=group_boxes(rows), merged_into=merged_into)


def read_tracks(path: Path, annotations: Annotations) -> dict[int, Boxes]:
    """Tracks of a tracker in TAO style, by image id; ValueError for ids that the annotations do not have."""
    rows = load_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path}: expected a list of {{image_id, bbox, score, category_id, track_id}}")
    known, found = annotations.image_ids, []
    for number, row in enumerate(rows):
        where = f"{path}: box {number}"
        if whole_number(row, "image_id", where) not in known:
            raise ValueError(f"{where} is for image {row['image_id']}, which is not in {annotations.path}")
        found.append(_read_row(row, where, annotations.merged_into))
    return group_boxes(found)


def group_boxes(rows: list[tuple[int, list[float], int, int]]) -> dict[int, Boxes]:
    """Rows of image id, [x, y, width, height], track id and category id, by image id.

    Raises ValueError for a track that has two boxes in one image.
    """
    groups = defaultdict(list)
    for image, *row in rows:
        groups[image].append(row)
    boxes = {
        image: Boxes(
            boxes=from_xywh([box for box, _, _ in found]),
            track_ids=np.array([track for _, track, _ in found], np.int64),
            labels=np.array([label for _, _, label in found], np.int64),
        )
        for image, found in groups.items()
    }
    for image, found in boxes.items():
        ids, counts = np.unique(found.track_ids, return_counts=True)
        if (counts > 1).any():
            raise ValueError(f"track {ids[counts > 1][0]} has {counts.max()} boxes in image {image}, expected one")
    return boxes


def _read_row(row: dict, where: str, merged_into: dict[int, int]) -> tuple[int, list[float], int, int]:
    track_key = "track_id" if "track_id" in row else "instance_id"  # the latter in COCO-VID
    if track_key not in row:
        raise ValueError(f"{where} has no track_id")
    label = whole_number(row, "category_id", where)
    track = whole_number(row, track_key, where)
    return row["image_id"], check_box(row.get("bbox"), where), track, merged_into.get(label, label)


def _read_videos(path: Path, content: dict) -> tuple[AnnotatedVideo, ...]:
    images: dict[int, list[AnnotatedImage]] = {
        whole_number(video, "id", f"{path}: video {number}"): [] for number, video in enumerate(content["videos"])
    }
    seen = set()
    for number, row in enumerate(content["images"]):
        where = f"{path}: image {number}"
        video_id, image_id = whole_number(row, "video_id", where), whole_number(row, "id", where)
        if video_id not in images:
            raise ValueError(f"{where} is of video {video_id}, which is not in 'videos'")
        if image_id in seen:
            raise ValueError(f"{where}: a second image has the id {image_id}")
        seen.add(image_id)
        if not isinstance(row.get("file_name"), str):
            raise ValueError(f"{where} has no file_name")
        has_size = "height" in row and "width" in row
        size = tuple(whole_number(row, name, where) for name in ("height", "width")) if has_size else None
        image = AnnotatedImage(
            id=image_id, frame_index=frame_index_of(row, where), file_name=row["file_name"], size=size
        )
        images[video_id].append(image)
    videos = []
    for video in content["videos"]:
        ordered = sorted(images[video["id"]], key=lambda image: image.frame_index)
        indices = [image.frame_index for image in ordered]
        if len(set(indices)) < len(indices):
            raise ValueError(f"{path}: video {video['id']} has two images with one frame_index")
        videos.append(AnnotatedVideo(id=video["id"], name=str(video.get("name", video["id"])), images=tuple(ordered)))
    return tuple(videos)
