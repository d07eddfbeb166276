"""Detections of others, read from files: TAO and COCO json, MOT text, csv.

Legend: D detections of one frame.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.objects.boxes import from_xywh

CSV_COLUMNS = ("frame", "x", "y", "width", "height", "score")
"""Columns that a csv must have; `category_id` (default 1) may follow."""
MOT_ORIGIN = 1
"""The MOT benchmark counts frames and pixels from 1."""
DEFAULT_CATEGORY = 1


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Boxes (D, 4) as left, top, right, bottom in source pixels, scores (D,), labels (D,): category ids."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: np.ndarray) -> "Detections":
        """The detections at these rows, or where a mask is true."""
        return Detections(boxes=self.boxes[index], scores=self.scores[index], labels=self.labels[index])


NO_DETECTIONS = Detections(boxes=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0, np.int64))


@dataclass(frozen=True, kw_only=True)
class DetectionFile:
    """All detections of a file, by frame number (from 0) or by image id.

    `images` has the file's own list of images, if any: a mapping of each image id to its video id and frame index.
    """

    path: Path
    is_by_image: bool
    detections: dict[int, Detections]
    images: dict[int, tuple[int, int]]

    def for_one_video(self) -> dict[int, Detections]:
        """Detections by frame number of the file's only video.

        Image ids are put in order by the file's own list of images, and without one are frame numbers themselves.
        Raises ValueError for a list of several videos, and for ids that are not in it.
        """
        if not self.images:
            return self.detections
        videos = sorted({video for video, _ in self.images.values()})
        if len(videos) > 1:
            raise ValueError(f"{self.path}: has {len(videos)} videos; track them with --annotations and --images")
        unknown = sorted(set(self.detections) - set(self.images))
        if unknown:
            raise ValueError(f"{self.path}: a detection is for image {unknown[0]}, which is not in the file's 'images'")
        return {self.images[image][1]: found for image, found in self.detections.items()}

    def for_images(self, known: Iterable[int]) -> dict[int, Detections]:
        """Detections by image id; ValueError where the file has frame numbers, or ids that are not among `known`."""
        if not self.is_by_image:
            raise ValueError(f"{self.path}: has frame numbers of one video; a data set needs json with image ids")
        unknown = sorted(set(self.detections) - set(known))
        if unknown:
            raise ValueError(
                f"{self.path}: {len(unknown)} of {len(self.detections)} image ids are not in the annotations, "
                f"such as {unknown[0]}; do both files belong to one data set and split?"
            )
        return self.detections


def read_detections(path: Path) -> DetectionFile:
    """Read a file of detections; its kind follows from its name: .json, .txt (MOT) or .csv.

    json: a list of {image_id, bbox: [x, y, width, height], score, category_id} (TAO and COCO results), or a COCO data
    set whose annotations have scores. Raises ValueError that says what is wrong and where.
    """
    readers = {".json": _read_json, ".txt": _read_mot, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: detections are .json, .txt (MOT) or .csv")
    return readers[path.suffix.lower()](path)


def load_json(path: Path) -> object:
    """The content of a json file; ValueError with the place of the damage."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a json file ({error})") from None


def frame_index_of(image: dict, where: str) -> int:
    """The number of an image in its video: `frame_index` (TAO) or `frame_id` (COCO-VID); ValueError without one."""
    index = image.get("frame_index", image.get("frame_id"))
    if not _is_whole(index):
        raise ValueError(f"{where} has no frame_index (nor frame_id)")
    return index


def whole_number(row: dict, key: str, where: str) -> int:
    """A whole number of a json object; ValueError that names it."""
    if not _is_whole(row.get(key)):
        raise ValueError(f"{where} has {key}={row.get(key)!r}, expected a whole number")
    return row[key]


