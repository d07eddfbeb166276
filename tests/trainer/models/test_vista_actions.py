"""Actions as features: their order and places, what is missing, and which are drawn."""

import math

import pytest
import torch

from trainer.models.vista.actions import (
    ACTIONS,
    NUM_FEATURES,
    NUM_VALUES,
    drop_actions,
    encode_actions,
    keep_one,
    pack_actions,
    sinusoids,
)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    driving = {"command": [2.0], "speed": [5.0, 6.0, 7.0, 8.0], "angle": [780.0, 0.0, -390.0, 7.8], "goal": None}
    packed = [pack_actions(driving), pack_actions({"trajectory": range(8), "goal": (0.25, 0.75)}), pack_actions({})]
    return torch.stack([x for x, _ in packed]), torch.stack([x for _, x in packed])


def test_features_are_where_the_reference_has_them():
    values, present = batch()
    assert present.int().tolist() == [[1, 0, 1, 1, 0], [0, 1, 0, 0, 1], [0] * 5]
    features = encode_actions(values, present)
    assert features.shape == (3, 1, NUM_FEATURES) and (NUM_VALUES, NUM_FEATURES) == (19, 2432)
    rows = features.view(3, 19, 128)
    expected = {(0, 0): 2.0, (0, 9): 5.0 * 3.6, (0, 13): 1.0, (0, 15): -0.5, (1, 1): 0.0, (1, 8): 7.0, (1, 18): 0.75}
    for (clip, place), value in expected.items():
        slow = [math.cos(value * 10000 ** (-i / 64)) for i in range(64)]
        slow += [math.sin(value * 10000 ** (-i / 64)) for i in range(64)]
        torch.testing.assert_close(rows[clip, place], torch.tensor(slow), rtol=1e-4, atol=1e-5)
    assert not rows[0, 1:9].any() and not rows[0, 17:].any() and not rows[2].any(), "what is missing is zero"
    assert rows[1, 1].any(), "a zero that is there is not"


def test_separate_tokens_are_the_parts_of_the_one():
    values, present = batch()
    one, each = encode_actions(values, present), encode_actions(values, present, "separate")
    assert each.shape == (3, len(ACTIONS), NUM_FEATURES)
    assert torch.equal(each.sum(1, keepdim=True), one)
    assert torch.equal(each.flatten(2).any(2), present)
    with pytest.raises(ValueError, match="use concat or separate"):
        encode_actions(values, present, "both")


def test_a_clip_with_other_actions_changes_nothing_for_its_neighbours():
    values, present = batch()
    alone = encode_actions(values[:1], present[:1])
    assert torch.equal(encode_actions(values, present)[:1], alone)


def test_features_in_half_precision_values_keep_their_sinusoids():
    assert sinusoids(torch.tensor([0.5], dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize(
    "actions, message",
    [
        ({"steering": [1.0]}, "no action 'steering'; known: command, trajectory"),
        ({"speed": [1.0] * 5}, "give 4 finite numbers"),
        ({"goal": [0.5, math.nan]}, "give 2 finite numbers"),
    ],
)
def test_wrong_actions_are_refused(actions, message):
    with pytest.raises(ValueError, match=message):
        pack_actions(actions)


def test_kinds_are_dropped_at_their_rate_and_one_is_drawn_evenly():
    present = torch.tensor([True, True, False, True, False]).expand(20000, 5)
    dropped = drop_actions(present, 0.15, torch.Generator().manual_seed(0)).float().mean(0)
    assert dropped.tolist() == pytest.approx([0.85, 0.85, 0, 0.85, 0], abs=0.01)
    one = keep_one(present, torch.Generator().manual_seed(0))
    assert (one.sum(1) == 1).all()
    assert one.float().mean(0).tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3, 0], abs=0.015)
    assert not keep_one(torch.zeros(3, 5, dtype=torch.bool), torch.Generator()).any()
