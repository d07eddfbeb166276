"""Teachers: who they are, what of their words counts, and that a step decides who speaks."""

import collections
import dataclasses

import numpy as np
import pytest
import torch

from eval.predictions import VideoPrediction, write_predictions
from shards import ClipStore
from tests.trainer.toy_videos import SMALL, SMALL_LBM, pack_videos, save_model
from trainer.batch import collate, sample_rng
from trainer.config import DataConfig, as_dict, compose, from_dict, recipe_digest
from trainer.pseudo.config import PseudoLabelConfig
from trainer.pseudo.keypoints import spread_points
from trainer.pseudo.labels import Labeller, make_labeller
from trainer.pseudo.samples import make_video_sample
from trainer.pseudo.teachers import FileTeacher, ModelTeacher

CONFIG = DataConfig(dataset="videos", num_frames=6, max_frame_stride=2, num_points=16, augment=False)
MODELS = {"online": "cotracker3_online_real", "offline": "cotracker3_offline_real", "lbm": "lbm"}


def make_batch(index, config=CONFIG, numbers=(0, 1)):
    store = ClipStore(index)
    return collate([make_video_sample(store, n, config, sample_rng(0, 0, store.keys[n])) for n in numbers])


def make_teacher(tmp_path, kind, visible_above=0.5):
    words = SMALL_LBM if kind == "lbm" else SMALL
    return ModelTeacher(kind, save_model(tmp_path / f"{kind}.safetensors", MODELS[kind], *words), visible_above)


@pytest.mark.parametrize("kind", MODELS)
def test_what_a_model_says_and_what_of_it_counts(tmp_path, kind):
    index, teacher = pack_videos(tmp_path), make_teacher(tmp_path, kind)
    batch = make_batch(index)
    batch["queries"][:, 3, 0] = 2  # a query later than the others
    labels = teacher.label(batch, np.random.default_rng(0))
    assert labels.tracks.shape == (2, 6, 16, 2) and labels.visible.shape == labels.valid.shape == (2, 6, 16)
    torch.testing.assert_close(labels.queries, batch["queries"])
    assert not labels.tracks.requires_grad and not any(p.requires_grad for p in teacher.model.parameters())
    begun = torch.arange(6)[:, None] >= batch["queries"][:, None, :, 0]
    assert not labels.valid[~begun].any() if kind != "offline" else labels.valid.all()
    if kind == "online":
        assert labels.valid[begun].all()
    if kind == "lbm":
        torch.testing.assert_close(labels.valid, begun & labels.visible)
    assert not teacher.model.training


@pytest.mark.parametrize("kind", ["online", "offline", "lbm"])
def test_visible_is_a_probability_above_the_threshold(tmp_path, kind):
    index, teacher = pack_videos(tmp_path), make_teacher(tmp_path, kind)
    batch, rng = make_batch(index), np.random.default_rng
    extra = torch.from_numpy(spread_points(teacher.num_spread, 6, (64, 64), rng(0))).expand(2, -1, 3)
    asked = torch.cat([batch["queries"], extra], 1)
    logit = teacher.model.track(batch["video"].permute(0, 1, 4, 2, 3).float(), asked).visibility_logit[:, :, :16]
    middle = float(logit.sigmoid().median())
    teacher.visible_above = middle
    torch.testing.assert_close(teacher.label(batch, rng(0)).visible, logit.sigmoid() > middle)
    assert 0 < teacher.label(batch, rng(0)).visible.float().mean() < 1


def test_extra_points_help_and_are_left_out(tmp_path):
    rng = np.random.default_rng
    online, offline, lbm = (make_teacher(tmp_path, kind) for kind in MODELS)
    assert (online.model.config.evaluation_side, online.num_spread) == (5, 0)
    assert (offline.model.config.evaluation_side, offline.num_spread) == (0, 100)
    assert lbm.num_spread == 0
    batch = make_batch(pack_videos(tmp_path))
    one, same, other = (offline.label(batch, rng(seed)).tracks for seed in (0, 0, 1))
    torch.testing.assert_close(one, same, rtol=0, atol=0)
    assert (one - other).abs().max() > 0, "points attend to each other"
    with_grid = online.label(batch, rng(0)).tracks
    online.model.config = dataclasses.replace(online.model.config, evaluation_grid=0)
    assert (online.label(batch, rng(0)).tracks - with_grid).abs().max() > 0


