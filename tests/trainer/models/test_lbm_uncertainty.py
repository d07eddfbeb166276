"""The weight of the uncertainty losses: twice in the first of them as the reference has it, or once when asked."""

import pytest
import torch

from tests.trainer.models.test_lbm import SMALL, make_inputs
from trainer.models import build


def losses_with(**settings) -> dict[str, float]:
    torch.manual_seed(0)
    with torch.no_grad():
        losses = build("lbm", **SMALL, **settings).eval().losses(*make_inputs())
    return {name: float(loss) for name, loss in losses.items()}


@pytest.mark.parametrize(("is_once", "power"), [(False, 2), (True, 1)])
def test_the_weight_is_applied_twice_unless_once_is_asked(is_once, power):
    plain = losses_with(uncertainty_weight_once=is_once)
    weighted = losses_with(uncertainty_weight_once=is_once, lambda_uncertainty=0.3)
    factors = {"uncertainty_loss": 0.3**power, "uncertainty_loss_topk": 0.3}
    assert weighted == pytest.approx({name: loss * factors.get(name, 1.0) for name, loss in plain.items()})
