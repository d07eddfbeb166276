"""The command that tracks a video: what it writes is what the model says, and mistakes are one line."""

import csv
import os
import signal
import types
from fractions import Fraction

import numpy as np
import pytest
import torch

from shards.film import write_mp4
from trainer import track as track_module
from trainer import video as video_module
from trainer.checkpoint import save_weights
from trainer.config import compose
from trainer.models import TASKS
from trainer.query_points import parse_points
from trainer.track import choose_radius, draw, follow, load_tracker, main
from trainer.tracks_file import read_tracks, writing_tracks
from trainer.video import open_video

SMALL = {"input_size": "[64,96]", "dim": 32, "backbone_width": 8, "num_layers": 2, "memory_size": 3, "dropout": 0.0}
HEIGHT, WIDTH, NUM_FRAMES = 48, 64, 9
RECIPE = compose("lbm", [f"model.{key}={value}" for key, value in SMALL.items()])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("track")


@pytest.fixture(scope="module")
def weights(folder):
    torch.manual_seed(0)
    save_weights(folder / "weights.safetensors", TASKS["lbm"].build(RECIPE.model), RECIPE)
    return folder / "weights.safetensors"


@pytest.fixture(scope="module")
def video(folder):
    frames = np.random.default_rng(0).integers(0, 256, (NUM_FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    write_mp4(iter(frames), Fraction(25), folder / "in.mp4")
    return folder / "in.mp4"


def run(weights, video, points, *options):
    return main(["--weights", str(weights), "--video", str(video), "--points", points, *map(str, options)])


def read_frames(path):
    with open_video(path) as opened:
        return np.stack(list(opened.frames))


def track_whole(weights, video, query_tyx, start=0):
    frames = torch.from_numpy(read_frames(video)[start:]).permute(0, 3, 1, 2)[None].float()
    queries = torch.from_numpy(query_tyx[:, [0, 2, 1]].astype(np.float32))[None]
    return load_tracker(weights, "cpu").model.track(frames, queries)


def write_points(path, rows, header=("t", "x", "y")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def test_tracks_and_drawing_of_points_that_begin_at_different_times(weights, video, tmp_path, capsys):
    points = write_points(tmp_path / "points.csv", [(4, 10.5, 20), (2, 30, 40.25), (4, 60, 5), (2, 1, 1)])
    assert run(weights, video, points, "--out", tmp_path / "out.mp4", "--tracks", tmp_path / "out.npz") == 0
    assert f"{tmp_path / 'out.npz'}: 4 points, {NUM_FRAMES} frames" in capsys.readouterr().out
    tracks = read_tracks(tmp_path / "out.npz")
    whole = track_whole(weights, video, tracks.query_points)
    np.testing.assert_allclose(tracks.tracks, whole.points[0].transpose(0, 1), atol=1e-4)
    np.testing.assert_array_equal(tracks.visible, whole.visible[0].T)
    begun = np.arange(NUM_FRAMES) >= tracks.query_points[:, :1]
    rho = whole.rho_logit[0].T.sigmoid().numpy()
    np.testing.assert_allclose(tracks.uncertainty, np.where(begun, rho, 1), atol=1e-5)
    assert tracks.query_points.tolist() == [[4, 20, 10.5], [2, 40.25, 30], [4, 5, 60], [2, 1, 1]]
    assert tracks.frame_size.tolist() == [HEIGHT, WIDTH] and tracks.frame_rate == 25 and tracks.start_frame == 0
    drawn, plain = (read_frames(path).astype(int) for path in (tmp_path / "out.mp4", video))
    assert drawn.shape == plain.shape
    changed = np.abs(drawn - plain).mean((1, 2, 3))
    assert changed[:2].max() < changed[2:].min()  # nothing is drawn before the first point begins


def test_a_part_of_a_video(weights, video, tmp_path):
    points = write_points(tmp_path / "points.csv", [(3, 10, 20), (5, 30, 40)])
    options = ("--start-frame", 3, "--max-frames", 4, "--tracks", tmp_path / "out.npz")
    assert run(weights, video, points, *options) == 0
    tracks = read_tracks(tmp_path / "out.npz")
    assert tracks.tracks.shape == (2, 4, 2) and tracks.start_frame == 3
    assert tracks.query_points[:, 0].tolist() == [0, 2]
    whole = track_whole(weights, video, tracks.query_points, start=3)
    np.testing.assert_allclose(tracks.tracks, whole.points[0, :4].transpose(0, 1), atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npz", "points.csv"]


def test_the_same_video_gives_the_same_bytes(weights, video, tmp_path):
    for name in ("a.npz", "b.npz"):
        assert run(weights, video, "grid:2", "--max-frames", 3, "--tracks", tmp_path / name) == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_points_as_people_write_them(tmp_path):
    assert parse_points("grid:2", (40, 80)).tolist() == [[0, 10, 20], [0, 10, 60], [0, 30, 20], [0, 30, 60]]
    assert parse_points(" 1,2; 3.5,4e0 ;", (40, 80)).tolist() == [[0, 2, 1], [0, 4, 3.5]]
    path = tmp_path / "points.csv"
    path.write_text("\ufeff Y , x\n2,1\n\n4,3\n")
    assert parse_points(str(path), (40, 80)).tolist() == [[0, 2, 1], [0, 4, 3]]


@pytest.mark.parametrize(
    "text", ["grid:0", "grid:", "grid:-3", "grid:2.5", "", ";", "1,2,3", "1;2", "a,b", "points.txt"]
)
def test_points_that_are_none(text):
    with pytest.raises(ValueError, match="--points"):
        parse_points(text, (40, 80))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"the first line must name the columns x,y or t,x,y, not ''"),
        ("1,2\n3,4\n", "the first line must name the columns"),
        ("x,y,z\n1,2,3\n", "not 'x,y,z'"),
        ("x,y,x\n1,2,3\n", "not 'x,y,x'"),
        ("x,y\n", "no points in it"),
        ("x,y\n1,2\n3\n", "point 2, '3': expected x,y as numbers"),
        ("x,y\none,2\n", "point 1, 'one,2'"),
        ("t,x,y\n1.5,2,3\n", "point 1: t=1.5 must be a frame"),
        ("t,x,y\n-1,2,3\n", "t=-1 must be a frame"),
        ("t,x,y\nnan,2,3\n", "t=nan must be a frame"),
    ],
)
def test_a_csv_file_that_cannot_be_used_is_named(tmp_path, content, message):
    path = tmp_path / "points.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        parse_points(str(path), (40, 80))
    assert str(path) in str(error.value)


def test_mistakes_are_one_line_and_leave_nothing(weights, video, tmp_path, capsys):
    out, npz = ("--out", tmp_path / "out.mp4"), ("--tracks", tmp_path / "out.npz")
    late = write_points(tmp_path / "late.csv", [(NUM_FRAMES, 10, 20)])
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"not weights")
    cases = [
        ((weights, video, "grid:3"), "nothing to write"),
        ((weights, video, "grid:3", "--out", tmp_path / "out.avi"), "must end in .mp4"),
        ((weights, video, "grid:3", "--tracks", tmp_path / "out.npy"), "must end in .npz"),
        ((weights, video, "grid:3", "--out", video), "this is the video itself"),
        ((weights, video, "grid:3", *npz, "--max-frames", 0), "--max-frames 1 or more"),
        ((weights, video, "grid:3", *npz, "--start-frame", NUM_FRAMES), f"has no frame {NUM_FRAMES} to start from"),
        ((weights, video, "grid:3", *npz, "--memory-size", 0), "memory_size=0"),
        ((weights, video, "grid:3", *npz, "--device", "abacus"), "--device abacus: not available here"),
        ((weights, video, "64.5,3", *npz, *out), "point 0 at (64.5, 3) is outside the frame of 64x48 pixels"),
        ((weights, video, "nan,3", *npz, *out), "not a finite position"),
        ((weights, video, late, *npz, *out), "query frames must lie in the frames that are tracked, 0..8"),
        ((weights, video, late, *npz, "--start-frame", 2, "--max-frames", 3), "are tracked, 2..4"),
        ((weights, tmp_path / "no.mp4", "grid:3", *npz), "no.mp4: no such file or folder"),
        ((weights, other, "grid:3", *npz, *out), "not a video that can be read"),
        ((other, video, "grid:3", *npz, *out), "not a readable safetensors file"),
    ]
    for arguments, message in cases:
        assert run(*arguments) == 2, message
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1, error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["late.csv", "other.safetensors"]