def test_a_sample_without_keypoints_and_a_position_that_is_not_finite_count_nowhere(tmp_path):
    teacher, batch = make_teacher(tmp_path, "offline"), make_batch(pack_videos(tmp_path))
    batch["has_keypoints"][1] = False
    labels = teacher.label(batch, np.random.default_rng(0))
    assert labels.valid[0].all() and not labels.valid[1].any()
    track = teacher.model.track

    def with_nan(video, queries):
        result = track(video, queries)
        result.points[0, 2, 5] = torch.nan
        return result

    teacher.model.track = with_nan
    labels = teacher.label(batch, np.random.default_rng(0))
    assert labels.tracks.isfinite().all()
    assert not labels.valid[0, 2, 5] and labels.valid[0].sum() == 6 * 16 - 1


def write_truth(path, store, *, query_frame=0, query_mode="first", num_frames=12, keys=None):
    """Points of the sliding videos, exactly: what moves by (1, 1) and (2, 0) pixels a frame; 64 pixels are 256."""
    steps = {"v0-00000": (1.0, 1.0), "v1-00000": (2.0, 0.0)}
    start = np.array([[20.0, 20.0], [31.5, 8.25], [60.0, 30.0], [44.0, 30.0]])
    videos = []
    for key in keys or store.keys:
        t = np.arange(num_frames)[None, :, None]
        tracks = (start[:, None] + t * np.array(steps[key])) * 4
        occluded = np.zeros(tracks.shape[:2], bool)
        occluded[1, 7] = True
        at = tracks[:, query_frame]
        queries = np.column_stack([np.full(4, float(query_frame)), at[:, ::-1]])
        videos.append(VideoPrediction(name=key, query_points=queries, tracks=tracks, occluded=occluded))
    return write_predictions(path, tracker="other", query_mode=query_mode, truth_sha256=store.sha256, videos=videos)


@pytest.mark.parametrize("augment", [False, True])
def test_a_files_tracks_lie_on_the_sample(tmp_path, augment):
    """The picture around a labelled point looks the same in all frames of the sample."""
    index = pack_videos(tmp_path)
    store = ClipStore(index)
    config = DataConfig(
        dataset="videos", num_frames=12, num_points=16, augment=augment, crop_size=(48, 56), max_padding=2,
        scale_range=(1.0, 1.0), scale_drift=0.0, crop_margin=0, crop_drift=2, eraser_probability=0.0,
        replace_probability=0.0, jitter_probability=0.0, blur_probability=0.0,
    )  # fmt: skip
    teacher = FileTeacher("other", write_truth(tmp_path / "p.npz", store), store)
    batch = make_batch(index, config)
    labels = teacher.label(batch, np.random.default_rng(0))
    assert labels.queries.shape == (2, 16, 3) and labels.tracks.dtype == torch.float32
    num_seen = 0
    for b in range(2):
        for n in range(16):
            t0, x0, y0 = labels.queries[b, n].tolist()
            torch.testing.assert_close(labels.tracks[b, int(t0), n], torch.tensor([x0, y0]))
            frames = labels.valid[b, :, n].nonzero()[:, 0].tolist()
            x, y = labels.tracks[b, :, n].floor().long().unbind(-1)
            colours = [batch["video"][b, t, y[t], x[t]].float() for t in frames]
            assert all((colour - colours[0]).abs().max() < 8 for colour in colours)
            num_seen += len(colours)
    assert num_seen > 100
    inside = ((labels.tracks >= 0) & (labels.tracks < torch.tensor([56, 48]))).all(-1)
    assert not labels.valid[~inside].any() and not inside.all()


