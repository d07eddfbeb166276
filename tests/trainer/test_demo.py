"""The click page's server, over HTTP."""

import contextlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest
import torch
from PIL import Image

from eval.drawing import identity_color
from tests.demo_serving import HEIGHT, NUM_FRAMES, STEP, WIDTH, SlidingTracker, make_frames, serving, write_grey_clip
from tests.small_cotracker3 import ONLINE, make_model
from trainer.checkpoint import save_weights
from trainer.config import compose
from trainer.demo.__main__ import main
from trainer.demo.server import KEPT_VIDEOS, PAGE
from trainer.models import TASKS
from trainer.models.cotracker3.predictor import Cotracker3Predictor
from trainer.models.cotracker3.stream import Cotracker3Tracker
from trainer.models.lbm.tracker import LbmTracker
from trainer.tracks_file import read_tracks
from trainer.video import open_video, write_video

REPOSITORY = Path(__file__).parents[2]
SMALL = {"input_size": "[64,96]", "dim": 32, "backbone_width": 8, "num_layers": 2, "memory_size": 3, "dropout": 0.0}
RECIPE = compose("lbm", [f"model.{key}={value}" for key, value in SMALL.items()])


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_grey_clip(tmp_path_factory.mktemp("video"))


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path / "served") as server:
        yield server


