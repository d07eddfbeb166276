"""Weights of one input size work at another: the position embedding is interpolated, all else stays."""

import pytest
import torch

from trainer.checkpoint import load_into, save_weights
from trainer.config import compose
from trainer.models import build
from trainer.models.lbm import task
from trainer.predict import load_model, main, parse_size

SMALL = {"dim": 32, "backbone_width": 8, "num_layers": 2, "memory_size": 3, "dropout": 0.0}


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    recipe = compose("lbm", ["model=lbm_small", "model.input_size=[64,96]", "model.dim=32", "model.backbone_width=8"])
    save_weights(tmp_path / "weights.safetensors", task.build(recipe.model), recipe)
    return tmp_path / "weights.safetensors"


def test_all_but_the_embedding_stays_as_it_was():
    torch.manual_seed(0)
    trained, other = build("lbm", **SMALL, input_size=[64, 96]), build("lbm", **SMALL, input_size=[128, 64])
    tensors = task.fit_weights(trained.state_dict(), other)
    changed = {name for name, value in trained.state_dict().items() if not torch.equal(tensors[name], value)}
    sizes = {"transformer.spatial_shapes", "transformer.start_levels"}
    assert changed == {"backbone.frame_pos_embedding"} | sizes
    load_into(other, tensors, "weights")
    assert other.transformer.spatial_shapes.tolist()[0] == [32, 16]
    own = trained.state_dict()
    assert task.fit_weights(own, trained) is own  # nothing to do at its own size


def test_a_linear_embedding_stays_linear():
    trained, other = build("lbm", **SMALL, input_size=[64, 64]), build("lbm", **SMALL, input_size=[64, 128])
    columns = torch.arange(16.0).expand(1, 32, 16, 16)
    tensors = task.fit_weights(trained.state_dict() | {"backbone.frame_pos_embedding": columns}, other)
    expected = (torch.arange(32.0) + 0.5) / 2 - 0.5  # the same place of the image, not the same number of the cell
    torch.testing.assert_close(tensors["backbone.frame_pos_embedding"][0, 0, 0, 1:-1], expected[1:-1])


def test_tracking_at_another_size(weights):
    model, _ = load_model(weights, "cpu", (96, 64))
    assert model.config.input_size == (96, 64)
    video, queries = torch.rand(1, 3, 3, 40, 60) * 255, torch.tensor([[[0.0, 30.0, 20.0]]])
    tracks = model.track(video, queries)
    assert tracks.points.isfinite().all() and tracks.points.shape == (1, 3, 1, 2)


@pytest.mark.parametrize("size", ["100x96", "0x32", "16x16"])
def test_a_size_that_no_pyramid_fits_is_one_line(weights, tmp_path, capsys, size):
    arguments = ["--weights", str(weights), "--truth", "none.json", "--out", str(tmp_path / "p.npz")]
    assert main([*arguments, "--input-size", size]) == 2
    assert "must be multiples of 32" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["384", "384x", "axb", "1x2x3"])
def test_a_size_is_written_as_height_x_width(text):
    with pytest.raises(Exception, match="HEIGHTxWIDTH"):
        parse_size(text)
