"""Training samples: one order for all processes and ranks, resumable at any step, only used frames decoded, damage."""

import dataclasses
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shards import ClipStore, pack_clips, write_index
from tests.conftest import make_clip
from trainer.batch import (
    ClipBatches,
    Loader,
    StepSampler,
    choose_frames,
    choose_points,
    choose_queries,
    collate,
    make_loader,
    make_sample,
    sample_rng,
)
from trainer.config import DataConfig, Recipe, compose, recipe_digest

REPOSITORY = Path(__file__).parents[2]
DATA = DataConfig(dataset="toy", num_frames=4, num_points=10, patch_size=(2, 12), max_padding=3, crop_margin=2)


def recipe_with(batch_size=2, **data) -> Recipe:
    recipe = compose("lbm", ["training.num_epochs=null", "training.num_steps=6", f"training.batch_size={batch_size}"])
    return dataclasses.replace(recipe, data=dataclasses.replace(DATA, **data))


def batches(index, *, start=0, rank=0, world_size=1, **settings):
    recipe = recipe_with(**settings)
    return list(make_loader(recipe, index, start=start, num_steps=6, rank=rank, world_size=world_size))


def assert_equal(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            assert torch.equal(a[key], b[key]), key


def damage(index, key, member="frame000.png"):
    """Flip a byte in the middle of a member."""
    for tar in index.parent.glob("*.tar"):
        with tarfile.open(tar) as archive:
            found = [m for m in archive.getmembers() if m.name == f"{key}.{member}"]
        if found:
            content = bytearray(tar.read_bytes())
            content[found[0].offset_data + found[0].size // 2] ^= 0x55
            tar.write_bytes(content)
            return
    raise AssertionError(f"no member {key}.{member}")


def test_loader_processes_never_change_what_is_read(dataset):
    index = dataset()
    expected = batches(index)
    for num_workers in (1, 2):
        assert_equal(expected, batches(index, num_workers=num_workers))
    assert_equal(expected[3:], batches(index, num_workers=2, start=3, prefetch_factor=1))


def test_resuming_at_any_step_continues_the_sequence(dataset):
    index = dataset()
    expected = batches(index)
    for start in range(1, 6):
        assert_equal(expected[start:], batches(index, start=start))


def test_ranks_share_one_order(dataset):
    index = dataset()
    whole = batches(index, batch_size=4)
    for world_size in (2, 4):
        ranks = [batches(index, rank=r, world_size=world_size, batch_size=4 // world_size) for r in range(world_size)]
        assert {len(steps) for steps in ranks} == {6}
        joined = [
            {key: torch.cat([part[key] for part in parts]) for key in parts[0]} for parts in zip(*ranks, strict=True)
        ]
        assert_equal(whole, joined)
    assert not torch.equal(whole[0]["video"][0], whole[0]["video"][1])


@settings(max_examples=25, deadline=None)
@given(
    num_clips=st.integers(5, 40),
    share=st.integers(1, 3),
    world_sizes=st.permutations([1, 2, 3, 4, 6]),
    start=st.integers(0, 9),
    accumulation=st.integers(1, 2),
)
def test_the_order_is_one_for_any_ranks_and_start(num_clips, share, world_sizes, start, accumulation):
    num_steps, recipe = start + 3, recipe_with()

    def order(world_size, first):
        training = dataclasses.replace(
            recipe.training, batch_size=share * 12 // world_size, accumulation_steps=accumulation
        )
        one = dataclasses.replace(recipe, training=training)
        ranks = [
            list(StepSampler(num_clips, one, start=first, num_steps=num_steps, rank=r, world_size=world_size))
            for r in range(world_size)
        ]
        assert len({len(steps) for steps in ranks}) == 1
        return [list(itertools.chain(*step)) for step in zip(*ranks, strict=True)]

    whole = order(1, 0)
    for world_size in world_sizes:
        assert order(world_size, start) == whole[start:]
    positions = list(itertools.chain(*whole))
    epochs = len(positions) // num_clips
    for epoch in range(epochs):
        assert sorted(number for e, number, _ in positions if e == epoch) == list(range(num_clips))


def test_a_sample_has_the_stated_shapes_and_queries_on_its_tracks(dataset):
    store = ClipStore(dataset())
    for crop_size, augment in itertools.product((None, (24, 28)), (True, False)):
        data = dataclasses.replace(DATA, crop_size=crop_size, augment=augment)
        for number in range(len(store)):
            sample = make_sample(store, number, data, sample_rng(0, 0, store.keys[number]))
            height, width = crop_size or (32, 32)
            assert sample["video"].shape == (4, height, width, 3) and sample["video"].dtype == np.uint8
            assert sample["tracks"].shape == (4, 10, 2) and sample["visible"].shape == (4, 10)
            assert sample["tracks"].dtype == sample["queries"].dtype == np.float32
            assert sample["visible"][0].all()
            seen = sample["tracks"][sample["visible"]]
            assert (seen >= 0).all() and (seen < (width, height)).all()
            t = sample["queries"][:, 0].astype(int)
            points = np.arange(10)
            assert sample["visible"][t, points].all()
            np.testing.assert_array_equal(sample["queries"][:, 1:], sample["tracks"][t, points])


def test_only_the_frames_of_the_window_are_decoded(dataset, monkeypatch):
    index = dataset(num_frames=12)
    for frame in (0, 1, 2, 3):
        damage(index, "toy-000", f"frame{frame:03d}.png")
    store, data = ClipStore(index), dataclasses.replace(DATA, max_frame_stride=2)
    asked = []
    read = store.read
    monkeypatch.setattr(store, "read", lambda number, frames: asked.append(frames) or read(number, frames=frames))
    met = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        frames = choose_frames(12, data, np.random.default_rng(seed))
        met.add(frames.start >= 4)
        if frames.start >= 4:
            make_sample(store, 0, data, rng)
        else:
            with pytest.raises(ValueError, match=r"toy-000\.frame00\d\.png has flipped bytes"):
                make_sample(store, 0, data, rng)
        assert asked[-1] == frames
    assert met == {True, False}


def test_windows_have_every_stride_that_fits_and_stay_in_the_clip():
    rng = np.random.default_rng(0)
    data = dataclasses.replace(DATA, max_frame_stride=5)
    windows = [choose_frames(12, data, rng) for _ in range(300)]
    assert {w.step for w in windows} == {1, 2, 3}  # a stride of 4 needs 13 frames
    assert all(len(range(12)[w]) == 4 and w.stop <= 12 for w in windows)
    assert {w.start for w in windows if w.step == 3} == {0, 1, 2}
    assert choose_frames(4, data, rng) == slice(0, 4, 1)


def test_points_repeat_only_when_there_are_too_few():
    visible = np.ones((3, 20), bool)
    visible[0, 15:] = False
    rng = np.random.default_rng(0)
    assert len(set(choose_points(visible, 15, rng))) == 15
    assert set(choose_points(visible, 40, rng)) <= set(range(15))


def test_the_stated_share_of_queries_is_random():
    visible = np.ones((50, 40), bool)
    queries = choose_queries(np.zeros((50, 40, 2)), visible, 0.25, np.random.default_rng(0))
    assert (queries[10:, 0] == 0).all()
    assert (queries[:10, 0] > 0).sum() >= 8


def pack(tmp_path, *clips):
    entry = tmp_path / "own" / "shard-000000.json"
    pack_clips(clips, entry.with_suffix(""))
    write_index([entry], "own", entry.with_name("index.json"))
    return entry.with_name("index.json")


def test_clips_that_cannot_be_trained_on_are_named(tmp_path):
    hidden = dataclasses.replace(make_clip("hidden", num_frames=4, depth=False), visible=np.zeros((4, 12), bool))
    corner = make_clip("corner", num_frames=4, depth=False)
    corner = dataclasses.replace(corner, tracks=np.ones_like(corner.tracks), visible=np.ones((4, 12), bool))
    store = ClipStore(pack(tmp_path, make_clip("short", num_frames=3, depth=False), hidden, corner))
    centre = dataclasses.replace(DATA, augment=False, crop_size=(8, 8))
    for number, message in (
        (0, r"clip short has 3 frames, data\.num_frames asks for 4"),
        (1, "clip hidden: no point is visible in frame 0"),
        (2, r"clip corner, frames from 0: no point .* in the crop of 8x8"),
    ):
        with pytest.raises(ValueError, match=message):
            make_sample(store, number, centre, np.random.default_rng(0))


def test_frames_of_several_sizes_are_refused_without_a_crop(tmp_path):
    store = ClipStore(pack(tmp_path, *(make_clip(f"of-{s}", num_frames=4, size=s, depth=False) for s in (32, 49))))
    samples = [make_sample(store, number, DATA, np.random.default_rng(0)) for number in (0, 1)]
    with pytest.raises(ValueError, match=r"clips of several sizes in one batch.*data\.crop_size"):
        collate(samples)
    cropped = dataclasses.replace(DATA, crop_size=(24, 32))
    samples = [make_sample(store, number, cropped, np.random.default_rng(0)) for number in (0, 1)]
    assert collate(samples)["video"].shape == (2, 4, 24, 32, 3)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_damage_stops_with_one_line_that_says_where(dataset, num_workers):
    index = dataset()
    damage(index, "toy-003", "tracks.npy")
    with pytest.raises(
        ValueError, match=r"^\S*shard-000000\.tar: member toy-003\.tracks\.npy has flipped bytes; see .*"
    ):
        batches(index, num_workers=num_workers)


def test_skipping_draws_the_same_other_clip_everywhere_and_counts(dataset, capfd):
    index = dataset()
    healthy = batches(index, on_error="skip")
    assert not torch.cat([batch["num_skipped"] for batch in healthy]).any()
    for batch, plain in zip(healthy, batches(index), strict=True):
        assert_equal([{key: value for key, value in batch.items() if key != "num_skipped"}], [plain])
    damage(index, "toy-003", "tracks.npy")
    capfd.readouterr()
    found = batches(index, on_error="skip")
    said = capfd.readouterr().err
    assert said.count("skipping clip toy-003: ") == said.count("\n") == 1
    assert "member toy-003.tracks.npy has flipped bytes" in said
    skipped = torch.cat([batch["num_skipped"] for batch in found])
    assert skipped.sum() >= 2, "six steps of two see each of six clips twice"
    assert_equal(found, batches(index, on_error="skip", num_workers=2))
    assert_equal(found[4:], batches(index, on_error="skip", start=4))
    for batch, plain in zip(found, healthy, strict=True):
        for position in range(2):
            is_same = torch.equal(batch["video"][position], plain["video"][position])
            assert is_same == (batch["num_skipped"][position] == 0)


def test_loader_processes_share_which_clips_were_named(dataset):
    index = dataset(num_clips=2)
    damage(index, "toy-001", "tracks.npy")
    loader = make_loader(recipe_with(on_error="skip", num_workers=2), index, start=0, num_steps=6, rank=0, world_size=1)
    assert sum(int(batch["num_skipped"].sum()) for batch in loader) >= 6
    assert loader.loader.dataset.is_named.tolist() == [False, True]


def test_many_skips_in_a_row_are_an_error(dataset):
    index = dataset()
    for number in range(6):
        damage(index, f"toy-{number:03d}", "visible.npy")
    with pytest.raises(ValueError, match=r"8 clips in a row cannot be used, the last because: .*visible\.npy"):
        batches(index, on_error="skip")


def test_how_data_comes_is_no_part_of_a_runs_identity():
    plain = recipe_digest(recipe_with())
    for harmless in ({"on_error": "skip"}, {"prefetch_factor": 5}, {"num_workers": 4}):
        assert recipe_digest(recipe_with(**harmless)) == plain
    for deciding in ({"hue": 0.1}, {"crop_size": (24, 32)}, {"replace_probability": 0.0}, {"max_padding": 4}):
        assert recipe_digest(recipe_with(**deciding)) != plain


def test_a_loader_process_that_dies_is_one_clear_error(dataset):
    recipe = recipe_with(num_workers=1, prefetch_factor=1)
    loader = iter(make_loader(recipe, dataset(), start=0, num_steps=6, rank=0, world_size=1))
    next(loader)
    children = multiprocessing.active_children()
    assert children
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(ChildProcessError, match=r"a loader process died .* lower data\.num_workers"):
        list(loader)


class Threads(ClipBatches):
    """Tells how many threads a loader process may use instead of reading clips."""

    def __getitem__(self, positions):
        return {"threads": torch.tensor([cv2.getNumThreads(), torch.get_num_threads()])}


def test_loader_processes_are_no_forks_and_have_one_thread(dataset):
    recipe = recipe_with(num_workers=1, prefetch_factor=3)
    sampler = StepSampler(6, recipe, start=0, num_steps=2, rank=0, world_size=1)
    loader = Loader(Threads(dataset(), recipe.data, 0), sampler)
    assert [batch["threads"].tolist() for batch in loader] == [[1, 1], [1, 1]]
    assert loader.loader.multiprocessing_context.get_start_method() == "forkserver"
    assert loader.loader.prefetch_factor == 3


def test_no_loader_process_outlives_a_killed_training(dataset):
    code = (
        "import multiprocessing, sys, time\n"
        "from pathlib import Path\n"
        "from trainer.batch import make_loader\n"
        "from trainer.config import compose\n"
        "if __name__ == '__main__':\n"
        "    data = ['data.num_frames=4', 'data.num_points=10', 'data.num_workers=2', 'data.crop_size=null']\n"
        "    recipe = compose('lbm', [*data, 'training.batch_size=1'])\n"
        "    loader = iter(make_loader(recipe, Path(sys.argv[1]), start=0, num_steps=100, rank=0, world_size=1))\n"
        "    next(loader)\n"
        "    print(*(child.pid for child in multiprocessing.active_children()), flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(dataset())]
    with subprocess.Popen(command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE) as training:
        children = [int(word) for word in training.stdout.readline().split()]
        training.kill()
    assert len(children) == 2
    deadline = time.monotonic() + 20
    while (left := [pid for pid in children if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def is_running(pid):
    """Whether a process is there and no zombie that nobody has collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
