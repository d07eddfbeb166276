"""Export and import of weights: ONNX against PyTorch, published files in every wrapping, and hostile ones."""

import argparse
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from trainer import export
from trainer.checkpoint import load_weights, save_weights
from trainer.config import DataConfig, Recipe, TrainingConfig
from trainer.models import build
from trainer.models.lbm.stepping import Step
from trainer.onnx_step import OnnxTracker, check_step, example_inputs, export_step, sliding_texture
from trainer.predict import load_model
from trainer.published import read_published

SMALL = {"input_size": [64, 96], "dim": 32, "backbone_width": 8, "num_layers": 3, "memory_size": 3, "dropout": 0.0}
SETTINGS = [f"{key}={value}" for key, value in SMALL.items()]


@pytest.fixture(scope="module")
def model():
    """Random weights whose heads and memories say something: fresh ones are nearly the same for every point."""
    torch.manual_seed(0)
    model = build("lbm", **SMALL, visibility_threshold=0.5).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "backbone" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture
def weights(model, tmp_path):
    settings = {"name": "lbm", **SMALL, "visibility_threshold": 0.5}
    data, training = DataConfig(dataset="toy"), TrainingConfig(num_steps=1)
    recipe = Recipe(stage="lbm", exp_name="lbm", model=settings, data=data, training=training)
    save_weights(tmp_path / "weights.safetensors", model, recipe)
    return tmp_path / "weights.safetensors"


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    pytest.importorskip("onnx", reason="the extra export is not installed")
    pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    path = tmp_path_factory.mktemp("onnx") / "lbm.onnx"
    export_step(path, model, num_points=10)
    return path


def test_steps_equal_the_whole_video_call(model):
    num_frames, size = 7, (40, 60)
    video = sliding_texture(num_frames, *size)
    begin = torch.tensor([0, 0, 2, 5])
    xy = torch.tensor([[5.0, 6.0], [50.5, 30.0], [20.0, 39.0], [59.0, 1.0]])
    expected = model.track(
        torch.from_numpy(video).permute(0, 3, 1, 2)[None], torch.cat([begin[:, None].float(), xy], 1)[None]
    )
    step = Step(model)
    query, memory = torch.zeros(4, 32), torch.zeros(4, 1, step.num_entries, 32)
    ignored = torch.ones(4, 1, dtype=torch.bool)
    for t in range(num_frames):
        with torch.no_grad():
            points, visibility, _, query, slot, hidden = step(
                torch.from_numpy(video[t]), xy, begin == t, query, memory, ignored
            )
        begun = begin <= t
        torch.testing.assert_close(points[begun], expected.points[0, t, begun], atol=1e-4, rtol=0)
        logit = expected.visibility_logit[0, t, begun]
        torch.testing.assert_close(visibility[begun], logit.sigmoid(), atol=1e-5, rtol=0)
        memory = torch.cat([memory, slot[:, None]], 1)[:, -3:]
        ignored = torch.cat([ignored, (hidden | ~begun)[:, None]], 1)[:, -3:]


def test_onnx_equals_pytorch_for_any_number_of_points_and_slots(model, file):
    found = check_step(file, model, counts=(1, 10, 64), size=(50, 70))
    assert found.points_px < 1e-3 and found.visibility < 1e-5 and found.uncertainty < 1e-5
    assert found.num_points == (1, 10, 64, 64, 64, 1)
    found = check_step(file, model, counts=(2, 3), size=(200, 30))
    assert found.points_px < 1e-3


def test_a_file_for_many_points_and_a_longer_memory_is_right_too(model, file):
    longer = file.with_name("longer.onnx")
    export_step(longer, model, memory_size=5, num_points=200)
    assert check_step(longer, model, counts=(1, 40)).points_px < 1e-3
    assert OnnxTracker(longer).memory_size == 5


def test_the_check_finds_other_weights(model, file):
    torch.manual_seed(5)
    other = build("lbm", **SMALL).eval()
    assert check_step(file, other, counts=(4,)).points_px > 0.1


def test_removed_points_leave_the_others_as_they_were(file):
    video = sliding_texture(5, 40, 60)
    xy = np.random.default_rng(0).uniform(5, 35, (6, 2)).astype(np.float32)
    whole, cut = OnnxTracker(file), OnnxTracker(file)
    for t, frame in enumerate(video):
        whole.step(frame, xy if t == 0 else None)
        cut.step(frame, xy if t == 0 else None)
        if t == 2:
            cut.keep(np.array([4, 1]))
    np.testing.assert_allclose(cut.points, whole.points[[4, 1]], atol=1e-3)


