"""CoTracker3's training samples: queries, candidates, lengths, far points; earlier recipes stay what they were."""

import dataclasses

import numpy as np
import pytest
import torch

from shards import ClipStore, pack_clips, write_index
from tests.conftest import make_clip
from trainer.augment import candidate_frames
from trainer.batch import choose_points, choose_queries, make_loader, make_sample, window_length
from trainer.config import DataConfig, as_dict, compose, from_dict, recipe_digest
from trainer.framing import centre_framing, cut_frame, move_points
from trainer.models import TASKS
from trainer.models.cotracker3.model import to_centres

CONFIG = DataConfig(dataset="toy", num_frames=6, num_points=8, augment=False)
STEPS = ["training.num_epochs=null", "training.num_steps=6"]


def pack(tmp_path, *clips):
    entry = tmp_path / "own" / "shard-000000.json"
    pack_clips(clips, entry.with_suffix(""))
    write_index([entry], "own", entry.with_name("index.json"))
    return entry.with_name("index.json")


def hide_until(clip, first):
    """The clip with every point hidden before its frame of `first` (N,)."""
    visible = np.arange(len(clip.video))[:, None] >= np.array(first)
    return dataclasses.replace(clip, visible=visible)


def test_queries_are_at_the_first_visible_frame_but_for_the_random_share():
    first = np.arange(40) % 5
    visible = np.arange(50)[:, None] >= first
    tracks = np.random.default_rng(0).random((50, 40, 2))
    queries = choose_queries(tracks, visible, 0.25, np.random.default_rng(0))
    assert (queries[10:, 0] == first[10:]).all()
    assert (queries[:10, 0] > first[:10]).sum() >= 8
    np.testing.assert_array_equal(queries[:, 1:], tracks[queries[:, 0].astype(int), np.arange(40)].astype(np.float32))


def test_random_queries_are_uniform_over_visible_frames():
    visible = np.zeros((6, 6000), bool)
    visible[[1, 2, 5]] = True
    queries = choose_queries(np.zeros((6, 6000, 2)), visible, 1.0, np.random.default_rng(0))
    shares = np.bincount(queries[:, 0].astype(int), minlength=6) / 6000
    np.testing.assert_allclose(shares, [0, 1 / 3, 1 / 3, 0, 0, 1 / 3], atol=0.03)


def test_candidates_are_seen_in_the_first_the_middle_and_the_last_frame():
    for middle, last, expected in ((0, 0, [0]), (1, 0, [0, 3]), (0, 1, [0, 5]), (1, 1, [0, 3, 5])):
        config = dataclasses.replace(CONFIG, sample_vis_middle_frame=bool(middle), sample_vis_last_frame=bool(last))
        assert candidate_frames(6, config) == expected
    visible = np.zeros((6, 5), bool)
    visible[0, 0] = visible[[0, 3], 1] = visible[3, 2] = visible[5, 3] = visible[2, 4] = True
    drawn = choose_points(visible, 3000, np.random.default_rng(0), [0, 3, 5])
    np.testing.assert_allclose(np.bincount(drawn, minlength=5) / 3000, [0.2, 0.4, 0.2, 0.2, 0], atol=0.03)
    assert sorted(choose_points(visible, 5, np.random.default_rng(0), [0, 3, 5])) == [0, 1, 1, 2, 3]


def test_a_point_that_appears_later_is_tracked_from_there(tmp_path):
    clip = hide_until(make_clip("late", num_frames=6, num_points=8, depth=False), [0, 3, 3, 3, 5, 5, 5, 5])
    store = ClipStore(pack(tmp_path, clip))
    config = dataclasses.replace(CONFIG, num_points=200, random_query_share=0.0)
    for settings, frames in (
        ({}, {0}),
        ({"sample_vis_middle_frame": True}, {0, 3}),
        ({"sample_vis_middle_frame": True, "sample_vis_last_frame": True}, {0, 3, 5}),
    ):
        sample = make_sample(store, 0, dataclasses.replace(config, **settings), np.random.default_rng(0))
        assert set(sample["queries"][:, 0].astype(int)) == frames
        assert "valid" not in sample


