"""DeepSpeed's ZeRO-2 as a strategy: weights are whole in every process, gradients and AdamW's state in shards.

DeepSpeed is an extra and imported only where a recipe asks for it. It reduces gradients, clips them and steps; the
learning rate, the checkpoints and everything else are the project's own, so that any strategy goes on from any other.
Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models".
"""

import contextlib
import io
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainer.config import Recipe
from trainer.deepspeed_op import check_installed, load_op
from trainer.distributed import Process

BUCKET = 5_000_000
"""Numbers that are exchanged at a time: 20 MB, about DDP's; DeepSpeed's default is a buffer of 2 GB."""
AVERAGES = ("exp_avg", "exp_avg_sq")


class Zero2(nn.Module):
    """An objective whose gradients DeepSpeed shards, called as the objective itself; `optimizer` is its AdamW."""

    def __init__(self, recipe: Recipe, process: Process, objective: nn.Module, optimizer: torch.optim.AdamW, op: Path):
        """`optimizer` has the parameters of `objective`; afterwards it has this process's shard of them.

        Raises ValueError where DeepSpeed is missing, or its CPU op (built in the folder `op`), and for a recipe that
        clips to nothing.
        """
        super().__init__()
        check_installed()
        max_norm = recipe.optimizer.max_gradient_norm
        if max_norm is not None and not max_norm > 0:
            raise ValueError(
                f"optimizer.max_gradient_norm={max_norm} must be positive, or null, with "
                "training.strategy=deepspeed_zero2"
            )
        if process.device.type == "cpu":
            load_op(op)
        else:
            os.environ["DS_ACCELERATOR"] = process.device.type
        import deepspeed

        # DeepSpeed calls what torch has renamed.
        warnings.filterwarnings("ignore", message=r"`torch\.distributed\..* is deprecated")
        groups = [list(group["params"]) for group in optimizer.param_groups]  # DeepSpeed puts shards into their places
        parameters = [parameter for group in groups for parameter in group]
        with contextlib.redirect_stdout(io.StringIO()):  # it would say that the op was built
            self.engine, sharded, *_ = deepspeed.initialize(
                model=objective, optimizer=optimizer, model_parameters=parameters, config=settings(recipe)
            )
        self.optimizer = Zero2Optimizer(groups, optimizer, sharded)
        self.has_skipped = False

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the objective returns."""
        return self.engine(batch)

    def backward(self, share: torch.Tensor) -> None:
        """Add the gradients of a share of a step's loss (a scalar) to the shards; all processes call it together."""
        self.engine.backward(share)

    def clip_and_step(self) -> torch.Tensor:
        """Clip the gradients to the recipe's norm and step; returns the norm before, a scalar.

        DeepSpeed skips a step whose gradients are not finite. The norm is NaN then and ever after, so that the training
        ends at the next logged step, as it does where NaN has got into the weights.
        """
        self.engine.step()
        self.has_skipped |= not self.engine.was_step_applied()
        return torch.as_tensor(math.nan if self.has_skipped else self.engine.get_global_grad_norm())


class Zero2Optimizer:
    """AdamW of shards with the state dict of AdamW of the whole, which all processes read and write together."""

    def __init__(self, groups: list[list[nn.Parameter]], own: torch.optim.AdamW, sharded: Any):
        """groups: of the model's parameters, each with a learning rate. own: AdamW of the shards, one a group. sharded:
        DeepSpeed's optimiser around it."""
        self.groups, self.own, self.sharded = groups, own, sharded

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters, group by group: the order of the state dict's numbers."""
        return [parameter for group in self.groups for parameter in group]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of the shards' AdamW: the learning rates are set here."""
        return self.own.param_groups

    @property
    def state(self) -> Mapping[torch.Tensor, Any]:
        """The moments of this process's shards."""
        return self.own.state

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing: DeepSpeed drops the gradients of a step when it is done."""

    def state_dict(self) -> dict[str, Any]:
        """The state of AdamW of the whole, on CPU, gathered from all shards: a parameter at a time."""
        from deepspeed.utils import safe_get_full_optimizer_state

        parameters, counts = self.parameters, [moments["step"] for moments in self.own.state.values()]
        if counts:
            self._find_moments()
        state = {
            number: {"step": counts[0].clone().cpu()}
            | {key: safe_get_full_optimizer_state(parameter, key).cpu() for key in AVERAGES}
            for number, parameter in enumerate(parameters if counts else [])
        }
        numbers = iter(range(len(parameters)))
        groups = [
            group | {"params": [next(numbers) for _ in whole]}
            for group, whole in zip(self.own.state_dict()["param_groups"], self.groups, strict=True)
        ]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, whole: Mapping[str, Any]) -> None:
        """Take this process's shards of the state of AdamW of the whole, and of the model's weights, loaded before.

        Raises ValueError for moments of some parameters only, or of unequal counts: a shard has one.
        """
        state, parameters = whole["state"], self.parameters
        counts = {float(moments["step"]) for moments in state.values()}
        if state and (len(counts) > 1 or len(state) != len(parameters)):
            raise ValueError(
                f"training.strategy=deepspeed_zero2 cannot go on from moments of {len(state)} of "
                f"{len(parameters)} parameters with {len(counts)} counts; use training.strategy=fsdp"
            )
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        for parameter in parameters:
            safe_set_full_fp32_param(parameter, parameter.detach())
        if not state:
            return
        (count,) = counts
        empty = {
            number: {key: torch.zeros_like(shard) for key in AVERAGES} | {"step": torch.tensor(count)}
            for number, shard in enumerate(shard for group in self.own.param_groups for shard in group["params"])
        }
        self.own.load_state_dict({"state": empty, "param_groups": self.own.state_dict()["param_groups"]})
        self._find_moments()
        for number, parameter in enumerate(parameters):
            for key in AVERAGES:
                value = state[number][key].to(parameter.device)
                safe_set_full_optimizer_state(parameter, value, key)

    def _find_moments(self) -> None:
        """Let DeepSpeed find each parameter's part of the moments.

        It does so once, in its first step when the first group is done: too late for moments that are loaded, and too
        early for those of the other groups.
        """
        self.sharded._hp_optimizer_states_linked = False
        self.sharded._lazy_init_hp_params_optimizer_state()


def settings(recipe: Recipe) -> dict[str, Any]:
    """What DeepSpeed is told. Micro-batches are ours to count (unmanaged), and so is the learning rate."""
    max_norm = recipe.optimizer.max_gradient_norm
    told: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": recipe.training.batch_size,
        "gradient_accumulation_steps": 1,  # the loop divides the loss
        "managed_gradient_accumulation": False,
        "gradient_clipping": math.inf if max_norm is None else max_norm,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {"stage": 2, "reduce_bucket_size": BUCKET, "allgather_bucket_size": BUCKET},
    }
    if recipe.training.precision == "bf16":
        # Autocast as with the other strategies, and gradients exchanged in fp32: no module is safe to do otherwise.
        told["torch_autocast"] = {"enabled": True, "dtype": "bfloat16", "lower_precision_safe_modules": []}
    return told