def test_no_points_are_no_work(file):
    tracker = OnnxTracker(file)
    tracker.session = None  # would fail if it were asked
    tracker.step(np.zeros((8, 8, 3), np.uint8))
    assert tracker.points.shape == (0, 2) and tracker.memory.shape[0] == 0


def test_the_command_exports_checks_and_says_how_far_it_is_off(weights, file, capsys):
    out = weights.with_name("lbm.onnx")
    assert export.main(["--weights", str(weights), "--format", "onnx", "--out", str(out)]) == 0
    assert "largest difference to PyTorch over 6 frames, 1 to 64 points" in capsys.readouterr().out
    assert out.stat().st_size > 10000


def test_a_file_that_computes_something_else_is_reported(weights, file, capsys, monkeypatch):
    monkeypatch.setattr(export, "LARGEST_DIFFERENCE_PX", 0.0)
    monkeypatch.setattr(export, "export_step", lambda path, *_, **__: path.write_bytes(file.read_bytes()))
    out = weights.with_name("lbm.onnx")
    assert export.main(["--weights", str(weights), "--format", "onnx", "--out", str(out)]) == 2
    assert "do not use this file" in capsys.readouterr().err


def test_what_cannot_be_exported_is_named(model, file, tmp_path):
    with pytest.raises(ValueError, match="opset 11 cannot hold this model"):
        export_step(tmp_path / "a.onnx", model, opset=11)
    with pytest.raises(ValueError, match="must be at least 1"):
        export_step(tmp_path / "a.onnx", model, memory_size=0)
    assert not (tmp_path / "a.onnx").exists()
    import onnx

    foreign = onnx.load(file)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(ValueError, match="no exported step"):
        OnnxTracker(tmp_path / "foreign.onnx")