def test_a_clip_without_candidates_names_the_frames(tmp_path):
    clip = hide_until(make_clip("late", num_frames=8, num_points=2, depth=False), [7, 7])
    store = ClipStore(pack(tmp_path, clip))
    config = dataclasses.replace(CONFIG, num_frames=8, sample_vis_middle_frame=True)
    with pytest.raises(ValueError, match="clip late: no point is visible in frames 0, 4; leave this clip out"):
        make_sample(store, 0, config, np.random.default_rng(0))


def test_tracks_that_are_ever_far_are_not_drawn_and_a_sample_of_nothing_else_is_not_valid(tmp_path):
    clip = make_clip("far", num_frames=6, num_points=3, depth=False)
    tracks, visible = clip.tracks.copy(), np.ones((6, 3), bool)
    tracks[4, 1:] = (16.0, 1016.0)  # 1,000 px below the centre of 32 x 32
    visible[4, 1:] = False
    store = ClipStore(pack(tmp_path, dataclasses.replace(clip, tracks=tracks, visible=visible)))
    config = dataclasses.replace(CONFIG, num_points=50, max_distance=1000.0)
    sample = make_sample(store, 0, config, np.random.default_rng(0))
    assert sample["valid"].shape == (6, 50) and sample["valid"].all()
    np.testing.assert_array_equal(sample["tracks"], np.repeat(tracks[:, :1], 50, 1))
    sample = make_sample(store, 0, dataclasses.replace(config, max_distance=1000.5), np.random.default_rng(0))
    assert len(np.unique(sample["tracks"][4], axis=0)) == 2
    sample = make_sample(store, 0, dataclasses.replace(config, max_distance=1.0e-3), np.random.default_rng(0))
    assert not sample["valid"].any()


def test_a_sample_that_is_not_valid_trains_visibility_alone():
    model = TASKS["cotracker3"].build(SMALL)
    tracks = torch.rand(2, 6, 4, 2) * 32
    batch = {
        "video": torch.randint(0, 256, (2, 6, 32, 32, 3), dtype=torch.uint8),
        "queries": torch.cat([torch.zeros(2, 4, 1), tracks[:, 0]], -1),
        "tracks": tracks,
        "visible": torch.rand(2, 6, 4) < 0.5,
        "valid": torch.zeros(2, 6, 4, dtype=torch.bool),
    }
    losses = TASKS["cotracker3"].losses(model.train(), batch)
    assert losses["visible_loss"] == losses["invisible_loss"] == 0
    assert losses["visibility_loss"] > 0
    batch["valid"][1] = True
    assert TASKS["cotracker3"].losses(model, batch)["visible_loss"] > 0


SMALL = {
    "name": "cotracker3",
    "window": 6,
    "input_size": [32, 32],
    "encoder_widths": [8, 8, 8, 8],
    "feature_dim": 8,
    "num_levels": 2,
    "radius": 1,
    "correlation_dim": 8,
    "dim": 16,
    "num_heads": 2,
    "num_rounds": 1,
    "num_virtual_tracks": 4,
    "num_iterations": 2,
}


def lengths(index, *, start=0, rank=0, **settings):
    recipe = compose("lbm", [*STEPS, "training.batch_size=2", "training.accumulation_steps=2"])
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(CONFIG, **settings))
    loader = make_loader(recipe, index, start=start, num_steps=12, rank=rank, world_size=2)
    return [tuple(batch["video"].shape[:2]) for batch in loader]


def test_a_step_has_one_length_on_all_ranks_and_after_a_resumption(dataset):
    index = dataset(num_clips=6, num_frames=9)
    found = lengths(index, num_frames=8, min_frames=3, num_workers=2)
    assert all(size == 4 for size, _ in found), "batches of one step are rectangular"
    assert len({length for _, length in found}) >= 3 and all(3 <= length <= 8 for _, length in found)
    assert lengths(index, num_frames=8, min_frames=3, rank=1) == found
    assert lengths(index, num_frames=8, min_frames=3, start=7) == found[7:]
    assert lengths(index, num_frames=8) == [(4, 8)] * 12