def ask(server, path, body=None, headers=None, token=None):
    """Status, headers and body of a request behind the token."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    with contextlib.closing(connection):
        address = f"/{server.token if token is None else token}/{path}"
        connection.request("GET" if body is None else "POST", address, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def ask_lines(server, path, body):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    _, _, answer = ask(server, path, body)
    return [json.loads(line) for line in answer.splitlines()]


def upload(server, path):
    return ask_lines(server, f"video?name={quote(path.name)}", path.read_bytes())[-1]


def test_the_page_is_one_file_that_needs_no_network(server):
    status, headers, page = ask(server, "")
    assert (status, page) == (200, PAGE.read_bytes())
    assert b"http:" not in page and b"https:" not in page and not re.search(rb'(src|href)="/', page)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert json.loads(ask(server, "settings")[2]) == {"max_frames": 200, "max_upload_mib": 512, "max_points": 1024}


def test_it_listens_on_this_computer_only(server):
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("token", ["", "wrong", "wrong\u00e9".encode().decode("latin-1")])
def test_without_the_token_there_is_nothing(server, video, token):
    assert ask(server, "", token=quote(token))[0] == 404
    status, _, answer = ask(server, "video?name=a.mp4", video.read_bytes(), token=quote(token))
    assert status == 404 and b"wrong address" in answer and not list(server.folder.iterdir())


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}])
def test_other_sites_are_refused(server, video, headers):
    assert ask(server, "", headers=headers)[0] == 403
    assert ask(server, "video?name=a.mp4", video.read_bytes(), headers)[0] == 403
    assert not list(server.folder.iterdir())
    own = {"Origin": f"http://127.0.0.1:{server.server_port}"}
    assert ask(server, "settings", headers=own)[0] == 200


def test_an_uploaded_video_comes_back_frame_by_frame(server, video):
    answer = upload(server, video)
    assert answer["finished"] and answer["video"] == {
        "id": "1", "name": "grey clip.mp4", "note": "",
        "width": WIDTH, "height": HEIGHT, "num_frames": NUM_FRAMES, "rate": 10.0,
    }  # fmt: skip
    for t, frame in enumerate(make_frames()):
        status, headers, picture = ask(server, f"video/1/frame/{t}.jpg")
        shown = np.asarray(Image.open(io.BytesIO(picture)))
        assert status == 200 and headers["Content-Type"] == "image/jpeg" and shown.shape == frame.shape
        assert np.abs(shown.astype(int) - frame).max() <= 4
    assert ask(server, f"video/1/frame/{NUM_FRAMES}.jpg")[0] == 404
    assert ask(server, "video/1/frame/..%2fsource")[0] == 404


def test_points_of_two_frames_are_followed_from_where_they_were_clicked(server, video):
    upload(server, video)
    *lines, last = ask_lines(
        server, "video/1/track", {"points": [{"t": 2, "x": 10, "y": 8}, {"t": 0, "x": 30.5, "y": 20}]}
    )
    assert last == {"finished": True}
    assert [(line["done"], line["all"], line["frame"]) for line in lines] == [
        (t + 1, NUM_FRAMES, t) for t in range(NUM_FRAMES)
    ]
    assert lines[0]["points"] == [[1, 30.5, 20.0, 1, 0.25]]
    assert lines[2]["points"] == [[0, 10.0, 8.0, 1, 0.25], [1, 36.5, 22.0, 1, 0.25]]
    # The tracker's second point is the page's first: it hides two frames after frame 2.
    assert [line["points"][0][3] for line in lines[2:]] == [1, 1, 0, 0, 0, 0]
    assert lines[7]["points"] == [[0, 25.0, 13.0, 0, 0.25], [1, 51.5, 27.0, 1, 0.25]]


def test_the_tracks_are_downloaded_as_npz_csv_and_film(server, video, tmp_path):
    upload(server, video)
    for kind in ("npz", "csv", "mp4"):
        assert ask(server, f"video/1/tracks.{kind}")[0] == 404
    ask_lines(server, "video/1/track", {"points": [{"t": 1, "x": 30, "y": 20}, {"t": 0, "x": 60, "y": 40}]})
    status, headers, content = ask(server, "video/1/tracks.npz")
    assert status == 200 and headers["Content-Disposition"] == 'attachment; filename="grey_clip_tracks.npz"'
    (tmp_path / "t.npz").write_bytes(content)
    tracks = read_tracks(tmp_path / "t.npz")
    np.testing.assert_array_equal(tracks.query_points, [[1, 20, 30], [0, 40, 60]])
    np.testing.assert_allclose(tracks.tracks[1], [60, 40] + STEP * np.arange(NUM_FRAMES)[:, None])
    np.testing.assert_allclose(tracks.tracks[0, 1:], [30, 20] + STEP * np.arange(NUM_FRAMES - 1)[:, None])
    assert tracks.visible[0].tolist() == [False, True, True] + [False] * 5  # begins at 1, hides two frames later
    assert tracks.frame_size.tolist() == [HEIGHT, WIDTH] and tracks.frame_rate == 10
    table = ask(server, "video/1/tracks.csv")[2].decode().splitlines()
    assert table[:4] == ["t,point,x,y,visible,uncertainty", "0,2,60.0,40.0,1,0.25", "1,1,30.0,20.0,1,0.25",
                         "1,2,63.0,41.0,1,0.25"]  # fmt: skip
    assert len(table) == 1 + NUM_FRAMES + NUM_FRAMES - 1
    assert ask(server, "video/1/tracks.mp4")[0] == 404
    *lines, last = ask_lines(server, "video/1/film", {})
    assert last == {"finished": True} and [line["done"] for line in lines] == list(range(1, NUM_FRAMES + 1))
    (tmp_path / "t.mp4").write_bytes(ask(server, "video/1/tracks.mp4")[2])
    with open_video(tmp_path / "t.mp4") as film:
        frames = list(film.frames)
    assert len(frames) == NUM_FRAMES and film.rate == 10
    x, y = np.rint(tracks.tracks[1, 5]).astype(int)
    drawn, empty = frames[5][y - 1 : y + 2, x - 1 : x + 2].mean((0, 1)), frames[5][5, 90]
    assert np.ptp(empty.astype(int)) < 8 and np.argmax(drawn) == np.argmax(identity_color(1)) and np.ptp(drawn) > 60


def test_new_tracks_take_the_place_of_the_old_ones(server, video):
    upload(server, video)
    ask_lines(server, "video/1/track", {"points": [{"t": 0, "x": 30, "y": 20}]})
    ask_lines(server, "video/1/film", {})
    ask_lines(server, "video/1/track", {"points": [{"t": 0, "x": 11, "y": 12}]})
    assert ask(server, "video/1/tracks.csv")[2].splitlines()[1] == b"0,1,11.0,12.0,1,0.25"
    assert ask(server, "video/1/tracks.mp4")[0] == 404, "the film of the former points"


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (None, "no points: click at least one in the picture"),
        ([], "no points: click at least one in the picture"),
        ([{"t": 0, "x": 1, "y": 2}] * 4, "4 points are too many; at most 3"),
        ([{"t": 0, "x": 1}], "points must be a list of numbers t, x, y"),
        ([[0, 1, 2]], "points must be a list of numbers t, x, y"),
        ([{"t": 0, "x": "left", "y": 2}], "points must be a list of numbers t, x, y"),
        ([{"t": 0, "x": 1, "y": 2}, {"t": 0, "x": 97, "y": 2}], "point 2 at (97, 2) in frame 0 is not in the video"),
        ([{"t": 0, "x": float("nan"), "y": 2}], "point 1 at (nan, 2) in frame 0 is not in the video"),
        ([{"t": 8, "x": 1, "y": 2}], "in frame 8 is not in the video of 8 frames, 96x64 pixels"),
        ([{"t": 0.5, "x": 1, "y": 2}], "in frame 0.5 is not in the video"),
    ],
)
def test_points_that_cannot_be_followed_are_one_line(tmp_path, video, points, message):
    with serving(tmp_path / "served", max_points=3) as server:
        upload(server, video)
        (line,) = ask_lines(server, "video/1/track", {"points": points})
        assert message in line["error"] and "\n" not in line["error"]


def test_files_that_are_no_video_are_one_line_and_leave_nothing(server, tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "one.png")
    (tmp_path / "notes.txt").write_text("no video\n" * 100)
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name in ("one.png", "notes.txt", "empty.mp4"):
        error = upload(server, tmp_path / name)["error"]
        assert name in error and str(tmp_path) not in error and "\n" not in error
    assert not list(server.folder.iterdir())


def test_a_long_video_is_cut_and_says_so(tmp_path, video):
    with serving(tmp_path / "served", max_frames=5) as server:
        answer = upload(server, video)["video"]
        assert answer["num_frames"] == 5 and "only its first 5 frames are used" in answer["note"]
        assert len(ask_lines(server, "video/1/track", {"points": [{"t": 0, "x": 1, "y": 2}]})) == 5 + 1
    with serving(tmp_path / "again", max_frames=NUM_FRAMES) as server:
        assert upload(server, video)["video"]["note"] == ""


def test_requests_have_limits(tmp_path, video):
    with serving(tmp_path / "served", max_upload_mib=1) as server:
        status, _, answer = ask(server, "video?name=a.mp4", b"", {"Content-Length": str(2**20 + 1)})
        assert status == 413 and b"the file has 1.0 MiB; at most 1" in answer
        assert ask(server, "video?name=a.mp4", iter([b"chunk"]), {"Transfer-Encoding": "chunked"})[0] == 411
        upload(server, video)
        assert ask(server, "video/1/track", b"", {"Content-Length": str(2**20 + 1)})[0] == 413
        for body in (b"[", b"[]", b"\xff"):
            assert ask(server, "video/1/track", body)[0] == 400
        assert ask(server, "video/2/track", b"{}")[0] == ask(server, "nothing")[0] == 404
        assert "nothing is tracked yet" in ask_lines(server, "video/1/film", {})[-1]["error"]


def test_old_videos_make_room(server, video):
    for _ in range(KEPT_VIDEOS + 1):
        upload(server, video)
    assert len(list(server.folder.iterdir())) == KEPT_VIDEOS
    assert ask(server, "video/1/frame/0.jpg")[0] == 404 and ask(server, "video/2/frame/0.jpg")[0] == 200


def test_a_page_that_goes_away_ends_its_tracking(tmp_path):
    path, tracker = tmp_path / "long.mp4", SlidingTracker()
    write_video(make_frames(60), Fraction(10), path)
    with serving(tmp_path / "served", tracker) as server:
        upload(server, path)
        tracker.pause_s = 0.05
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        connection.request("POST", f"/{server.token}/video/1/track", json.dumps({"points": [{"t": 0, "x": 1, "y": 1}]}))
        answer = connection.getresponse()
        assert json.loads(answer.readline())["done"] == 1
        answer.close()
        connection.close()
        assert server.working.acquire(timeout=20)
        server.working.release()
        assert tracker.num_steps < 59
        tracker.pause_s = 0.0
        assert len(ask_lines(server, "video/1/track", {"points": [{"t": 0, "x": 1, "y": 1}]})) == 61


def test_the_end_stops_the_work_and_nothing_writes_afterwards(tmp_path):
    path, tracker = tmp_path / "long.mp4", SlidingTracker()
    write_video(make_frames(60), Fraction(10), path)
    with serving(tmp_path / "served", tracker) as server:
        upload(server, path)
        tracker.pause_s = 0.05
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        connection.request("POST", f"/{server.token}/video/1/track", json.dumps({"points": [{"t": 0, "x": 1, "y": 1}]}))
        answer = connection.getresponse()
        answer.readline()
    steps = tracker.num_steps
    assert steps < 59
    time.sleep(0.3)
    assert tracker.num_steps == steps
    connection.close()


def test_the_page_gets_what_lbm_says(tmp_path, video):
    torch.manual_seed(0)
    model = TASKS["lbm"].build(RECIPE.model).eval()
    with serving(tmp_path / "served", LbmTracker(model)) as server:
        upload(server, video)
        *lines, _ = ask_lines(
            server, "video/1/track", {"points": [{"t": 0, "x": 30, "y": 20}, {"t": 3, "x": 9, "y": 50}]}
        )
    tracker = LbmTracker(model)
    with open_video(video) as opened:
        for t, frame in enumerate(opened.frames):
            _ = tracker.step(frame) if t else tracker.start(frame, [[30.0, 20.0]])
            if t == 3:
                tracker.add([[9.0, 50.0]])
            found = tracker.positions
            shown = np.array(lines[t]["points"])
            np.testing.assert_allclose(shown[:, 1:3], found.points, atol=0.006)
            np.testing.assert_array_equal(shown[:, 3], found.visible)
            np.testing.assert_allclose(shown[:, 4], found.uncertainty, atol=6e-4)


@pytest.mark.parametrize("kind", [{}, ONLINE])
def test_the_page_gets_what_cotracker3_says(tmp_path, video, kind):
    model = make_model(**kind)
    with open_video(video) as opened:
        frames = list(opened.frames)
    clicks, predictor = [{"t": 0, "x": 30, "y": 20}, {"t": 5, "x": 9, "y": 50}], Cotracker3Predictor(model)
    with serving(tmp_path / "served", Cotracker3Tracker(model) if kind else predictor) as server:
        upload(server, video)
        for is_backward in (False, True):
            *lines, last = ask_lines(server, "video/1/track", {"points": clicks, "backward": is_backward})
            assert last == {"finished": True} and len(lines) == NUM_FRAMES
            expected = predictor.track(frames, np.array([[0.0, 20, 30], [5.0, 50, 9]]), is_backward=is_backward)
            for t, line in enumerate(lines):
                shown = np.array(line["points"])
                known = np.flatnonzero(expected.is_known[t])
                np.testing.assert_array_equal(shown[:, 0], known)
                np.testing.assert_allclose(shown[:, 1:3], expected.points[t, known], atol=0.006)
                np.testing.assert_array_equal(shown[:, 3], expected.visible[t, known])
            assert len(lines[4]["points"]) == (1 if kind and not is_backward else 2)
        assert ask(server, "video/1/tracks.csv")[2].count(b"\n") == 1 + 2 * NUM_FRAMES
        assert ask_lines(server, "video/1/film", {})[-1] == {"finished": True}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_weights(path, TASKS["lbm"].build(RECIPE.model), RECIPE)
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-frames", "1"], "--max-frames must be 2 or more"),
        (["--port", "65536"], "--port in 0..65535"),
        (["--memory-size", "0"], "memory_size=0"),
        (["--model", "cotracker3_online"], "weights.safetensors holds lbm"),
        (["--device", "cuda:99"], "--device cuda:99"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(weights, capsys, options, message):
    assert main(["--weights", str(weights), "--device", "cpu", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


def test_a_taken_port_and_missing_weights_are_one_line(weights, server, capsys, tmp_path):
    assert main(["--weights", str(weights), "--device", "cpu", "--port", str(server.server_port)]) == 2
    assert "give another one with --port" in capsys.readouterr().err
    assert main(["--weights", str(tmp_path / "none.safetensors"), "--device", "cpu"]) == 2
    assert "not a readable safetensors file" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_and_deletes_its_files_at_the_end(weights, video, tmp_path, number):
    (tmp_path / "temporary").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary")}
    command = [sys.executable, "-m", "trainer.demo", "--weights", str(weights), "--port", "0", "--device", "cpu"]
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True)
    with process:
        port, token = re.match(r"http://127.0.0.1:(\d+)/([\w-]+)/ ", process.stdout.readline()).groups()
        there = SimpleNamespace(server_port=int(port), token=token)
        assert upload(there, video)["video"]["num_frames"] == NUM_FRAMES
        assert ask_lines(there, "video/1/track", {"points": [{"t": 0, "x": 9, "y": 9}]})[-1] == {"finished": True}
        (folder,) = (tmp_path / "temporary").glob("frameline-demo-*")
        assert (folder / "1" / "tracks.npz").is_file()
        process.send_signal(number)
        assert process.wait(30) == 0
    assert not folder.exists()