def check_box(values: object, where: str) -> list[float]:
    """A box as [x, y, width, height]; ValueError for anything else, and for a negative width or height."""
    numbers = values if isinstance(values, list | tuple) else []
    is_box = len(numbers) == 4 and all(_is_number(value) for value in numbers)
    if not is_box or numbers[2] < 0 or numbers[3] < 0:
        raise ValueError(f"{where} has bbox={values!r}, expected [x, y, width, height]")
    return list(numbers)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _read_json(path: Path) -> DetectionFile:
    content = load_json(path)
    rows, images = content, {}
    if isinstance(content, dict):
        rows = content.get("annotations")
        for number, image in enumerate(content.get("images", [])):
            where = f"{path}: image {number}"
            video = whole_number(image, "video_id", where) if "video_id" in image else 0
            images[whole_number(image, "id", where)] = video, frame_index_of(image, where)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path}: expected a list of detections, or a mapping with 'annotations'")
    parsed = []
    for number, row in enumerate(rows):
        where = f"{path}: detection {number}"
        if not _is_number(row.get("score")):
            raise ValueError(f"{where} has score={row.get('score')!r}, expected a number")
        box = check_box(row.get("bbox"), where)
        label = whole_number(row, "category_id", where) if "category_id" in row else DEFAULT_CATEGORY
        parsed.append((whole_number(row, "image_id", where), box, row["score"], label))
    return DetectionFile(path=path, is_by_image=True, detections=_group(parsed), images=images)


def _read_mot(path: Path) -> DetectionFile:
    """MOT benchmark: frame, id, left, top, width, height, score, ...; frames and pixels are counted from 1."""
    parsed = []
    with path.open(newline="", encoding="utf-8") as file:
        for line, row in _rows(path, csv.reader(file)):
            where = f"{path}: line {line}"
            if len(row) < 7:
                raise ValueError(f"{where} has {len(row)} values, expected frame, id, x, y, width, height, score")
            frame, _, x, y, *others = (_number(value, where) for value in row[:7])
            box = check_box([x - MOT_ORIGIN, y - MOT_ORIGIN, *others[:2]], where)
            parsed.append((_frame(frame - MOT_ORIGIN, where), box, others[2], DEFAULT_CATEGORY))
    return DetectionFile(path=path, is_by_image=False, detections=_group(parsed), images={})


def _read_csv(path: Path) -> DetectionFile:
    parsed = []
    with path.open(newline="", encoding="utf-8") as file:
        rows = _rows(path, csv.reader(file))
        names = [name.strip() for name in next(rows, (0, []))[1]]
        missing = [name for name in CSV_COLUMNS if name not in names]
        if missing:
            raise ValueError(f"{path}: line 1 has no column '{missing[0]}'; columns: {', '.join(CSV_COLUMNS)}")
        for line, row in rows:
            where = f"{path}: line {line}"
            if len(row) != len(names):
                raise ValueError(f"{where} has {len(row)} values for {len(names)} columns")
            value = {name: _number(text, where) for name, text in zip(names, row, strict=True)}
            box = check_box([value[name] for name in CSV_COLUMNS[1:5]], where)
            label = int(value.get("category_id", DEFAULT_CATEGORY))
            parsed.append((_frame(value["frame"], where), box, value["score"], label))
    return DetectionFile(path=path, is_by_image=False, detections=_group(parsed), images={})


def _rows(path: Path, reader: Iterable[list[str]]) -> Iterable[tuple[int, list[str]]]:
    """Line numbers and rows that are not empty."""
    try:
        yield from ((line, row) for line, row in enumerate(reader, 1) if row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a text file ({error})") from None


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ValueError(f"{where} has '{text.strip()}', expected a number")
    return value


def _frame(value: float, where: str) -> int:
    if value < 0 or value != int(value):
        raise ValueError(f"{where}: {value:g} is no frame number (from 0; in MOT files from 1)")
    return int(value)


def _group(rows: list[tuple[int, list[float], float, int]]) -> dict[int, Detections]:
    groups = defaultdict(list)
    for key, *detection in rows:
        groups[key].append(detection)
    return {
        key: Detections(
            boxes=from_xywh([box for box, _, _ in found]),
            scores=np.array([score for _, score, _ in found], np.float64),
            labels=np.array([label for _, _, label in found], np.int64),
        )
        for key, found in groups.items()
    }
