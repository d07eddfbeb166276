"""LBM against outputs of the reference implementation, for weights that a rule fills (tests/data/lbm/golden.npz).

The rule: r = default_rng(crc32(key)).standard_normal(shape); 0.02 r for embeddings, 1 + 0.1 |r| for running_var, 0.05 r
for running_mean and biases, 1 + 0.1 r for other vectors, else r / sqrt(fan in). Tolerances are the fixture's own.
"""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.models import build
from trainer.models.lbm.losses import NAMES

DATA = Path(__file__).parents[2] / "data" / "lbm"
NO_GRADIENT = {"transformer.layers.2.reference_rho.weight", "transformer.layers.2.reference_rho.bias"}


def fill_by_rule(model: torch.nn.Module) -> None:
    state = model.state_dict()
    for key, value in state.items():
        if value.dtype == torch.int64:
            continue
        r = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(tuple(value.shape)).astype(np.float32)
        if "pos_embedding" in key or "time_emb" in key:
            r = 0.02 * r
        elif key.endswith("running_var"):
            r = 1 + 0.1 * np.abs(r)
        elif key.endswith(("running_mean", "bias")):
            r = 0.05 * r
        elif r.ndim == 1:
            r = 1 + 0.1 * r
        else:
            r = r / np.sqrt(np.prod(r.shape[1:]))
        value.copy_(torch.from_numpy(np.asarray(r, np.float32)))


@pytest.fixture(scope="module")
def golden():
    return np.load(DATA / "golden.npz")


@pytest.fixture(scope="module")
def model():
    model = build("lbm", dropout=0.0, random_memory_mask_drop=0.0, visibility_threshold=0.5)
    fill_by_rule(model)
    return model


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def inputs(golden, tracks="tracks"):
    video = torch.from_numpy(golden["video"]).float()
    return video, *(torch.from_numpy(golden[name]) for name in ("queries_txy", tracks, "visibility"))


def test_state_dict_has_the_published_keys(model):
    lines = (DATA / "keys.txt").read_text().splitlines()
    published = [tuple(line.split("\t")) for line in lines]
    ours = [
        (key, str(tuple(value.shape)), str(value.dtype).removeprefix("torch."))
        for key, value in model.state_dict().items()
    ]
    assert sorted(ours) == sorted(row[:3] for row in published)
    assert len(ours) == 336
    assert sum(p.numel() for p in model.parameters()) == 17_822_022
    assert {name for name, _ in model.named_parameters()} == {row[0] for row in published if row[3] == "param"}


@pytest.mark.parametrize("memory_size", [12, 20])
def test_inference(model, golden, memory_size):
    model.eval()
    video, queries, *_ = inputs(golden)
    begun = np.arange(3)[:, None] >= golden["queries_txy"][0, :, 0]  # (T, N): before its query a point has no result
    prefix = f"inf_m{memory_size}_"
    with torch.no_grad():
        scale = model.scale_of(video)
        asked = torch.cat([queries[..., :1], queries[..., 1:] * scale], -1)
        frames = list(model.follow((model.encode(x) for x in video.unbind(1)), asked, memory_size))

    def compare(name, values, tolerance):
        ours = torch.stack(values, 1).numpy()[0][begun]
        np.testing.assert_allclose(ours, golden[prefix + name][0][begun], atol=tolerance, rtol=0, err_msg=name)

    compare("ref_points", [x.reference[:, :, None] for x in frames], 1e-2)
    compare("offset", [x.offset for x in frames], 1e-3)
    compare("vis_logit", [x.visibility_logit for x in frames], 1e-4)
    compare("rho_logit", [x.rho_logit for x in frames], 1e-4)
    compare("collision", [x.collision for x in frames], 1e-4)
    compare("stream", [x.stream for x in frames], 1e-4)
    for layer in range(3):
        correlation = [x.layers[layer].correlation.values() for x in frames]
        compare(f"corr{layer}_max", [x.amax(-1) for x in correlation], 1e-4)
        compare(f"corr{layer}_mean", [x.mean(-1) for x in correlation], 1e-4)
        compare(f"corr{layer}_argmax", [x.argmax(-1) for x in correlation], 0)
        compare(f"corr{layer}_top10", [x.topk(10).values for x in correlation], 1e-4)
        compare(f"refrho{layer}", [x.layers[layer].reference_rho for x in frames], 1e-4)

    result = model.track(video, queries, memory_size=memory_size)
    ours = result.points[0].numpy()[begun]
    np.testing.assert_allclose(ours, golden[prefix + "points"][0][begun], atol=1e-2, rtol=0)
    np.testing.assert_array_equal(result.visible[0].numpy()[begun], golden[prefix + "visible"][0][begun])
    assert not result.visible[0].numpy()[~begun].any()


@pytest.mark.parametrize("mode", ["evalmode", "trainmode"])
@pytest.mark.parametrize("tracks", ["tracks", "tracks_near"])
def test_losses_and_gradients(model, golden, mode, tracks):
    fill_by_rule(model)  # train mode moves the running statistics
    model.train(mode == "trainmode")
    model.zero_grad()
    losses = model.losses(*inputs(golden, tracks))
    near = "near_" if tracks == "tracks_near" else ""
    assert list(losses) == list(golden["loss_names"]) == list(NAMES)
    ours = np.array([loss.item() for loss in losses.values()])
    np.testing.assert_allclose(ours, golden[f"loss_{near}{mode}"], atol=1e-4, rtol=1e-5)
    torch.stack(list(losses.values())).sum().backward()
    parameters = dict(model.named_parameters())
    for name, norm in zip(golden["param_names"], golden[f"gradnorm_{near}{mode}"], strict=True):
        gradient = parameters[name].grad
        if name in NO_GRADIENT:
            assert gradient is None and np.isnan(norm)
        else:
            np.testing.assert_allclose(gradient.norm().item(), norm, rtol=1e-3, atol=2e-5, err_msg=name)