def test_lengths_are_uniform_between_their_bounds():
    config = dataclasses.replace(CONFIG, num_frames=59, min_frames=30)
    drawn = [window_length(config, 42, step) for step in range(6000)]
    counts = np.bincount(drawn, minlength=60)
    assert counts[:30].sum() == 0 and len(counts) == 60 and (abs(counts[30:] - 200) < 60).all()


def test_our_mirror_is_exact_where_the_published_one_is_a_pixel_off():
    """In coordinates whose pixel centres are whole numbers a mirror is x -> W - 1 - x; the reference takes W - x."""
    video = np.zeros((1, 5, 8, 3), np.uint8)
    video[0, 1, 2] = 255
    point = np.array([[[2.5, 1.5]]], np.float32)  # the centre of that pixel, raster
    framing = dataclasses.replace(centre_framing(1, (5, 8), CONFIG), mirrored=(True, True))
    crop = np.empty_like(video[0])
    cut_frame(video[0], framing, 0, crop)
    ((row,), (column,), _) = (np.unique(axis) for axis in np.nonzero(crop))
    before, after = (to_centres(torch.from_numpy(x))[0, 0] for x in (point, move_points(point, framing)))
    assert after.tolist() == [column, row] == [8 - 1 - before[0], 5 - 1 - before[1]] == [5, 3]


def test_stages_have_the_published_settings():
    online, offline = compose("cotracker3_online"), compose("cotracker3_offline")
    assert (online.data.num_frames, online.data.min_frames, online.data.max_frame_stride) == (64, None, 1)
    assert (offline.data.num_frames, offline.data.min_frames, offline.data.max_frame_stride) == (59, 30, 4)
    assert (online.data.num_points, offline.data.num_points) == (384, 512)
    assert (online.model["window"], offline.model["window"]) == (16, 60)
    assert (online.model["online"], offline.model["online"]) == (True, False)
    assert (online.data.random_query_share, offline.data.random_query_share) == (0.25, 1.0)
    assert (online.data.sample_vis_last_frame, offline.data.sample_vis_last_frame) == (False, True)
    for recipe in (online, offline):
        assert recipe.data.sample_vis_middle_frame and recipe.data.augment and not recipe.data.replace_probability
        assert (recipe.data.max_distance, recipe.data.crop_size) == (1000.0, (384, 512))
        assert (recipe.optimizer.learning_rate, recipe.optimizer.weight_decay) == (5.0e-4, 5.0e-4)
        assert (recipe.training.num_steps, recipe.training.batch_size, recipe.training.seed) == (50_000, 1, 42)
        model = TASKS[recipe.model["name"]].build(recipe.model)
        assert sum(parameter.numel() for parameter in model.parameters()) == 25_385_700


@pytest.mark.parametrize("name", ["cotracker3_offline", "cotracker3_online"])
def test_small_models_are_the_same_code(name):
    config = TASKS["cotracker3"].build(compose(name, [f"model={name}_small"]).model).config
    assert config.online == (name == "cotracker3_online")
    assert config.window == (8 if config.online else 12)


def test_what_samples_are_made_of_is_part_of_the_identity():
    plain = compose("lbm")
    for key, value in (
        ("min_frames", 4),
        ("sample_vis_middle_frame", True),
        ("sample_vis_last_frame", True),
        ("max_distance", 9.0),
    ):
        changed = dataclasses.replace(plain, data=dataclasses.replace(plain.data, **{key: value}))
        assert recipe_digest(changed) != recipe_digest(plain)
        assert from_dict(as_dict(changed)) == changed


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.min_frames=65", r"data\.min_frames=65 must lie in 1\.\.64 \(data\.num_frames\)"),
        ("data.min_frames=0", "must lie in"),
        ("data.max_distance=0", "must be positive, or null"),
        ("data.sample_vis_1st_frame=true", "did you mean 'data.sample_vis_last_frame'"),
    ],
)
def test_a_mistake_is_named(override, message):
    with pytest.raises(ValueError, match=message):
        compose("cotracker3_online", [override])
