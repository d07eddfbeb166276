"""Several data sets in one training: their shares hold, and neither ranks nor a restart change what is read."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from shards import ClipStore, mixed_ids, sample_ids
from tests.trainer.test_batch import DATA, damage, recipe_with
from tests.trainer.test_training import TINY, sha256_of
from trainer.batch import ClipBatches, StepSampler, make_loader
from trainer.config import DataConfig, Paths, compose
from trainer.launch import main
from trainer.mixture import ClipStores, clips_of_step
from trainer.run import describe_run

STAGE_1 = {"pdhuman": 0.145, "humman": 0.14, "h36m": 0.215, "bedlam_cc": 0.5}
"""BLADE's DepthNet."""
BOUND = {1: 10.83, 3: 16.27, 99: 148.2}
"""Chi-square of so many degrees of freedom is above this once in a thousand times."""


def chi_square(counts, expected):
    return float(((np.asarray(counts) - expected) ** 2 / expected).sum())


def test_shares_hold_and_clips_of_a_data_set_are_equally_likely():
    sizes, shares = (100, 40, 7, 300), list(STAGE_1.values())
    steps = [mixed_ids(sizes, shares, seed=5, step=step, batch_size=96) for step in range(500)]
    numbers = np.array(steps)[..., 1].ravel()
    counts, _ = np.histogram(numbers, np.cumsum([0, *sizes]))
    assert chi_square(counts, 48_000 * np.array(shares)) < BOUND[3]
    first = np.bincount(numbers[numbers < 100], minlength=100)
    assert chi_square(first, first.sum() / 100) < BOUND[99]


def test_neighbours_are_drawn_independently():
    numbers = [n for step in range(2000) for _, n in mixed_ids((1, 1), (0.5, 0.5), seed=0, step=step, batch_size=8)]
    same = sum(a == b for a, b in itertools.pairwise(numbers))
    rest = len(numbers) - 1 - same
    assert chi_square([same, rest], (len(numbers) - 1) / 2) < BOUND[1]


