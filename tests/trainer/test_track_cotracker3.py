"""The command that tracks a video, with CoTracker3: offline and online, grids, masks, all pixels, both ways."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from shards.film import point_colours, write_mp4
from tests.small_cotracker3 import ONLINE, SMALL, make_model, make_video
from trainer.answers import track_both_ways
from trainer.checkpoint import save_weights
from trainer.config import DataConfig, Recipe, TrainingConfig, compose
from trainer.follow import Rows, follow
from trainer.models import TASKS
from trainer.models.cotracker3.predictor import Cotracker3Predictor
from trainer.models.cotracker3.stream import Cotracker3Tracker
from trainer.predict import load_model
from trainer.query_points import keep_inside, make_all_pixels, make_grid, read_mask
from trainer.track import load_tracker, main, paint
from trainer.tracks_file import read_tracks
from trainer.video import open_video

NUM_FRAMES, HEIGHT, WIDTH = 11, 40, 61
KINDS = {
    "offline": {"predictor_visibility_threshold": 0.48},
    "online": ONLINE | {"visibility_threshold": 0.15},
}
LBM = {"input_size": [64, 96], "dim": 32, "backbone_width": 8, "num_layers": 2, "memory_size": 3, "dropout": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("track")


def save(path, kind):
    recipe = Recipe(
        stage=kind, exp_name=kind, model={"name": "cotracker3"} | SMALL | KINDS[kind],
        data=DataConfig(dataset="none"), training=TrainingConfig(num_steps=1),
    )  # fmt: skip
    save_weights(path, make_model(**KINDS[kind]), recipe)
    return path


@pytest.fixture(scope="module")
def weights(folder):
    return {kind: save(folder / f"{kind}.safetensors", kind) for kind in KINDS}


@pytest.fixture(scope="module")
def lbm_weights(folder):
    torch.manual_seed(0)
    recipe = compose("lbm", [f"model.{key}={value}".replace(" ", "") for key, value in LBM.items()])
    save_weights(folder / "lbm.safetensors", TASKS["lbm"].build(recipe.model), recipe)
    return folder / "lbm.safetensors"


@pytest.fixture(scope="module")
def video(folder):
    write_mp4(
        (np.pad(frame, ((0, 0), (0, 1), (0, 0))) for frame in make_video(NUM_FRAMES)), Fraction(25), folder / "in.mp4"
    )
    return folder / "in.mp4"


@pytest.fixture(scope="module")
def frames(video):
    with open_video(video) as opened:
        return np.stack(list(opened.frames))


@pytest.fixture(scope="module")
def mask_path(folder):
    labels = np.zeros((HEIGHT, WIDTH + 1), np.uint8)
    labels[10:30, 20:50] = 3
    picture = Image.fromarray(labels, "P")
    picture.putpalette([0, 0, 0, 9, 9, 9, 0, 0, 0, 0, 0, 0])  # the index counts, not its colour
    picture.save(folder / "mask.png")
    return folder / "mask.png"


def run(weights, video, *options):
    return main(["--weights", str(weights), "--video", str(video), *map(str, options)])


def assert_equal(tracks, expected):
    np.testing.assert_allclose(tracks.tracks, expected.points.swapaxes(0, 1), atol=1e-4)
    np.testing.assert_array_equal(tracks.visible, expected.visible.T)
    np.testing.assert_allclose(tracks.uncertainty, expected.uncertainty.T, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_tracks_are_those_of_the_whole_video_call(weights, video, frames, tmp_path, capsys, kind):
    (tmp_path / "points.csv").write_text("t,x,y\n0,10.5,20\n9,30,31\n4,59.5,5\n")
    options = ("--points", tmp_path / "points.csv", "--out", tmp_path / "out.mp4", "--tracks", tmp_path / "out.npz")
    assert run(weights[kind], video, *options, "--model", f"cotracker3_{kind}") == 0
    assert f"{tmp_path / 'out.npz'}: 3 points, {NUM_FRAMES} frames" in capsys.readouterr().out
    tracks = read_tracks(tmp_path / "out.npz")
    expected = Cotracker3Predictor(make_model(**KINDS[kind])).track(frames, tracks.query_points)
    assert_equal(tracks, expected)
    assert 0 < tracks.visible.mean() < 1
    late = tracks.visible[1, :9] | (tracks.uncertainty[1, :9] < 1)
    assert late.all() if kind == "offline" else not late.any()
    with open_video(tmp_path / "out.mp4") as drawn:
        changed = [np.abs(shown.astype(int) - frame).mean() for shown, frame in zip(drawn.frames, frames, strict=True)]
    assert len(changed) == NUM_FRAMES and min(changed) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_backward_tracks_to_the_frames_before(weights, video, frames, tmp_path, kind):
    options = ("--points", "30,20;9,9", "--query-frame", 6, "--backward", "--tracks", tmp_path / "out.npz")
    assert run(weights[kind], video, *options) == 0
    tracks = read_tracks(tmp_path / "out.npz")
    assert tracks.query_points.tolist() == [[6, 20, 30], [6, 9, 9]]
    predictor = Cotracker3Predictor(make_model(**KINDS[kind]))
    assert_equal(tracks, predictor.track(frames, tracks.query_points, is_backward=True))
    assert (
        np.abs(tracks.tracks[:, :6] - predictor.track(frames, tracks.query_points).points[:6].swapaxes(0, 1)).max()
        > 1e-3
    )


def test_lbm_tracks_backward_too(lbm_weights, video, frames, tmp_path):
    (tmp_path / "points.csv").write_text("t,x,y\n0,10.5,20\n8,30,31\n4,59.5,5\n")
    assert (
        run(lbm_weights, video, "--points", tmp_path / "points.csv", "--backward", "--tracks", tmp_path / "a.npz") == 0
    )
    tracks = read_tracks(tmp_path / "a.npz")
    model, _ = load_model(lbm_weights, "cpu")
    points, visible = track_both_ways(model, frames, tracks.query_points, None)
    np.testing.assert_allclose(tracks.tracks, points.swapaxes(0, 1), atol=1e-4)
    np.testing.assert_array_equal(tracks.visible, visible.T)
    assert (tracks.uncertainty < 1).all()


def test_a_grid_in_a_mask_has_support_and_a_plain_grid_has_none(weights, video, frames, mask_path, tmp_path):
    predictor, npz = Cotracker3Predictor(make_model(**KINDS["offline"])), tmp_path / "out.npz"
    assert run(weights["offline"], video, "--grid", 5, "--query-frame", 2, "--tracks", npz) == 0
    plain = read_tracks(npz)
    grid = make_grid("5", (HEIGHT, WIDTH + 1)) + np.array([2, 0, 0])
    np.testing.assert_allclose(plain.query_points, grid)
    assert_equal(plain, predictor.track(frames, grid, has_support=False))
    assert run(weights["offline"], video, "--grid", 5, "--query-frame", 2, "--mask", mask_path, "--tracks", npz) == 0
    masked = read_tracks(npz)
    inside = [row for row in grid.tolist() if 10 <= row[1] < 30 and 20 <= row[2] < 50]
    assert masked.query_points.tolist() == inside and 0 < len(inside) < 25
    assert_equal(masked, predictor.track(frames, masked.query_points, has_support=True))


@pytest.mark.parametrize("kind", KINDS)
def test_all_pixels_of_a_mask_are_tracked(weights, video, frames, mask_path, tmp_path, kind):
    options = ("--dense", "--mask", mask_path, "--max-frames", 4, "--tracks", tmp_path / "out.npz")
    assert run(weights[kind], video, *options) == 0
    tracks = read_tracks(tmp_path / "out.npz")
    assert tracks.tracks.shape == (20 * 30, 4, 2)
    query_tyx = keep_inside(make_all_pixels((HEIGHT, WIDTH + 1)), read_mask(mask_path, (HEIGHT, WIDTH + 1)))
    predictor = Cotracker3Predictor(make_model(**KINDS[kind]))
    assert_equal(tracks, predictor.track(frames[:4], query_tyx, has_support=False))


def test_a_wide_video_is_taken_in_passes(weights):
    tracker, frames = load_tracker(weights["offline"], "cpu"), np.zeros((2, 4, 165, 3), np.uint8)
    query_tyx = make_all_pixels((4, 165))
    ((_, first), _) = follow(tracker, frames, query_tyx, form="dense")
    np.testing.assert_array_equal(first.points, query_tyx[:, [2, 1]].astype(np.float32))
    groups = [
        np.flatnonzero((query_tyx[:, 1] // 1 % 2 == y) & (query_tyx[:, 2] // 1 % 2 == x))
        for y in (0, 1)
        for x in (0, 1)
    ]
    expected = tracker.track(frames, query_tyx, has_support=False, groups=groups)
    (_, (_, second)) = follow(tracker, frames, query_tyx, form="dense")
    np.testing.assert_allclose(second.points, expected.points[1], atol=1e-4)


def test_all_pixels_are_painted_where_they_are_seen():
    frame = np.full((4, 6, 3), 100, np.uint8)
    points = np.array([[0.5, 0.5], [5.9, 3.9], [2.5, 2.5], [3.5, 1.5], [-0.5, 1], [6.0, 1]], np.float32)
    visible, begun = np.array([1, 1, 0, 1, 1, 1], bool), np.array([1, 1, 1, 0, 1, 1], bool)
    rows = Rows(points=points, visible=visible, uncertainty=np.zeros(6), begun=begun)
    (picture,) = paint([(frame, rows)], 6)
    for number, (x, y) in enumerate([(0, 0), (5, 3)]):
        np.testing.assert_allclose(picture[y, x], 40 + 0.6 * np.array(point_colours(6)[number]), atol=1)
    assert (picture != 100).any(2).sum() == 2 and (frame == 100).all()


def test_masks_of_many_kinds(tmp_path):
    expected = np.array([[True, False], [False, True]])
    for name, picture in {
        "grey.png": Image.fromarray(expected.astype(np.uint8)),
        "bits.png": Image.fromarray(expected),
        "deep.png": Image.fromarray(expected.astype(np.uint16) * 40000),
        "colour.png": Image.fromarray(np.stack([expected * 0, expected * 9, expected * 0], -1).astype(np.uint8)),
        "alpha.png": Image.fromarray(np.stack([*[expected * 9] * 3, expected * 0 + 255], -1).astype(np.uint8)),
    }.items():
        picture.save(tmp_path / name)
        np.testing.assert_array_equal(read_mask(tmp_path / name, (2, 2)), expected, err_msg=name)
    corners = np.array([[0, 0.0, 0.0], [0, 2.0, 2.0], [0, 0.5, 1.5]])
    assert keep_inside(corners, expected).tolist() == corners[:2].tolist()  # the last pixel has the far edge


def test_mistakes_are_one_line_and_leave_nothing(weights, lbm_weights, video, mask_path, tmp_path, capsys):
    Image.new("L", (WIDTH + 1, HEIGHT)).save(tmp_path / "black.png")
    Image.new("L", (9, 9), 255).save(tmp_path / "small.png")
    (tmp_path / "points.csv").write_text("t,x,y\n0,10.5,20\n")
    offline, online, npz = weights["offline"], weights["online"], ("--tracks", tmp_path / "out.npz")
    cases = [
        ((offline, "--grid", 0), "the number of points a side"),
        ((offline, "--grid", 3, "--mask", tmp_path / "no.png"), "no.png: not a picture that can be read"),
        ((offline, "--grid", 3, "--mask", tmp_path / "points.csv"), "points.csv: not a picture that can be read"),
        ((offline, "--grid", 3, "--mask", tmp_path / "small.png"), "small.png: is 9x9, the video 62x40"),
        ((offline, "--grid", 3, "--mask", tmp_path / "black.png"), "none of the 9 points lies in the mask"),
        (
            (offline, "--grid", 3, "--query-frame", NUM_FRAMES),
            "query frames must lie in the frames that are tracked, 0..10",
        ),
        ((online, "--grid", 3, "--query-frame", -1), "query frames must lie in the frames that are tracked"),
        ((online, "--points", tmp_path / "points.csv", "--query-frame", 1), "says itself in which frame a point is"),
        ((online, "--points", "64.5,3"), "point 0 at (64.5, 3) is outside the frame of 62x40 pixels"),
        ((offline, "--points", "nan,3"), "not a finite position"),
        ((offline, "--grid", 3, "--model", "lbm"), "offline.safetensors holds cotracker3_offline"),
        ((online, "--grid", 3, "--model", "cotracker3_offline"), "online.safetensors holds cotracker3_online"),
        ((lbm_weights, "--grid", 3, "--model", "cotracker3_online"), "lbm.safetensors holds lbm"),
        ((online, "--grid", 3, "--memory-size", 4), "cotracker3_online, which has no memory"),
        ((offline, "--grid", 3, "--input-size", "60x90"), "must be multiples of 4"),
    ]
    for (model, *options), message in cases:
        assert run(model, video, *options, *npz) == 2, message
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1, error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["black.png", "points.csv", "small.png"]
    for options in (("--grid", "3", "--dense"), ()):
        with pytest.raises(SystemExit):
            run(online, video, *options, *npz)


@pytest.mark.parametrize("kind", KINDS)
def test_a_video_that_shrinks_or_ends_too_early_is_an_error(weights, kind):
    tracker = load_tracker(weights[kind], "cpu")
    assert isinstance(tracker, Cotracker3Predictor if kind == "offline" else Cotracker3Tracker)
    frames = np.zeros((3, HEIGHT, WIDTH, 3), np.uint8)
    for is_backward in (False, True):
        with pytest.raises(ValueError, match="frame 2 is 61x30, the first one was 61x40"):
            list(follow(tracker, [*frames[:2], frames[2, :30]], np.array([[0.0, 1, 1]]), is_backward=is_backward))
        with pytest.raises(ValueError, match="ended after 3 frames, before the query frame 7"):
            list(follow(tracker, frames, np.array([[0.0, 1, 1], [7.0, 1, 1]]), is_backward=is_backward))


def test_single_points_at_evaluation_are_a_setting_of_cotracker3(weights, lbm_weights):
    assert load_model(weights["offline"], "cpu", single_point=True)[0].config.single_point
    assert not load_model(weights["offline"], "cpu")[0].config.single_point
    with pytest.raises(ValueError, match="single_point"):
        load_model(lbm_weights, "cpu", single_point=True)


def test_a_larger_input_is_looked_at(weights, frames):
    tracker = load_tracker(weights["offline"], "cpu", input_size=(128, 192))
    assert tracker.model.config.input_size == (128, 192)
    assert len(list(follow(tracker, frames[:3], np.array([[0.0, 1, 1]])))) == 3