def test_weights_of_another_system_are_refused(weights, monkeypatch):
    monkeypatch.setattr(track_module, "load_model", lambda path, device, input_size: (torch.nn.Linear(1, 1), "other"))
    with pytest.raises(ValueError, match="weights of 'other', a Linear; tracking videos needs an LBM"):
        load_tracker(weights, "cpu")


def test_a_video_that_shrinks_or_ends_too_early_is_an_error(weights):
    tracker = load_tracker(weights, "cpu")
    frames = np.zeros((3, HEIGHT, WIDTH, 3), np.uint8)
    with pytest.raises(ValueError, match="frame 2 is 64x40, the first one was 64x48"):
        list(follow(tracker, [frames[0], frames[1], frames[2, :40]], np.array([[0.0, 1, 1]])))
    with pytest.raises(ValueError, match="ended after 3 frames, before the query frame 7"):
        list(follow(tracker, frames, np.array([[0.0, 1, 1], [7.0, 1, 1]])))


def test_a_cut_off_video_leaves_no_files(weights, folder, tmp_path, capsys):
    noise = np.random.default_rng(1).integers(0, 256, (30, HEIGHT, WIDTH, 3), dtype=np.uint8)
    write_mp4(iter(noise), Fraction(25), tmp_path / "cut.mp4")
    content = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 3 // 4])
    files = ("--out", tmp_path / "out.mp4", "--tracks", tmp_path / "out.npz")
    assert run(weights, tmp_path / "cut.mp4", "1,1", *files) == 2
    assert "cut.mp4: cut off or damaged" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["cut.mp4"]
    assert run(weights, tmp_path / "cut.mp4", "1,1", *files, "--max-frames", 2) == 0


