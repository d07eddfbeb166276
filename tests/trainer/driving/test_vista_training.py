"""The three stages of Vista from launch to weights, small: the hand-over, what learns, resuming, several processes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.many_processes import launch_all
from trainer.checkpoint import load_weights
from trainer.config import compose_launch
from trainer.launch import main
from trainer.run import describe_run

PHASE_1 = ["model.unet.with_actions=false", "model.unet.frame_values=0"]


def rows_of(folder: Path, event: str | None = None) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "out" / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row.get("event") == event]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_weights(folder / "out" / "weights.safetensors")[0]


@pytest.fixture(scope="module")
def phase1(drives, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phase1")
    assert main(drives.words("vista_phase1", folder, *PHASE_1)) == 0
    return folder


def test_phase_2_begins_with_phase_1_and_adds_actions(drives, phase1, tmp_path):
    init = f"paths.init_weights={phase1 / 'out' / 'weights.safetensors'}"
    words = drives.words("vista_phase2_stage1", tmp_path, init)
    assert main([*words, "training.lora.whole=[to_v.action,frame_embedding]"]) == 0
    before, after = weights_of(phase1), weights_of(tmp_path)
    added = after.keys() - before.keys()
    assert before.keys() < after.keys() and all(".action." in name or "frame_embedding" in name for name in added)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(".to_" in name for name in changed)  # adapters alone, merged
    assert any(after[name].abs().max() > 0 for name in added if name.endswith("to_v.action.weight"))
    assert not any(after[name].abs().max() > 0 for name in added if name.endswith("to_k.action.weight"))
    assert after["unet.frame_embedding.linear_2.weight"].abs().max() > 0
    assert {"diffusion_loss", "structure_loss"} <= rows_of(tmp_path)[0].keys()


def test_another_published_file_is_another_run(drives, tmp_path):
    """Else a training that was begun with one file would go on after it was changed."""
    published, init = tmp_path / "svd.safetensors", tmp_path / "weights.safetensors"
    init.write_bytes(b"of a stage before")

    def identity(content: bytes, *more: str) -> str:
        published.write_bytes(content)
        words = drives.words("vista_phase1", tmp_path, f"model.published={published}", *more)
        recipe, paths = compose_launch("vista_phase1", [word for word in words if not word.startswith("stage=")])
        return describe_run(recipe, paths, 1).identity

    assert identity(b"one") == identity(b"one") != identity(b"another")
    after = f"paths.init_weights={init}"
    assert identity(b"one", after) == identity(b"another", after), "it is not read"


def test_only_what_a_later_phase_adds_may_lack(drives, phase1, tmp_path, capsys):
    init = f"paths.init_weights={phase1 / 'out' / 'weights.safetensors'}"
    words = drives.words("vista_phase2_stage1", tmp_path, init)
    assert main([*words, "model.unet.widths=[64]"]) == 2
    assert "weights of another model: unet." in capsys.readouterr().err


def test_the_learning_rate_of_layers_over_time_is_ten_times_that_of_others(drives, tmp_path):
    assert (
        main(drives.words("vista_phase1", tmp_path, *PHASE_1, "training.num_steps=1", "optimizer.warmup_steps=0")) == 0
    )
    before = load_weights(tmp_path / "out" / "untrained.safetensors")[0]
    after = weights_of(tmp_path)  # of the average after one step, 2 / 11 of which is the weights before
    moved = {name: float((after[name] - before[name]).abs().max()) for name in after}
    slow = moved["unet.conv_in.weight"]
    over_time = [value for name, value in moved.items() if ".temporal_res_block.conv1.weight" in name]
    assert over_time[0] == pytest.approx(10 * slow, rel=1e-2)


def test_a_resumed_training_gives_the_same_bytes(drives, phase1, tmp_path):
    words = drives.words("vista_phase1", tmp_path, *PHASE_1, "training.save_every=2")
    code = "import trainer.loop as loop\nsave = loop.save\ndef stop(*a):\n    save(*a)\n    raise ValueError('stop')\n"
    ended = launch_all([words], processes=1, before=code + "loop.save = stop\n")
    assert ended[0][0] == 2 and "stop" in ended[0][1]
    assert main(words) == 0
    name = Path("out") / "weights.safetensors"
    assert [row["step"] for row in rows_of(tmp_path)][-1] == 4
    tensors, expected = weights_of(tmp_path), weights_of(phase1)
    assert all(torch.equal(tensors[key], expected[key]) for key in expected), name


def test_validation_says_what_copying_gives_and_chooses_the_best(drives, tmp_path):
    more = ["validation.dataset=drives", "validation.every_steps=2", "validation.num_videos=2", "training.keep=best"]
    words = drives.words("vista_phase1", tmp_path, *PHASE_1, *more, "validation.sampling_steps=2")
    assert main(words) == 0
    rows = rows_of(tmp_path, "validation")
    assert [row["step"] for row in rows] == [2, 4]
    for row in rows:
        assert row["psnr_gain"] == pytest.approx(row["psnr"] - row["copy_psnr"], abs=1e-5)
        assert row["denoising_loss"] > 0
    best = max(rows, key=lambda row: row["psnr"])
    assert f"step {best['step']}" and (tmp_path / "out" / "best.safetensors").exists()
    shutil.rmtree(tmp_path / "out")
    assert main([*words, "validation.best_by=denoising_loss"]) == 0
    assert main([*words, "validation.best_by=delta_avg"]) == 2


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_learn_without_a_parameter_left_over(drives, phase1, tmp_path, strategy):
    init = f"paths.init_weights={phase1 / 'out' / 'weights.safetensors'}"
    words = drives.words("vista_phase2_stage1", tmp_path, init, f"training.strategy={strategy}")
    words += ["training.lora.whole=[to_v.action,frame_embedding]", "training.num_steps=2", "training.batch_size=1"]
    ended = launch_all([words], processes=2)
    assert [code for code, _ in ended] == [0, 0], ended[0][1][-3000:]
    assert np.isfinite([row["diffusion_loss"] for row in rows_of(tmp_path)]).all()


def test_latents_need_their_frozen_networks(drives, tmp_path, capsys):
    pytest.importorskip("transformers", reason="Vista's picture encoder needs the extra `vista`")
    words = drives.words("vista_phase1", tmp_path, *PHASE_1, "model.space=latents", "model.preset=tiny")
    words = [word for word in words if not word.startswith("model.unet.w")]
    words += ["model.unet.widths=[32,64]", "model.unet.attending=[true,true]", "data.driving.height=16"]
    words += ["data.driving.width=16", "model.objective.sigma_data=1.0", "model.around_first=false"]
    tiny = [*words, "model.frozen=tiny"]
    assert main([*words, "+model.unet.context_width=1024"]) == 2
    assert "its autoencoder and its tower are not trained; set model.published" in capsys.readouterr().err
    assert main([*tiny, "model.published=nowhere.safetensors"]) == 2
    assert "nowhere.safetensors is not there; download svd_xt.safetensors" in capsys.readouterr().err
    assert main(tiny) == 0
    tensors = weights_of(tmp_path)
    assert any(name.startswith("autoencoder.") for name in tensors)
