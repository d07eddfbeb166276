"""Batch norm over processes: statistics, outputs and gradients of two ranks are those of one with all clips."""

import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from trainer.batch_norm import CpuSyncBatchNorm, synchronise_batch_norm

SHARES = (1, 3)  # clips of the two ranks


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()), nn.Conv2d(4, 2, 3)).double()


def make_maps() -> torch.Tensor:
    return torch.randn(sum(SHARES), 3, 9, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3 + 50


def outcome(model: nn.Module, maps: torch.Tensor) -> dict[str, torch.Tensor]:
    """Two training passes: outputs, gradients of parameters and input, and the state after them."""
    maps = maps.clone().requires_grad_()
    model(maps)
    output = model(maps)
    output.square().sum().backward()
    gradients = {f"gradient of {name}": parameter.grad for name, parameter in model.named_parameters()}
    return {"output": output.detach(), "gradient of maps": maps.grad, **gradients, **model.state_dict()}


def run_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=len(SHARES))
    model = make_model()
    synchronise_batch_norm(model, torch.device("cpu"))
    found = outcome(model, make_maps().split(SHARES)[rank])
    for name in [name for name in found if name.startswith("gradient of ") and name != "gradient of maps"]:
        dist.all_reduce(found[name])
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_equal_one_process_with_all_clips(tmp_path: Path):
    torch.multiprocessing.spawn(run_rank, (str(tmp_path),), nprocs=len(SHARES))
    expected = outcome(make_model(), make_maps())
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(len(SHARES))]
    assert ranks[0].keys() == expected.keys()
    for name, value in expected.items():
        if name in ("output", "gradient of maps"):
            torch.testing.assert_close(torch.cat([rank[name] for rank in ranks]), value, msg=name)
        else:
            for rank in ranks:
                torch.testing.assert_close(rank[name], value, msg=name)
    alone = outcome(make_model(), make_maps()[:1])["1.0.running_mean"]
    assert (alone - expected["1.0.running_mean"]).abs().max() > 1e-3, "the ranks' own statistics differ"


def test_parameters_keys_and_evaluation_stay():
    model = make_model()
    outcome(model, make_maps())
    synced = copy.deepcopy(model)
    synchronise_batch_norm(synced, torch.device("cpu"))
    assert isinstance(synced[1][0], CpuSyncBatchNorm)
    assert list(synced.state_dict()) == list(model.state_dict())
    torch.testing.assert_close(synced.eval()(make_maps()), model.eval()(make_maps()), rtol=0, atol=0)


def test_on_a_gpu_it_is_torchs_own_with_the_same_parameters():
    model = make_model()
    weight = model[1][0].weight
    synchronise_batch_norm(model, torch.device("cuda"))  # converting needs none
    assert type(model[1][0]) is nn.SyncBatchNorm and model[1][0].weight is weight


def test_another_device_is_refused():
    with pytest.raises(ValueError, match=r"training\.sync_batch_norm=true works on cuda and cpu, not on mps"):
        synchronise_batch_norm(make_model(), torch.device("mps"))
