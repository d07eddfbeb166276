"""The fast formulations of LBM's parts equal the plain ones: outputs to 1e-5, gradients to 1e-4 of the largest."""

import pytest
import torch
import torch.nn.functional as F

from trainer.models import build
from trainer.models.lbm import correlation, gather
from trainer.models.lbm.deformable import DeformableAttention
from trainer.models.lbm.layer import make_pyramid
from trainer.models.lbm.losses import NAMES
from trainer.models.lbm.transformer import Transformer

LEVELS = [(12, 16), (6, 8), (3, 4), (1, 2)]
NUM_TOKENS = sum(height * width for height, width in LEVELS)
SMALL = {"input_size": [64, 96], "dim": 32, "backbone_width": 8, "memory_size": 2}


def gradients(output: torch.Tensor, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Gradients of a sum whose terms all differ."""
    weights = torch.arange(output.numel(), dtype=output.dtype).sin().view_as(output)
    return list(torch.autograd.grad((output * weights).sum(), inputs, retain_graph=True))


def assert_equal(ours: list[torch.Tensor], plain: list[torch.Tensor], share: float) -> None:
    for one, other in zip(ours, plain, strict=True):
        assert (one - other).abs().max() <= share * other.abs().max()


@pytest.fixture
def attention():
    torch.manual_seed(3)
    module = DeformableAttention(32, 4, LEVELS, 5, 0.0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # many samples fall outside the maps
    return module


@pytest.mark.skipif(not gather.is_available(torch.device("cpu")), reason="no sparse products on this CPU")
@pytest.mark.parametrize("way", ["gather_projected", "gather_then_project"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gathered_sums_equal_sampled_maps(attention, way, dtype):
    attention = attention.to(dtype)
    cells = (torch.rand(2, 21, 4, 4, 5, 2, dtype=dtype) * 24 - 4).requires_grad_()  # beyond all edges too
    shares = torch.rand(2, 21, 4, 4, 5, dtype=dtype, requires_grad=True)
    tokens = torch.randn(2, NUM_TOKENS, 32, dtype=dtype, requires_grad=True)
    inputs = [cells, shares, tokens, attention.value_proj.weight, attention.value_proj.bias]
    plain, ours = (getattr(attention, name)(cells, shares, tokens) for name in ("sample_maps", way))
    exact = dtype is torch.float64
    assert_equal([ours], [plain], 1e-14 if exact else 1e-5)
    assert_equal(gradients(ours, inputs), gradients(plain, inputs), 1e-12 if exact else 1e-4)


def test_a_position_that_is_no_number_samples_nothing_and_crashes_nothing(attention):
    cells = torch.full((1, 1, 4, 4, 5, 2), torch.nan)
    shares, tokens = torch.ones(1, 1, 4, 4, 5), torch.randn(1, NUM_TOKENS, 32)
    attended = attention.gather_projected(cells, shares, tokens)
    assert attended.shape == (1, 1, 32)


def test_fused_levels_equal_one_map_a_point_and_level():
    torch.manual_seed(0)
    model = build("lbm", **SMALL)
    layer = model.transformer.layers[0]
    features = torch.randn(2, 32, 16, 24, requires_grad=True)
    query = torch.randn(2, 9, 32, requires_grad=True)
    cell = torch.randint(0, 16 * 24, (2, 9))
    pyramid = make_pyramid(features, model.config)
    inputs = [features, query, layer.corr_conv.weight]
    results = []
    for maps in (None, model.transformer.fuse(pyramid, 100)[0]):
        compared = layer.correlate(query, pyramid, maps)
        best, values = compared.best(5), compared.values()
        entropy = compared.cross_entropy(cell)
        results.append((best, values, entropy, gradients(values, inputs), gradients(entropy, inputs)))
    plain, fused = results
    assert torch.equal(plain[0], fused[0])
    assert_equal(fused[1:3], plain[1:3], 1e-5)
    assert_equal(fused[3], plain[3], 1e-4)
    assert_equal(fused[4], plain[4], 1e-4)
    expected = F.cross_entropy(plain[1].transpose(1, 2) / model.config.temperature, cell, reduction="none")
    torch.testing.assert_close(fused[2], expected, atol=1e-4, rtol=1e-5)


def train_once(monkeypatch, *, plain: bool = False, **settings) -> dict[str, torch.Tensor]:
    """Losses, gradients and batch-norm statistics of one step of one model on one random batch."""
    with monkeypatch.context() as patched:
        if plain:
            patched.setattr(gather, "is_available", lambda device: False)
            patched.setattr(Transformer, "fuse", lambda self, pyramid, num_points: [None] * len(self.layers))
        torch.manual_seed(0)
        model = build("lbm", **SMALL, **settings).train()
        with torch.no_grad():  # fresh offsets point at cells' centres, where the gradient jumps: rounding would decide
            for name, parameter in model.named_parameters():
                if "sampling_offsets" in name:
                    parameter.add_(0.05 * torch.randn_like(parameter))
        generator = torch.Generator().manual_seed(1)
        video = torch.rand(2, 4, 3, 64, 96, generator=generator) * 255
        tracks = torch.rand(2, 4, 6, 2, generator=generator) * torch.tensor([96, 64])
        visible = torch.rand(2, 4, 6, generator=generator) < 0.8
        queries = torch.cat([torch.zeros(2, 6, 1), tracks[:, 0]], -1)
        torch.manual_seed(2)
        losses = model.losses(video, queries, tracks, visible)
        torch.stack(list(losses.values())).sum().backward()
    result = {name: losses[name].detach() for name in NAMES}
    result |= {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return result | {name: b.float() for name, b in model.named_buffers() if "running" in name or "tracked" in name}


def test_a_training_step_equals_the_plain_formulation(monkeypatch):
    ours, plain = (train_once(monkeypatch, plain=p, dropout=0.0, random_memory_mask_drop=0.0) for p in (False, True))
    assert ours.keys() == plain.keys()
    largest = max(float(value.abs().max()) for name, value in plain.items() if "." in name and "running" not in name)
    for name, expected in plain.items():
        tolerance = 1e-5 if name in NAMES else 1e-4
        scale = max(float(expected.abs().max()), 3e-3 * largest)  # a gradient that is zero but for rounding
        assert float((ours[name] - expected).abs().max()) <= tolerance * scale, name


@pytest.mark.parametrize("recompute", ["none", "frame"])
def test_recomputing_changes_nothing(monkeypatch, recompute):
    # Dropout and hidden memory slots are on: what is computed again draws the same ones.
    expected = train_once(monkeypatch, dropout=0.1, random_memory_mask_drop=0.3)
    ours = train_once(monkeypatch, dropout=0.1, random_memory_mask_drop=0.3, recompute=recompute)
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, atol=1e-6, rtol=1e-4, msg=name)


def test_recomputing_frames_keeps_less(monkeypatch):
    kept = {recompute: bytes_for_backward(recompute) for recompute in ("none", "feed_forward", "frame")}
    assert kept["frame"] < 0.3 * kept["feed_forward"] < 0.3 * kept["none"]


def bytes_for_backward(recompute: str) -> int:
    """Bytes of all storages that autograd keeps from a forward pass."""
    model, storages = build("lbm", **SMALL, recompute=recompute).train(), {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage  # held, so that no address comes twice
        return tensor

    tracks = torch.rand(1, 4, 40, 2) * 64
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        queries = torch.cat([torch.zeros(1, 40, 1), tracks[:, 0]], -1)
        model.losses(torch.rand(1, 4, 3, 64, 96), queries, tracks, torch.ones(1, 4, 40, dtype=torch.bool))
    return sum(storage.nbytes() for storage in storages.values())


def test_the_cross_entropy_keeps_no_map(monkeypatch):
    monkeypatch.setattr(correlation, "CHUNK", 4)  # three chunks of the nine points
    query = F.normalize(torch.randn(2, 9, 16), dim=-1).requires_grad_()
    maps, cell = torch.randn(2, 16, 50, requires_grad=True), torch.randint(0, 50, (2, 9))
    compared = correlation.Correlation(query=query, maps=maps, bias=torch.zeros(1), temperature=0.1)
    compared.best(1)
    plain = F.cross_entropy((query @ maps).transpose(1, 2) / 0.1, cell, reduction="none")
    ours = compared.cross_entropy(cell)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    assert_equal(gradients(ours, [query, maps]), gradients(plain, [query, maps]), 1e-4)
