"""The learning rate as a function of the step."""

import math

import pytest

from trainer.config import OptimizerConfig
from trainer.optim import learning_rate_at

CONFIG = OptimizerConfig(learning_rate=5.0e-4, warmup_fraction=0.1)


def test_warm_up_is_linear_from_1e5th_of_the_peak():
    assert learning_rate_at(0, 100, CONFIG) == pytest.approx(5.0e-9)
    assert learning_rate_at(5, 100, CONFIG) == pytest.approx(5.0e-4 * (1e-5 + (1 - 1e-5) * 0.5))
    assert learning_rate_at(10, 100, CONFIG) == pytest.approx(5.0e-4)


def test_cosine_falls_to_zero():
    assert learning_rate_at(55, 100, CONFIG) == pytest.approx(2.5e-4)
    assert learning_rate_at(99, 100, CONFIG) == pytest.approx(5.0e-4 * 0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert learning_rate_at(100, 100, CONFIG) == pytest.approx(0.0, abs=1e-12)
