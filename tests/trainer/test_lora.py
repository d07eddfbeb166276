"""Adapters: what they add, that nothing else learns, and that the merged weights are the adapted model's."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.trainer.test_strategy import SYSTEMS, resumable, rows_of, run_all, training
from tests.trainer.test_training import events_of, score_of, scores_in
from trainer.batch import make_loader
from trainer.checkpoint import load_into, load_weights, save_weights
from trainer.config import LoraConfig, compose
from trainer.export import main as export
from trainer.launch import main as launch
from trainer.lora import adapt, merged, save_adapters
from trainer.models import TASKS
from trainer.optim import make_optimizer

LAYERS = {"lbm": ["net.0", "value_proj", "out_proj"], "cotracker3": ["to_q", "to_kv", "fc1", "flow_head"]}
"""Layers whose weights are read from outside are among them: value_proj, and all of CoTracker3's."""


def adapters(system: str) -> str:
    return f"training.lora={{rank: 2, alpha: 3, modules: [{', '.join(LAYERS[system])}]}}"


def recipe_of(system: str, *overrides: str):
    words = [word for word in SYSTEMS[system] if not word.startswith("stage=")]
    return compose("lbm" if system == "lbm" else "cotracker3_offline", [*words, *overrides])


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_merged_weights_are_those_of_the_adapted_model_and_only_adapters_learn(tmp_path, dataset, system):
    recipe = recipe_of(system, adapters(system))
    task, index = TASKS[system], dataset(num_clips=6)
    torch.manual_seed(0)
    base = task.build(recipe.model).eval()
    adapted = task.build(recipe.model)
    load_into(adapted, base.state_dict(), tmp_path)
    adapt(adapted, recipe.training.lora).eval()
    (batch,) = make_loader(recipe, index, start=0, num_steps=1, rank=0, world_size=1)
    untrained = losses_of(task, adapted, batch)
    assert untrained == pytest.approx(losses_of(task, base, batch), rel=1e-6), "they add nothing in the beginning"

    for model in (base, adapted):
        torch.manual_seed(0)
        sum(task.losses(model, dict(batch)).values()).backward()
    learning = {name for name, parameter in adapted.named_parameters() if parameter.grad is not None}
    ends = ("parametrizations.weight.0.down", "parametrizations.weight.0.up")
    assert learning == {name for name in adapted.state_dict() if name.endswith(ends)} and len(learning) > 10
    for name in learning:
        if name.endswith(ends[1]):  # scale * (gradient of the weight) @ down, transposed
            layer = name.removesuffix(f".{ends[1]}")
            down = adapted.get_submodule(layer).parametrizations.weight[0].down
            expected = 1.5 * base.get_submodule(layer).weight.grad @ down.T
            torch.testing.assert_close(adapted.get_parameter(name).grad, expected, rtol=1e-3, atol=1e-5)
    optimizer = make_optimizer(adapted, recipe.optimizer, fused=False)
    optimizer.step()
    assert len(optimizer.state) == len(learning)

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if name.endswith(ends):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    save_weights(tmp_path / "w", adapted, recipe)
    tensors, _ = load_weights(tmp_path / "w")
    assert tensors.keys() == base.state_dict().keys()
    plain = task.build(recipe.model).eval()
    load_into(plain, tensors, tmp_path)
    found = losses_of(task, adapted, batch)
    assert losses_of(task, plain, batch) == pytest.approx(found, rel=1e-6)
    assert abs(sum(found.values()) - sum(untrained.values())) > 1e-3 * sum(untrained.values())


def losses_of(task, model: nn.Module, batch) -> dict[str, float]:
    torch.manual_seed(0)
    with torch.no_grad():
        return {name: value.item() for name, value in task.losses(model, dict(batch)).items()}