def test_a_files_queries_must_lie_in_the_window(tmp_path):
    index = pack_videos(tmp_path)
    store, batch = ClipStore(index), make_batch(index)
    teacher = FileTeacher("other", write_truth(tmp_path / "p.npz", store, query_frame=11), store)
    batch["frames"][0] = torch.tensor([1, 2])  # frames 1 3 5 7 9 11: the query is in the last of them
    batch["frames"][1] = torch.tensor([0, 2])
    labels = teacher.label(batch, np.random.default_rng(0))
    assert not labels.valid[1].any(), "nothing is asked in this window"
    torch.testing.assert_close(labels.queries[1], batch["queries"][1])
    assert (labels.queries[0, :, 0] == 5).all() and labels.valid[0, 5].any() and not labels.valid[0, :5].any()
    both = FileTeacher("other", write_truth(tmp_path / "q.npz", store, query_frame=11, query_mode="strided"), store)
    assert both.label(batch, np.random.default_rng(0)).valid[0, :5].any(), "strided predictions know both sides"


def test_a_file_of_other_clips_is_refused(tmp_path):
    index = pack_videos(tmp_path)
    store = ClipStore(index)
    path = write_truth(tmp_path / "p.npz", store, keys=["v0-00000"])
    with pytest.raises(ValueError, match=r"p\.npz: no predictions for clip v1-00000 .*1 are missing"):
        FileTeacher("other", path, store)
    teacher = FileTeacher("other", write_truth(tmp_path / "q.npz", store, num_frames=9), store)
    with pytest.raises(ValueError, match="v0-00000 has 9 frames, the clip has 12"):
        teacher.label(make_batch(index), np.random.default_rng(0))


def test_the_teacher_follows_from_seed_and_step():
    labeller = Labeller(["a", "b", "c"], seed=4)
    drawn = [labeller.teacher_of(step) for step in range(300)]
    assert drawn == [Labeller(["a", "b", "c"], seed=4).teacher_of(step) for step in range(300)]
    assert drawn != [Labeller(["a", "b", "c"], seed=5).teacher_of(step) for step in range(300)]
    assert all(70 < count < 130 for count in collections.Counter(drawn).values())


def test_teachers_of_a_recipe(tmp_path):
    index = pack_videos(tmp_path)
    save_model(tmp_path / "online.safetensors", MODELS["online"], *SMALL)
    save_model(tmp_path / "lbm.safetensors", "lbm", *SMALL_LBM)
    write_truth(tmp_path / "p.npz", ClipStore(index))
    files = [tmp_path / name for name in ("online.safetensors", "lbm.safetensors", "p.npz")]
    teachers = f"pseudo_labels.teachers=[{','.join(map(str, files))}]"
    recipe = compose("cotracker3_online_real", [*SMALL, teachers])
    assert recipe.pseudo_labels.files == files
    labeller = make_labeller(recipe, files, index, torch.device("cpu"))
    batch = make_batch(index)
    labelled = {type(labeller.teacher_of(step)).__name__: labeller.label(batch, step) for step in range(30)}
    assert labelled.keys() == {"ModelTeacher", "FileTeacher"}
    assert all(set(b) == {"video", "queries", "tracks", "visible", "valid"} for b in labelled.values())
    with pytest.raises(ValueError, match="pseudo_labels train cotracker3 only, not lbm"):
        make_labeller(dataclasses.replace(recipe, model={"name": "lbm"}), files, index, torch.device("cpu"))
    assert make_labeller(compose("lbm"), [], index, torch.device("cpu")) is None


def test_recipes_with_and_without_pseudo_labels():
    recipe = compose("cotracker3_offline_real")
    assert recipe.pseudo_labels == PseudoLabelConfig(teachers=["cotracker3_online", "cotracker3_offline", "lbm"])
    assert [str(path) for path in recipe.pseudo_labels.files][2] == "results/lbm/weights.safetensors"
    assert from_dict(as_dict(recipe)) == recipe
    assert compose("lbm").pseudo_labels is None
    other = compose("cotracker3_offline_real", ["pseudo_labels.visible_above=0.8"])
    assert recipe_digest(other) != recipe_digest(recipe)
    for words, message in (
        ("teachers=[]", "name at least one stage"),
        ("teachers=[3]", "name at least one stage"),
        ("visible_above=1.0", "at least 0 and below 1"),
        ("visible_abov=0.5", "did you mean 'pseudo_labels.visible_above'"),
    ):
        with pytest.raises(ValueError, match=message):
            compose("cotracker3_offline_real", [f"pseudo_labels.{words}"])
