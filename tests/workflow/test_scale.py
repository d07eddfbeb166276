"""The benchmark of scale: its configuration is a plan, and its measure of mixing tells good orders from bad ones."""

import numpy as np
import pytest

from benchmarks.scale import CLIPS, CLIPS_PER_SHARD, configuration, measure_order, mixing
from workflow.plan import Plan


def test_the_graph_has_three_jobs_a_shard_and_the_shards_of_its_configuration(tmp_path):
    steps = [step.rule for step in Plan(configuration(1000, 64), tmp_path).steps()]
    assert steps.count("render_shard") == steps.count("annotate_shard") == steps.count("pack") == 16 + 2
    for clips in CLIPS:
        for each in CLIPS_PER_SHARD:
            assert Plan(configuration(clips, each), tmp_path).datasets["clips"].num_shards == -(-clips // each)


def test_a_fair_order_is_mixed_and_reading_shard_by_shard_is_not():
    shards = np.repeat(np.arange(40), 100)
    fair = mixing(np.random.default_rng(0).permutation(shards).reshape(1, -1, 4), 40)
    assert fair["same_shard"] == pytest.approx(1, abs=0.35) and fair["shards_in_64"] == pytest.approx(1, abs=0.02)
    in_turn = mixing(shards.reshape(1, -1, 4), 40)
    assert in_turn["same_shard"] > 30 and in_turn["shards_in_64"] < 0.1


@pytest.mark.parametrize("world_size", [1, 8, 64, 512])
def test_all_ranks_have_equal_steps_and_no_clip_is_read_twice(world_size):
    measured = measure_order(4500, world_size)
    assert measured["steps"] == 4500 // (4 * world_size)
    assert measured["left_over"] == 4500 - measured["steps"] * 4 * world_size