def test_a_layer_adds_what_the_paper_says():
    """y = W x + b + alpha / rank * up (down x), by another route than the corrected weight."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"first": nn.Linear(5, 7), "other": nn.Linear(5, 7)})
    weight, x = model["first"].weight.detach().clone(), torch.randn(4, 5)
    adapt(model, LoraConfig(rank=3, alpha=6, modules=["first"]))
    low = model["first"].parametrizations.weight[0]
    assert low.down.shape == (3, 5) and low.up.shape == (7, 3) and not low.up.any() and low.down.any()
    with torch.no_grad():
        low.up.normal_()
    expected = x @ weight.T + model["first"].bias + 2.0 * (x @ low.down.T) @ low.up.T
    torch.testing.assert_close(model["first"](x), expected, rtol=1e-6, atol=1e-6)
    assert list(merged(model)) == ["first.bias", "first.weight", "other.weight", "other.bias"]
    assert not model["other"].weight.requires_grad and not model["first"].bias.requires_grad


def test_what_is_named_whole_learns_beside_the_adapters_and_is_kept_with_them(tmp_path):
    torch.manual_seed(0)
    model = nn.ModuleDict({name: nn.Linear(5, 7) for name in ("first", "other", "frozen")})
    model["frozen"].requires_grad_(False)
    config = LoraConfig(rank=3, alpha=6, modules=["first"], whole=["other"])
    adapt(model, config)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    low = {f"first.parametrizations.weight.0.{side}" for side in ("down", "up")}
    assert learning == low | {"other.weight", "other.bias"}
    assert save_adapters(tmp_path / "adapters", model, config) == 4
    kept = load_file(tmp_path / "adapters" / "adapter_model.safetensors")
    assert torch.equal(kept["base_model.model.other.weight"], model["other"].weight)
    assert json.loads((tmp_path / "adapters" / "adapter_config.json").read_text())["modules_to_save"] == ["other"]
    for name in ("frozen", "ther"):
        with pytest.raises(ValueError, match=f"no layer that learns is called '{name}'"):
            adapt(model, LoraConfig(rank=3, alpha=6, modules=["other"], whole=[name]))


def test_adapters_train_alike_under_ddp_and_fsdp_and_go_on_in_one_process(tmp_path, dataset):
    """Written are whole weights, of which only the named layers' moved; peft's folder holds what was added to them."""
    dataset(num_clips=6)
    seen = dataset("seen", num_clips=2, num_points=9)
    more = [adapters("lbm"), "training.ema_decay=0.5", "optimizer.learning_rate=1.0e-2"]
    more += ["validation.dataset=seen", "validation.every_steps=4"]
    ddp, fsdp, alone = (tmp_path / name for name in ("ddp", "fsdp", "alone"))
    run_all([training(tmp_path, folder, "lbm", folder.name, *more) for folder in (ddp, fsdp)], processes=2)
    np.testing.assert_allclose(rows_of(fsdp), rows_of(ddp), rtol=1e-4)
    resumable(fsdp, alone)
    assert launch(training(tmp_path, alone, "lbm", "ddp", *more)) == 0
    np.testing.assert_allclose(rows_of(alone), rows_of(fsdp), rtol=1e-4)

    weights, untrained = (load_file(fsdp / "out" / f"{name}.safetensors") for name in ("weights", "untrained"))
    assert weights.keys() == untrained.keys()
    moved = {key for key in weights if not torch.equal(weights[key], untrained[key])}
    running = {key for key in moved if key.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    named = tuple(f".{name}.weight" for name in LAYERS["lbm"])
    learnt = moved - running
    assert learnt <= {key for key in weights if key.endswith(named)}
    assert len(learnt) > 10, "what a fresh model gates to zero gets no gradient"
    (event,) = events_of(fsdp / "out" / "metrics.jsonl")
    assert scores_in(event) == score_of(fsdp / "out" / "weights.safetensors", seen, tmp_path)

    (path,) = fsdp.glob("runs/*/*/checkpoint-00000004.sharded")
    assert export(["--checkpoint", str(path), "--out", str(tmp_path / "w")]) == 0
    assert (tmp_path / "w").read_bytes() == (fsdp / "out" / "weights.safetensors").read_bytes()
    folder = tmp_path / "adapters"
    assert export(["--checkpoint", str(path), "--format", "lora", "--out", str(folder)]) == 0
    settings, low = (
        json.loads((folder / "adapter_config.json").read_text()),
        load_file(folder / "adapter_model.safetensors"),
    )
    assert (settings["r"], settings["lora_alpha"], settings["target_modules"]) == (2, 3, LAYERS["lbm"])
    assert len(low) == 2 * sum(key.endswith(named) for key in weights)
    for key in learnt:
        down, up = (low[f"base_model.model.{key.removesuffix('weight')}lora_{name}.weight"] for name in "AB")
        torch.testing.assert_close(untrained[key] + 1.5 * up @ down, weights[key], rtol=1e-5, atol=1e-6)


def test_what_cannot_be_adapted_is_refused(tmp_path):
    recipe = recipe_of("lbm")
    model = TASKS["lbm"].build(recipe.model)
    with pytest.raises(ValueError, match=r"no linear layer is called 'net\.1'; there are such as 0, 3, attention_"):
        adapt(model, LoraConfig(rank=2, alpha=2, modules=["net.0", "net.1"]))
    with pytest.raises(ValueError, match="no linear layer is called 'alue_proj'"):
        adapt(model, LoraConfig(rank=2, alpha=2, modules=["alue_proj"]))
    assert all(".parametrizations" not in key for key in model.state_dict())
    for words, message in (
        ("{rank: 0, alpha: 2, modules: [a]}", "rank=0 must be at least 1"),
        ("{rank: 1, alpha: 2, modules: []}", r"training.lora.modules=\[\]: name at least one"),
        ("{rank: 1, alpha: 2, modulez: [a]}", "unknown key 'training.lora.modulez', did you mean 'modules'"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe_of("lbm", f"training.lora={words}")


def test_a_checkpoint_without_adapters_gives_none(tmp_path, dataset, capsys):
    dataset(num_clips=6)
    assert launch(training(tmp_path, tmp_path, "lbm", "ddp", "training.num_steps=1")) == 0
    (path,) = tmp_path.glob("runs/*/*/checkpoint-00000001.pt")
    capsys.readouterr()
    assert export(["--checkpoint", str(path), "--format", "lora", "--out", str(tmp_path / "adapters")]) == 2
    assert "has no adapters (training.lora)" in capsys.readouterr().err
