"""Vista's phases by every strategy: equal losses, and adapters that another strategy goes on with.

What is drawn in a step depends on the number of processes, so that only equally many have equal losses.
"""

from pathlib import Path

import numpy as np
import pytest

from tests.trainer.driving.conftest import Drives
from tests.trainer.test_strategy import ROUNDING, checkpoints_of, difference, resumable, rows_of, run_all
from tests.trainer.test_zero2 import OP, ZERO2, built  # noqa: F401 (a fixture)

GLOBAL = [
    "training.batch_size=1",
    "training.global_batch_size=4",
    "training.save_every=2",
    "training.keep_checkpoints=2",
]
WIDER = "model.unet.widths=[64]"
"""32 channels would each be a group of a norm, which then subtracts biases: their gradients are but rounding, which
AdamW blows up to its learning rate."""
PHASE_1 = [WIDER, "model.unet.with_actions=false", "model.unet.frame_values=0"]
PHASE_2 = [WIDER, "data.mixture=null", "training.lora.whole=[to_v.action,frame_embedding]"]


def phase_1(drives: Drives, folder: Path, strategy: str) -> list[str]:
    """Four steps of all weights, those of layers over time at ten times the rate of the others."""
    return drives.words("vista_phase1", folder, *PHASE_1, *GLOBAL, f"training.strategy={strategy}")


def phase_2(drives: Drives, folder: Path, strategy: str, init: Path) -> list[str]:
    """Four steps of adapters and of what phase 2 adds, averaged, beside frozen weights."""
    words = [*PHASE_2, *GLOBAL, f"training.strategy={strategy}", f"paths.init_weights={init}"]
    return drives.words("vista_phase2_stage1", folder, *words, f"paths.deepspeed_op={OP}")


def weights(folder: Path) -> Path:
    return folder / "out" / "weights.safetensors"


def check_alike(one: Path, other: Path, most: float) -> None:
    """The losses and norms of all steps, and how far the weights went apart."""
    np.testing.assert_allclose(rows_of(other), rows_of(one), rtol=1e-4)
    assert difference(one, other) < most


@pytest.mark.slow
def test_shards_of_adapters_have_the_losses_of_ddp_which_goes_on_with_them(drives, tmp_path):
    first, ddp, fsdp, to_ddp = (tmp_path / name for name in ("first", "ddp", "fsdp", "to_ddp"))
    words = [phase_1(drives, first, "fsdp")]
    words += [phase_2(drives, folder, folder.name, weights(first)) for folder in (ddp, fsdp)]
    run_all(words, processes=2)
    check_alike(ddp, fsdp, ROUNDING)
    run_all([phase_2(drives, resumable(fsdp, to_ddp), "ddp", weights(first))], processes=2)
    assert checkpoints_of(to_ddp)[-1] == "checkpoint-00000004.pt"
    check_alike(fsdp, to_ddp, 1e-5)


@pytest.mark.slow
def test_rates_by_parts_and_two_nodes_change_no_loss(drives, tmp_path):
    ddp, fsdp, four, hsdp, second_four, second_hsdp = (
        tmp_path / name for name in ("ddp", "fsdp", "four", "hsdp", "second_four", "second_hsdp")
    )
    run_all([phase_1(drives, ddp, "ddp"), phase_1(drives, fsdp, "fsdp")], processes=2)
    check_alike(ddp, fsdp, ROUNDING)
    words = [phase_1(drives, four, "ddp"), phase_1(drives, hsdp, "hsdp")]
    words += [phase_2(drives, second_four, "ddp", weights(ddp)), phase_2(drives, second_hsdp, "hsdp", weights(ddp))]
    run_all(words, processes=4, per_node=2)
    check_alike(four, hsdp, ROUNDING)
    check_alike(second_four, second_hsdp, ROUNDING)


@pytest.mark.slow
def test_deepspeed_has_the_losses_of_ddp_at_several_rates_and_goes_on_from_it(drives, tmp_path, built):  # noqa: F811
    ddp, whole, from_ddp, to_ddp = (tmp_path / name for name in ("ddp", "whole", "from_ddp", "to_ddp"))
    op = f"paths.deepspeed_op={OP}"
    run_all([phase_1(drives, ddp, "ddp"), [*phase_1(drives, whole, ZERO2), op]], processes=2)
    check_alike(ddp, whole, ROUNDING)
    words = [[*phase_1(drives, resumable(ddp, from_ddp), ZERO2), op], phase_1(drives, resumable(whole, to_ddp), "ddp")]
    run_all(words, processes=2)
    check_alike(ddp, from_ddp, 1e-5)
    check_alike(whole, to_ddp, 1e-5)
    second, second_whole = tmp_path / "second", tmp_path / "second_whole"
    words = [phase_2(drives, second, "ddp", weights(ddp)), phase_2(drives, second_whole, ZERO2, weights(ddp))]
    run_all(words, processes=2)
    check_alike(second, second_whole, ROUNDING)
