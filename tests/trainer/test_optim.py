"""The learning rate as a function of the step."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.config import OptimizerConfig, compose
from trainer.optim import learning_rate_at, make_optimizer, set_learning_rate

GOLDEN = Path(__file__).parents[1] / "data" / "cotracker3" / "golden.npz"
CONFIG = OptimizerConfig(learning_rate=5.0e-4, warmup_fraction=0.1)


def test_warm_up_is_linear_from_1e5th_of_the_peak():
    assert learning_rate_at(0, 100, CONFIG) == pytest.approx(5.0e-9)
    assert learning_rate_at(5, 100, CONFIG) == pytest.approx(5.0e-4 * (1e-5 + (1 - 1e-5) * 0.5))
    assert learning_rate_at(10, 100, CONFIG) == pytest.approx(5.0e-4)


def test_cosine_falls_to_zero():
    assert learning_rate_at(55, 100, CONFIG) == pytest.approx(2.5e-4)
    assert learning_rate_at(99, 100, CONFIG) == pytest.approx(5.0e-4 * 0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert learning_rate_at(100, 100, CONFIG) == pytest.approx(0.0, abs=1e-12)


def test_blades_rate_is_constant_and_some_parts_learn_faster():
    config = OptimizerConfig(schedule="constant", learning_rate=1.0e-4, learning_rate_factors={"head": 2.0})
    assert {learning_rate_at(step, 100, config) for step in range(100)} == {1.0e-4}
    model = torch.nn.ModuleDict({"body": torch.nn.Linear(1, 1), "head": torch.nn.Linear(1, 1)})
    model.body.bias.requires_grad_(False)
    optimizer = make_optimizer(model, config, fused=False)
    set_learning_rate(optimizer, 3.0e-4)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates == {id(model.body.weight): 3.0e-4, id(model.head.weight): 6.0e-4, id(model.head.bias): 6.0e-4}
    with pytest.raises(ValueError, match=r"learning_rate_factors.heat: the model trains no such part.*'head'"):
        make_optimizer(model, OptimizerConfig(learning_rate_factors={"heat": 2.0}), fused=False)


ONE_CYCLE = OptimizerConfig(schedule="one_cycle", learning_rate=5.0e-4, warmup_fraction=0.05, extra_steps=100)


def test_one_cycle_is_that_of_cotracker3s_training():
    golden = np.load(GOLDEN)
    rates = [learning_rate_at(int(step), 50_000, ONE_CYCLE) for step in golden["onecycle/steps"]]
    np.testing.assert_allclose(rates, golden["onecycle/lr_num_steps_50000"], rtol=1e-6)


@pytest.mark.parametrize(("num_steps", "warmup_fraction"), [(400, 0.05), (37, 0.3), (200, 0.0), (20, 0.05)])
def test_one_cycle_is_torchs(num_steps, warmup_fraction):
    config = dataclasses.replace(ONE_CYCLE, warmup_fraction=warmup_fraction, extra_steps=3)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=num_steps + 3, pct_start=warmup_fraction, cycle_momentum=False
    )
    for step in range(num_steps + 3):
        assert learning_rate_at(step, num_steps, config) == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step < num_steps + 2:
            schedule.step()


def test_the_published_optimizer_composes():
    assert compose("lbm", ["optimizer=adamw_onecycle"]).optimizer == dataclasses.replace(ONE_CYCLE, weight_decay=5.0e-4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.schedule=one_cycl", "did you mean 'one_cycle'"),
        ("optimizer.warmup_fraction=1.0", "below 1"),
        ("optimizer.extra_steps=100", "and 0 unless schedule=one_cycle"),
    ],
)
def test_a_mistake_in_the_schedule_is_named(override, message):
    with pytest.raises(ValueError, match=message):
        compose("lbm", [override])


def test_vistas_rate_rises_for_some_steps_and_stays():
    config = compose("vista_phase1").optimizer
    rates = [learning_rate_at(step, 20_000, config) / 1.0e-5 for step in (0, 250, 1000, 1001, 19_999)]
    assert rates == pytest.approx([1e-6, 1e-6 + (1 - 1e-6) / 4, 1, 1, 1])
    at_once = OptimizerConfig(schedule="warmup_constant", learning_rate=2.0)
    assert learning_rate_at(0, 10, at_once) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="warmup_steps=5 must be at least 0, and 0 unless schedule=warmup_constant"):
        OptimizerConfig(warmup_steps=5)


def test_factors_are_of_parts_at_any_depth_by_whole_names_and_of_the_rest():
    layer = torch.nn.ModuleDict({"over_time": torch.nn.Linear(1, 1, bias=False), "over": torch.nn.Linear(1, 1)})
    model = torch.nn.ModuleDict({"net": torch.nn.ModuleList([layer])})
    config = OptimizerConfig(schedule="constant", learning_rate_factors={"over_time": 1.0}, rest_factor=0.1)
    optimizer = make_optimizer(model, config, fused=False)
    set_learning_rate(optimizer, 1.0)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates == {id(layer.over_time.weight): 1.0, id(layer.over.weight): 0.1, id(layer.over.bias): 0.1}
    with pytest.raises(ValueError, match=r"factors\.over_tim: the model trains no such part, did you mean 'over_time'"):
        make_optimizer(model, OptimizerConfig(learning_rate_factors={"over_tim": 2.0}), fused=False)
    with pytest.raises(ValueError, match="rest_factor=0 must be above 0"):
        OptimizerConfig(rest_factor=0)


def test_vistas_first_phase_has_the_references_two_groups():
    """The names of the reference with `time_stack` learn at the whole rate (trainer.models.vista.keys)."""
    from trainer.models.vista.build import make_unet
    from trainer.models.vista.config import PRESETS
    from trainer.models.vista.keys import temporal_names
    from trainer.optim import lies_in

    own = list(make_unet(dataclasses.replace(PRESETS["tiny"], with_actions=False)).state_dict())
    factors = compose("vista_phase1").optimizer.learning_rate_factors
    assert {name for name in own if any(lies_in(name, part) for part in factors)} == temporal_names(own)