def test_without_the_extra_the_command_says_what_to_install(weights, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert export.main(["--weights", str(weights), "--format", "onnx", "--out", "x.onnx"]) == 2
    assert capsys.readouterr().err == "error: onnx is not installed; run pip install 'frameline[export]'\n"


def test_examples_fill_the_memory(model):
    inputs = example_inputs(Step(model, 5), 7)
    assert inputs[4].shape == (7, 5, 12, 32) and inputs[0].shape == (64, 96, 3)


def test_plain_safetensors_hold_the_published_keys_and_come_back(weights, model, tmp_path, capsys):
    plain, back = tmp_path / "plain.safetensors", tmp_path / "back.safetensors"
    assert export.main(["--weights", str(weights), "--format", "safetensors", "--out", str(plain)]) == 0
    with safe_open(plain, framework="pt") as opened:
        assert set(opened.keys()) == set(model.state_dict()) and not opened.metadata()
    assert export.main(["--from", str(plain), "--out", str(back), *SETTINGS]) == 0
    for key, value in model.state_dict().items():
        assert torch.equal(load_weights(back)[0][key], value)


@pytest.mark.parametrize("prefix", ["", "module.", "module.module.", "module._orig_mod."])
@pytest.mark.parametrize("under", ["model", "state_dict", None])
def test_published_files_come_in_however_they_are_wrapped(model, tmp_path, prefix, under):
    state = {prefix + key: value for key, value in model.state_dict().items()}
    content = state if under is None else {under: state, "epoch": 3, "args": argparse.Namespace(lr=5e-4, root="x")}
    torch.save(content, tmp_path / "lbm.pt")
    out = tmp_path / "weights.safetensors"
    assert export.main(["--from", str(tmp_path / "lbm.pt"), "--out", str(out), *SETTINGS]) == 0
    loaded, name = load_model(out, "cpu")
    assert name == "published" and loaded.config.memory_size == 3
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


def split(tensors: dict[str, torch.Tensor], folder: Path, stem: str, ending: str) -> Path:
    """Weights as many files and their index, as transformers and DeepSpeed's zero_to_fp32 write them."""
    folder.mkdir()
    keys, files = sorted(tensors), [f"{stem}-0000{i}-of-00002.{ending}" for i in (1, 2)]
    for name, part in zip(files, (keys[::2], keys[1::2]), strict=True):
        content = {key: tensors[key].contiguous() for key in part}
        save_file(content, folder / name) if ending == "safetensors" else torch.save(content, folder / name)
    index = folder / f"{stem}.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {key: files[keys.index(key) % 2] for key in keys}}))
    return index


@pytest.mark.parametrize(("stem", "ending"), [("pytorch_model", "bin"), ("model", "safetensors")])
@pytest.mark.parametrize("prefix", ["", "_forward_module."])
def test_weights_in_many_files_come_in_by_their_index_or_their_folder(model, tmp_path, stem, ending, prefix):
    """The prefix is what Lightning with DeepSpeed puts before every key."""
    index = split({prefix + k: v for k, v in model.state_dict().items()}, tmp_path / "many", stem, ending)
    out = tmp_path / "weights.safetensors"
    for source in (index, index.parent):
        assert export.main(["--from", str(source), "--out", str(out), *SETTINGS]) == 0
        for key, value in load_weights(out)[0].items():
            assert torch.equal(value, model.state_dict()[key])


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_folder_with_one_file_comes_in_too(model, tmp_path, name):
    """DeepSpeed's zero_to_fp32 makes a folder of the name that it is given."""
    folder = tmp_path / "pytorch_model.bin"
    folder.mkdir()
    content = {key: value.contiguous() for key, value in model.state_dict().items()}
    torch.save(content, folder / name) if name.endswith("bin") else save_file(content, folder / name)
    assert read_published(folder).keys() == model.state_dict().keys()


def test_an_index_and_its_files_must_agree(tmp_path):
    index = split({"a": torch.zeros(1), "b": torch.ones(1)}, tmp_path / "many", "model", "safetensors")
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    for weight_map, message in (
        ({"a": first, "b": first}, "files and weight_map disagree: 'b' in model-00001"),
        ({"a": first, "b": second, "c": second}, "disagree: 'c' in model-00002"),
        ({"a": first, "b": "none.safetensors"}, "the file none.safetensors is missing"),
        ({"a": "../many/" + first, "b": second}, "refused: weight_map names '../many/model-00001"),
        ({"a": index.name}, "refused: weight_map names 'model.safetensors.index.json'"),
        (["a"], "no index of weights"),
    ):
        index.write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(ValueError, match=re.escape(message)):
            read_published(index)
    index.unlink()
    with pytest.raises(ValueError, match=r"many: a folder without model\.safetensors\.index\.json or "):
        read_published(index.parent)


class Hostile:
    """Would run a command when it is unpickled freely."""

    def __reduce__(self):
        return os.system, ("touch hostile_pickle_was_here",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("content", [Hostile(), {"model": {}, "args": argparse.Namespace(a=Hostile())}])
def test_hostile_files_are_refused_with_one_line(tmp_path, monkeypatch, capsys, content, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "lbm.pt", _use_new_zipfile_serialization=zipped)
    assert export.main(["--from", "lbm.pt", "--out", "weights.safetensors"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: lbm.pt: refused: asks for posix.system") and error.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["lbm.pt"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 1}, "'epoch' is a int, no tensor"),
        ([1, 2], "holds no weights"),
        ({"a": torch.tensor([1.0, torch.nan])}, "'a' holds NaN"),
        ({"module.a": torch.zeros(1), "a": torch.zeros(1)}, "two keys are 'a'"),
        ({"model": {"a": torch.zeros(1)}, "best": np.float64(0.5)}, "asks for numpy"),
    ],
)
def test_what_is_no_state_dict_is_named(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=message):
        read_published(tmp_path / "x.pt")


def test_damaged_and_missing_files_are_named(tmp_path, model, capsys):
    (tmp_path / "x.pt").write_bytes(b"hello")
    with pytest.raises(ValueError, match="not a readable torch file"):
        read_published(tmp_path / "x.pt")
    (tmp_path / "x.safetensors").write_bytes(b"hello")
    with pytest.raises(ValueError, match="not a readable safetensors"):
        read_published(tmp_path / "x.safetensors")
    assert export.main(["--from", str(tmp_path / "none.pt"), "--out", "w"]) == 2
    assert "none.pt" in capsys.readouterr().err


def test_keys_must_fit_strictly(tmp_path, model, capsys):
    state = dict(model.state_dict())
    state["extra"] = state.pop("transformer.vis_norm.weight")
    torch.save({"model": state}, tmp_path / "x.pt")
    assert export.main(["--from", str(tmp_path / "x.pt"), "--out", str(tmp_path / "w"), *SETTINGS]) == 2
    error = capsys.readouterr().err
    assert "extra is unknown" in error and "transformer.vis_norm.weight is missing" in error
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--weights", "w", "--out", "o"],
        ["--from", "w", "--format", "onnx", "--out", "o"],
        ["--checkpoint", "w", "--format", "onnx", "--out", "o"],
        ["--weights", "w", "--format", "onnx", "--pick", "ema", "--out", "o"],
        ["--checkpoint", "w", "--out", "o", "dim=3"],
    ],
)
def test_options_that_do_not_belong_together_are_refused(arguments):
    with pytest.raises(SystemExit):
        export.parse_arguments(arguments)