@pytest.mark.parametrize("world_size", [2, 3, 4, 12])
def test_the_global_batch_is_one_for_any_ranks(world_size):
    asked = {"seed": 3, "step": 11}
    whole = mixed_ids((9, 5), (0.3, 0.7), batch_size=24, **asked)
    each = [
        mixed_ids((9, 5), (0.3, 0.7), batch_size=24 // world_size, rank=rank, world_size=world_size, **asked)
        for rank in range(world_size)
    ]
    assert list(itertools.chain(*each)) == whole
    assert [draw for draw, _ in whole] == list(range(11 * 24, 12 * 24)), "every sample has a number of its own"
    assert whole != mixed_ids((9, 5), (0.3, 0.7), batch_size=24, seed=4, step=11)
    assert [n for _, n in whole] != [n for _, n in mixed_ids((9, 5), (0.3, 0.7), batch_size=24, seed=3, step=12)]


def test_a_data_set_alone_is_read_in_the_order_of_its_epochs():
    where = {"seed": 1, "step": 4, "batch_size": 6, "rank": 1, "world_size": 2}
    assert clips_of_step(DATA, (10,), **where) == sample_ids(10, **where)


@pytest.mark.parametrize(("sizes", "shares"), [((3, 0), (0.5, 0.5)), ((3,), (0.5, 0.5))])
def test_every_data_set_has_clips_and_a_share(sizes, shares):
    with pytest.raises(ValueError, match="each needs a clip and a share"):
        mixed_ids(sizes, shares, seed=0, step=0, batch_size=1)


@pytest.fixture
def both(dataset):
    """Indexes of two data sets, of 3 and 5 clips, in the order of their names."""
    return [dataset("alpha", num_clips=3), dataset("beta", num_clips=5)]


MIXTURE = {"dataset": "beta", "mixture": {"beta": 0.75, "alpha": 0.25}}


def test_stores_count_on_from_one_to_the_next(both):
    stores = ClipStores(both)
    assert stores.sizes == (3, 5) and len(stores) == 8
    assert stores.keys == ClipStore(both[0]).keys + ClipStore(both[1]).keys
    found = [stores.find(number) for number in range(8)]
    assert [(store.dataset, place) for store, place in found] == [
        *(("alpha", place) for place in range(3)),
        *(("beta", place) for place in range(5)),
    ]
    assert all(store.keys[place] == stores.keys[number] for number, (store, place) in enumerate(found))


def batches(indexes, *, rank=0, world_size=1, start=0, **settings):
    recipe = recipe_with(**MIXTURE, **settings)
    return list(make_loader(recipe, indexes, start=start, num_steps=4, rank=rank, world_size=world_size))


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_ranks_and_a_restart_give_the_same_samples(both):
    whole = batches(both, batch_size=4)
    for world_size in (2, 4):
        ranks = [batches(both, batch_size=4 // world_size, rank=r, world_size=world_size) for r in range(world_size)]
        joined = [
            {key: torch.cat([batch[key] for batch in step]) for key in step[0]} for step in zip(*ranks, strict=True)
        ]
        assert_equal(whole, joined)
    assert_equal(batches(both, batch_size=4, start=2), whole[2:])


def test_a_clip_that_comes_again_is_cut_another_way(both):
    sampler = StepSampler((3, 5), recipe_with(8, **MIXTURE), start=0, num_steps=3, rank=0, world_size=1)
    positions = [position for step in sampler for position in step]
    again = [p for p in positions if p[1] == positions[0][1]]
    assert len(again) > 1
    made = ClipBatches(both, recipe_with(**MIXTURE).data, seed=42)
    first, second = (made.sample(*position)["video"] for position in again[:2])
    assert not np.array_equal(first, second)


def test_another_clip_of_the_same_data_set_comes_for_one_that_is_damaged(both, capsys):
    for key in ("alpha-000", "alpha-001"):
        damage(both[0], key)
    made = ClipBatches(both, recipe_with(**MIXTURE, on_error="skip", augment=False).data, seed=0)
    whole = ClipStore(both[0]).read(2).video
    for draw in range(4):
        sample = made.sample(draw, 0, 6)  # all frames: the damaged one is among them
        assert sample["num_skipped"] >= 1
        np.testing.assert_array_equal(sample["video"], whole)
    assert "skipping clip alpha-000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ({"toy": 0.5, "b": 0.4}, "shares must be above 0 and sum to 1"),
        ({"toy": 1.0, "b": 0.0}, "shares must be above 0 and sum to 1"),
        ({"toy": 1.5, "b": -0.5}, "shares must be above 0 and sum to 1"),
        ({"toy": "all"}, "shares must be above 0 and sum to 1"),
        ({}, "shares must be above 0 and sum to 1"),
        ({"a": 0.5, "b": 0.5}, "data.dataset=toy is none of data.mixture, a, b: name one"),
    ],
)
def test_mistakes_in_a_mixture_are_named(mixture, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(dataset="toy", mixture=mixture)


def test_a_mixture_in_words():
    recipe = compose("lbm", ["data.dataset=h36m", "data.mixture={h36m:0.6,pdhuman:0.4}"])
    assert recipe.data.datasets == ["h36m", "pdhuman"] and compose("lbm").data.datasets == ["movi_f"]
    twice = ["data.dataset=a", "data.mixture={a:0.5,b:0.5}", "data.mixture={a:0.25,c:0.75}"]
    with pytest.raises(ValueError, match=r"with other keys already; write data\.mixture=null before this one"):
        compose("lbm", twice)
    assert compose("lbm", [*twice[:2], "data.mixture=null", twice[2]]).data.mixture == {"a": 0.25, "c": 0.75}
    with pytest.raises(ValueError, match="pseudo_labels are of one data set"):
        compose("cotracker3_offline_real", ["data.mixture={videos:1.0}"])


def launch(tmp_path, *overrides):
    paths = [f"paths.{name}={tmp_path / folder}" for name, folder in (("shards_root", "shards"), ("run_root", "runs"))]
    words = [*TINY, *paths, f"paths.output_dir={tmp_path / 'out'}", "training.num_steps=4", "training.save_every=1"]
    mixture = ["data.dataset=beta", "data.mixture={alpha:0.25,beta:0.75}", "training.keep_checkpoints=9"]
    return main([*words, *mixture, *overrides])


def test_a_training_on_a_mixture_resumes_with_the_same_bytes(tmp_path, both, capsys):
    assert launch(tmp_path) == 0
    weights = tmp_path / "out" / "weights.safetensors"
    before = sha256_of(weights)
    (run,) = (tmp_path / "runs" / "lbm").iterdir()
    saved = torch.load(run / "checkpoint-00000002.pt", weights_only=True)
    positions = mixed_ids((3, 5), (0.25, 0.75), seed=42, step=2, batch_size=1)
    assert [tuple(clip) for clip in saved["sampler"]] == positions
    for step in (3, 4):
        (run / f"checkpoint-{step:08}.pt").unlink()
    weights.unlink()
    capsys.readouterr()
    assert launch(tmp_path) == 0
    assert "resuming at step 2 of 4" in capsys.readouterr().err
    assert sha256_of(weights) == before


def test_every_data_set_of_a_mixture_is_part_of_a_run(tmp_path, both, dataset):
    paths = Paths(shards_root=str(tmp_path / "shards"))
    words = ["data.dataset=beta", "validation.dataset=null"]
    recipe = compose("lbm", [*words, "data.mixture={alpha:0.25,beta:0.75}"])
    run = describe_run(recipe, paths, 1)
    assert run.index == both[1] and list(run.indexes) == both
    alone = describe_run(compose("lbm", words), paths, 1)
    assert alone.indexes == (both[1],) and alone.identity != run.identity
    dataset("alpha", num_clips=2)
    assert describe_run(recipe, paths, 1).identity != run.identity
    with pytest.raises(ValueError, match="data set 'gamma' is not packed"):
        describe_run(compose("lbm", [*words, "data.mixture={gamma:0.25,beta:0.75}"]), paths, 1)


def test_the_order_of_names_in_a_recipe_changes_nothing(both):
    turned = dataclasses.replace(recipe_with().data, dataset="beta", mixture={"alpha": 0.25, "beta": 0.75})
    where = {"seed": 0, "step": 0, "batch_size": 9}
    assert clips_of_step(turned, (3, 5), **where) == clips_of_step(recipe_with(**MIXTURE).data, (3, 5), **where)
