"""The commands: one video, a whole data set that is resumed, scores, and mistakes in one line."""

import json
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

from shards.film import write_mp4
from tests.trainer.objects.sliding import SlidingPoints, detect
from trainer.checkpoint import save_weights
from trainer.config import compose
from trainer.models import TASKS
from trainer.objects import dataset as dataset_module
from trainer.objects.__main__ import main
from trainer.objects.drawing import draw_objects
from trainer.objects.following import new_tracker
from trainer.objects.settings import ObjectSettings
from trainer.video import open_video

SMALL = {"input_size": "[64,96]", "dim": 32, "backbone_width": 8, "num_layers": 2, "memory_size": 3, "dropout": 0.0}
HEIGHT, WIDTH, NUM_FRAMES = 48, 64, 5
CSV = "frame,x,y,width,height,score,category_id\n" + "".join(
    f"{t},{5 + 2 * t},10,20,20,0.9,3\n{t},{35 - t},20,20,20,0.8,4\n" for t in range(NUM_FRAMES)
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    recipe = compose("lbm", [f"model.{key}={value}" for key, value in SMALL.items()])
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("objects") / "weights.safetensors"
    save_weights(path, TASKS["lbm"].build(recipe.model), recipe)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    frames = np.random.default_rng(0).integers(0, 256, (NUM_FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("objects") / "in.mp4"
    write_mp4(iter(frames), Fraction(25), path)
    return path


def track(weights, detections, out, *options):
    options = ["--weights", weights, "--detections", detections, "--out", out, "--device", "cpu", *options]
    return main(["track", *map(str, options)])


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_one_video_with_boxes_of_a_csv(weights, video, tmp_path, capsys):
    detections, out, drawn = write(tmp_path / "d.csv", CSV), tmp_path / "tracks.json", tmp_path / "drawn.mp4"
    assert track(weights, detections, out, "--video", video, "--draw", drawn, "num_points=4") == 0
    rows = json.loads(out.read_text())
    assert [(row["image_id"], row["track_id"], row["category_id"]) for row in rows] == [
        pair for t in range(NUM_FRAMES) for pair in ((t, 1, 3), (t, 2, 4))
    ]
    assert set(rows[0]) == {"video_id", "image_id", "bbox", "score", "category_id", "track_id"}
    assert rows[2] == rows[2] | {"bbox": [7, 10, 20, 20], "score": 0.9, "video_id": 0}
    with open_video(drawn) as opened:
        assert len(list(opened.frames)) == NUM_FRAMES
    assert "10 boxes, 2 tracks, 5 frames" in capsys.readouterr().out


def test_ids_of_the_detections_own_images_are_written_back(weights, video, tmp_path):
    images = [{"id": 100 - t, "video_id": 9, "frame_index": t} for t in range(NUM_FRAMES)]
    annotations = [
        {"image_id": 100 - t, "bbox": [5, 5, 20, 20], "score": 0.9, "category_id": 1} for t in range(NUM_FRAMES)
    ]
    detections = write(tmp_path / "d.json", {"images": images, "annotations": annotations})
    assert track(weights, detections, tmp_path / "t.json", "--video", video, "--max-frames", 2) == 0
    rows = json.loads((tmp_path / "t.json").read_text())
    assert [(row["image_id"], row["video_id"]) for row in rows] == [(100, 9), (99, 9)]


@pytest.fixture
def data_set(tmp_path):
    """Annotations, image folder and detections of two videos that begin alike."""
    rng, images, annotations = np.random.default_rng(0), [], []
    for video in (1, 2):
        for t in range(3):
            name, picture = f"v{video}/{t}.png", rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            (tmp_path / "images" / f"v{video}").mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "images" / name), picture)
            images.append({
                "id": 10 * video + 2 - t, "video_id": video, "frame_index": 2 - t, "file_name": name,
                "height": HEIGHT, "width": WIDTH,
            })  # fmt: skip
            annotations.append(
                {"image_id": 10 * video + t, "track_id": 1, "bbox": [5, 5, 20, 20], "category_id": 1, "video_id": video}
            )
    videos = [{"id": 2, "name": "v2"}, {"id": 1, "name": "v1"}]
    write(tmp_path / "a.json", {"videos": videos, "images": images, "annotations": annotations})
    write(tmp_path / "d.json", [row | {"score": 0.9} for row in annotations])
    return tmp_path


def data_options(folder):
    return ["--annotations", folder / "a.json", "--images", folder / "images"]


def test_a_data_set_is_tracked_and_scored(weights, data_set, capsys):
    out = data_set / "tracks.json"
    assert track(weights, data_set / "d.json", out, *data_options(data_set), "--preset", "tao") == 0
    rows = json.loads(out.read_text())
    assert [(row["video_id"], row["image_id"], row["track_id"]) for row in rows] == [
        (2, 20, 1), (2, 21, 1), (2, 22, 1), (1, 10, 2), (1, 11, 2), (1, 12, 2),
    ]  # fmt: skip
    assert not (data_set / "tracks.json.parts").exists()
    pytest.importorskip("scipy")
    score = data_set / "score.json"
    assert main(["score", "--tracks", str(out), "--annotations", str(data_set / "a.json"), "--out", str(score)]) == 0
    assert json.loads(score.read_text())["TETA"] == 1
    assert "TETA 100.00  LocA 100.00" in capsys.readouterr().out


def test_finished_videos_are_not_tracked_again(weights, data_set, monkeypatch):
    out, seen, read = data_set / "tracks.json", [], dataset_module.read_image

    def read_until(last):
        def reading(image, root):
            if image.file_name == last:
                raise ValueError("stopped")
            seen.append(image.file_name)
            return read(image, root)

        seen.clear()
        monkeypatch.setattr(dataset_module, "read_image", reading)

    read_until("v1/1.png")
    assert track(weights, data_set / "d.json", out, *data_options(data_set)) == 2
    assert not out.exists() and len(seen) == 4
    read_until(None)
    assert track(weights, data_set / "d.json", out, *data_options(data_set)) == 0
    assert seen == ["v1/2.png", "v1/1.png", "v1/0.png"]  # frame_index runs against the names
    resumed = out.read_bytes()
    read_until("v1/1.png")
    track(weights, data_set / "d.json", out, *data_options(data_set))
    read_until(None)
    assert track(weights, data_set / "d.json", out, *data_options(data_set), "num_points=3") == 0
    assert len(seen) == 6  # other settings begin anew
    assert track(weights, data_set / "d.json", out, *data_options(data_set)) == 0
    assert out.read_bytes() == resumed


@pytest.mark.parametrize("kind", ["missing", "damaged", "other size"])
def test_images_that_do_not_serve_are_named(weights, data_set, capsys, kind):
    path = data_set / "images" / "v1" / "1.png"
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes(b"png" if kind == "damaged" else cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1])
    assert track(weights, data_set / "d.json", data_set / "t.json", *data_options(data_set)) == 2
    wanted = {"missing": "no such image (1 of 6", "damaged": "not a picture", "other size": "is 9x9, annotated are"}
    assert f"{path}: {wanted[kind]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give either --video, or --annotations and --images"),
        (["--video", "v.mp4", "--images", "i"], "give either --video, or"),
        (["--images", "i"], "needs both --annotations and --images"),
        (["--images", "i", "--annotations", "a.json", "--draw", "d.mp4"], "are for one --video"),
        (["--video", "v.mp4", "--draw", "d.avi"], "must end in .mp4"),
        (["--video", "v.mp4", "--draw", "v.mp4"], "this is the video itself"),
        (["--video", "v.mp4", "--max-frames", "0"], "--max-frames must be 1 or more"),
        (["--video", "v.mp4", "--preset", "tap"], "no preset 'tap', did you mean 'tao'"),
        (["--video", "v.mp4", "num_pointz=1"], "unknown key 'num_pointz'"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(tmp_path, weights, capsys, options, message):
    assert track(weights, write(tmp_path / "d.csv", CSV), tmp_path / "t.json", *options) == 2
    told = capsys.readouterr().err
    assert message in told and told.startswith("error: ") and told.count("\n") == 1


def test_detections_of_another_video_are_refused_and_late_ones_noted(weights, video, tmp_path, capsys):
    late = write(tmp_path / "late.csv", CSV.splitlines()[0] + "\n99,1,1,20,20,0.9,1\n")
    assert track(weights, late, tmp_path / "t.json", "--video", video, "--draw", tmp_path / "d.mp4") == 2
    assert "all detections are of frames from 99 on, and the video ends with frame 4" in capsys.readouterr().err
    assert not (tmp_path / "t.json").exists() and not (tmp_path / "d.mp4").exists()
    some = write(tmp_path / "some.csv", CSV + "99,1,1,20,20,0.9,1\n")
    assert track(weights, some, tmp_path / "t.json", "--video", video) == 0
    assert "detections of 1 frames after the last one, 4" in capsys.readouterr().err


def test_drawing_shows_boxes_numbers_and_points():
    frame = np.full((120, 160, 3), 128, np.uint8)
    points = SlidingPoints(lambda p, t: np.zeros_like(p), hidden=lambda p, t: p[:, 0] < 60)
    tracker = new_tracker(points, ObjectSettings(num_points=10), "video")
    for _ in range(2):
        found = tracker.step(frame, detect((40, 30, 60, 50, 0.9, 1), (-30, -30, 60, 60, 0.9, 1)))
    drawn = draw_objects(frame, found, tracker)
    assert (frame == 128).all()
    changed = (drawn != 128).any(-1)
    assert changed[30, 40:100].all() and changed[79:81, 50].all() and changed[40:80, 99:101].any(1).all()
    assert changed[36:75, 46:95].any()  # points
    assert changed[:12, :8].any() and not changed[100:, 120:].any()  # the number of the box that leaves the frame
    nothing = new_tracker(points, ObjectSettings(), "other")
    assert (draw_objects(frame, nothing.step(frame, detect()), nothing) == frame).all()
