"""How well boxes are joined over time on rendered clips: points of LBM, and the boxes alone, by TETA and OWTA.

The clips' segmentations give the true boxes; detections are made from them by jitter, misses and false boxes, with the
same seed for both ways. `boxes alone` joins each detection to the track whose last box it overlaps most.

    python benchmarks/object_tracking.py --clips data/clips/kubric_heldout --weights results/lbm/weights.safetensors
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from shards.files import write_text
from trainer.objects.annotations import read_annotations
from trainer.objects.association import assign
from trainer.objects.boxes import from_xywh, overlaps
from trainer.objects.dataset import DatasetRun, track_dataset
from trainer.objects.detections import NO_DETECTIONS, read_detections
from trainer.objects.score import score_tracks
from trainer.objects.settings import make_settings
from trainer.track import load_tracker

SMALLEST = 64
"""Pixels of an object in a frame that get a box."""
NAMES = ("TETA", "LocA", "AssocA", "OWTA", "DetRe", "AssA")


def read_boxes(path: Path) -> dict[int, list[float]]:
    """Object id -> [x, y, width, height] of the objects in a segmentation; 0 is the background."""
    segmentation = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    boxes = {}
    for number in np.unique(segmentation[segmentation > 0]).tolist():
        y, x = np.nonzero(segmentation == number)
        if len(x) >= SMALLEST:
            corner = int(x.min()), int(y.min())
            boxes[number] = [*corner, int(x.max()) + 1 - corner[0], int(y.max()) + 1 - corner[1]]
    return boxes


def make_data(options: argparse.Namespace, folder: Path) -> tuple[Path, Path]:
    """Write annotations.json and detections.json of all clips; every `stride`-th frame of each."""
    random = np.random.default_rng(options.seed)
    videos, images, annotations, detections = [], [], [], []
    clips = sorted(path.parent for path in options.clips.glob("*/segmentations"))
    for video, clip in enumerate(clips):
        videos.append({"id": video, "name": clip.name})
        for frame, path in enumerate(sorted((clip / "segmentations").iterdir())[:: options.stride]):
            image = len(images)
            name = f"{clip.name}/frames/{path.name}"
            images.append({"id": image, "video_id": video, "frame_index": frame, "file_name": name})
            height, width = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape
            boxes = read_boxes(path)
            for number, box in boxes.items():
                annotations.append({"image_id": image, "track_id": number, "bbox": box, "category_id": 1})
                if random.random() >= options.miss:
                    moved = from_xywh([box])[0] + random.normal(0, options.jitter, 4) * [*box[2:], *box[2:]]
                    low, high = np.minimum(moved[:2], moved[2:]), np.maximum(moved[:2], moved[2:])
                    detections.append((image, [*low, *(high - low)], random.uniform(0.6, 1)))
            for _ in range(random.poisson(options.false)):
                side = random.uniform(0.1, 0.3, 2) * (width, height)
                detections.append(
                    (image, [*(random.uniform(0, 1, 2) * ((width, height) - side)), *side], random.uniform(0.5, 0.8))
                )
    rows = [
        {"image_id": i, "bbox": np.round(box, 2).tolist(), "score": score, "category_id": 1}
        for i, box, score in detections
    ]
    content = {"videos": videos, "images": images, "annotations": annotations}
    return write_text(folder / "annotations.json", json.dumps(content)), write_text(
        folder / "detections.json", json.dumps(rows)
    )


def track_boxes(annotations: Path, detections: Path, out: Path, memory: int, least: float = 0.1) -> None:
    """Join boxes by their overlap with each track's last box of at most `memory` frames ago."""
    found, rows, next_id = read_detections(detections).detections, [], 0
    for video in read_annotations(annotations).videos:
        tracks: dict[int, tuple[np.ndarray, int]] = {}
        for t, image in enumerate(video.images):
            here = found.get(image.id, NO_DETECTIONS)
            here = here.take(np.argsort(-here.scores))
            ids = [number for number, (_, seen) in tracks.items() if t - seen <= memory]
            last = np.array([tracks[number][0] for number in ids]).reshape(-1, 4)
            chosen = {row: ids[column] for row, column in assign(overlaps(here.boxes, last), least)}
            for row, box in enumerate(here.boxes):
                if row not in chosen:
                    chosen[row], next_id = next_id, next_id + 1
                tracks[chosen[row]] = box, t
                bbox = [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]
                rows.append({"image_id": image.id, "bbox": bbox, "category_id": 1, "track_id": chosen[row]})
    write_text(out, json.dumps(rows))


def main() -> int:
    """Print one row of scores a way, and the seconds of the points."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--clips", type=Path, required=True, help="folder of clip folders with frames and segmentations"
    )
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--stride", type=int, default=1, help="use every k-th frame (default: 1)")
    parser.add_argument(
        "--jitter", type=float, default=0.05, help="of box edges, as a share of the sides (default: 0.05)"
    )
    parser.add_argument(
        "--miss", type=float, default=0.2, help="share of true boxes without a detection (default: 0.2)"
    )
    parser.add_argument("--false", type=float, default=1.0, help="false boxes a frame (default: 1)")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("settings", nargs="*", metavar="key=value")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = make_settings(options.preset, options.settings)
    with tempfile.TemporaryDirectory() as name:
        annotations, detections = make_data(options, Path(name))
        truth = read_annotations(annotations)
        found = read_detections(detections).for_images(truth.image_ids)
        ways = {"points": Path(name) / "points.json", "boxes alone": Path(name) / "boxes.json"}
        began = time.process_time()
        run = DatasetRun(annotations=truth, images_root=options.clips, detections=found, settings=settings, identity="")
        track_dataset(run, load_tracker(options.weights, "cpu"), ways["points"])
        seconds = time.process_time() - began
        track_boxes(annotations, detections, ways["boxes alone"], settings.memo_tracklet_frames)
        for way, path in ways.items():
            score = score_tracks(path, annotations)
            told = "  ".join(f"{key} {100 * score[key]:5.1f}" for key in NAMES)
            print(f"{way:12s} {told}")
        counts = f"{score['num_videos']} clips, {score['num_images']} frames, {score['num_true_boxes']} true boxes"
        print(f"{counts}; points: {seconds:.0f} CPU-s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