def test_a_drawn_point_has_its_colour_its_trail_and_a_hole_where_it_is_hidden():
    frame = np.full((60, 120, 3), 90, np.uint8)
    row = types.SimpleNamespace
    points = [np.array([[20.0 + 10 * t, 20], [60, 45]], np.float32) for t in range(5)]
    begun = [np.array([True, t >= 3]) for t in range(5)]
    rows = [row(points=p, visible=np.array([True, False]), begun=b) for p, b in zip(points, begun, strict=True)]
    pictures = [x.astype(int) for x in draw(((frame, x) for x in rows), 2)]
    radius = choose_radius(frame.shape, 2)
    first, second = track_module.point_colours(2)
    np.testing.assert_allclose(pictures[4][19:21, 59:61].mean((0, 1)), first, atol=3)
    assert np.abs(pictures[4][20, 45] - 90).max() > 30  # the trail
    np.testing.assert_array_equal(pictures[0][20, 45], 90)
    np.testing.assert_array_equal(pictures[2][40:50, 50:70], 90)  # the other point has not begun
    ring = pictures[4][45, 60 + round(radius)]
    assert np.abs(ring - second).sum() < np.abs(np.array(first) - second).sum() / 2
    assert np.abs(pictures[4][44:46, 59:61] - 90).max() < 10


def test_an_interrupt_ends_a_live_video_well(weights, monkeypatch, tmp_path):
    class Camera:
        """Gives pictures for ever; the user presses Ctrl-C at the fifth."""

        def __init__(self, number):
            self.count = 0

        def isOpened(self):  # noqa: N802 (OpenCV's name)
            return True

        def get(self, property_id):
            return 0.0

        def read(self):
            self.count += 1
            if self.count == 5:
                os.kill(os.getpid(), signal.SIGINT)
            return self.count < 50, np.full((HEIGHT, WIDTH, 3), self.count, np.uint8)

        def release(self):
            pass

    monkeypatch.setattr(video_module.cv2, "VideoCapture", Camera)
    before = signal.getsignal(signal.SIGINT)
    assert run(weights, "camera:0", "grid:2", "--out", tmp_path / "a.mp4", "--tracks", tmp_path / "a.npz") == 0
    assert read_tracks(tmp_path / "a.npz").tracks.shape == (4, 5, 2)
    assert len(read_frames(tmp_path / "a.mp4")) == 5
    assert signal.getsignal(signal.SIGINT) is before


def test_a_tracks_file_of_something_else_is_refused(tmp_path):
    path, query = tmp_path / "a.npz", np.array([[0.0, 1, 1]])
    with pytest.raises(ValueError, match="no frame to write"), writing_tracks(path, query, (4, 4), Fraction(25)):
        pass
    assert not list(tmp_path.iterdir())
    np.savez(path, tracks=np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match="not a file of format frameline-tracks/1"):
        read_tracks(path)
    with writing_tracks(path, query, (4, 4), Fraction(25)) as writer:
        writer.append(np.ones((1, 2)), np.ones(1, bool), np.zeros(1))
    assert read_tracks(path).tracks.tolist() == [[[1, 1]]]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"not a readable tracks.npz"):
        read_tracks(path)
    np.save(tmp_path / "b.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"not a readable tracks.npz"):
        read_tracks(tmp_path / "b.npy")
