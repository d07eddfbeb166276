"""CoTracker3 against outputs of the published model for weights filled by a rule: tests/data/cotracker3/golden.npz.

The rule: parameters in the order of their names, i = 0, 1, ...; r is standard normal by RandomState(1000 + i). Biases
0.02 r, norm_context weights 1 + 0.1 r, virtual tracks r, all else r / sqrt(fan-in); the two heads times 0.3.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.models.cotracker3.config import Cotracker3Config
from trainer.models.cotracker3.losses import Estimate, Truth, position_loss, sum_losses
from trainer.models.cotracker3.model import Cotracker3, OnlineWindow, encode_sines, join_windows, resize_time, to_cells

FOLDER = Path(__file__).parents[2] / "data" / "cotracker3"


@pytest.fixture(scope="module")
def golden():
    return np.load(FOLDER / "golden.npz")


def make(**changes) -> Cotracker3:
    model = Cotracker3(Cotracker3Config(**changes)).eval()
    with torch.no_grad():
        for number, (name, parameter) in enumerate(sorted(model.named_parameters())):
            r = np.random.RandomState(1000 + number).standard_normal(parameter.numel()).reshape(parameter.shape)
            if name.endswith("norm_context.weight"):
                value = 1 + 0.1 * r
            elif name.endswith("bias"):
                value = 0.02 * r
            elif name.endswith("virual_tracks"):
                value = r
            else:
                value = r / np.sqrt(np.prod(parameter.shape[1:]))
            if "flow_head" in name or "vis_conf_head" in name:
                value = 0.3 * value
            parameter.copy_(torch.from_numpy(value.astype(np.float32)))
    return model


@pytest.fixture(scope="module")
def offline():
    return make()


@pytest.fixture(scope="module")
def online():
    return make(online=True, window=16)


def tensor(array, dtype=torch.float32):
    return torch.from_numpy(np.array(array)).to(dtype)


def assert_estimate(estimate: Estimate, golden, names: tuple[str, str, str]) -> None:
    np.testing.assert_allclose(4 * estimate.points[0], golden[names[0]], atol=1e-3)
    np.testing.assert_allclose(estimate.visibility[0].sigmoid(), golden[names[1]], atol=1e-5)
    np.testing.assert_allclose(estimate.confidence[0].sigmoid(), golden[names[2]], atol=1e-5)


@pytest.mark.parametrize(("kind", "settings"), [("offline", {}), ("online", {"online": True, "window": 16})])
def test_the_keys_are_the_published_ones(kind, settings):
    rows = [line.split("\t") for line in (FOLDER / f"keys_{kind}.txt").read_text().splitlines()]
    expected = {key: tuple(int(side) for side in shape.strip("[]").split(",")) for key, shape, *_ in rows}
    model = Cotracker3(Cotracker3Config(**settings))
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == expected
    assert len(expected) == 188


@torch.no_grad()
def test_the_encoder(offline, golden):
    video = tensor(golden["offline/video"])[:1]
    features = offline.fnet(2 * (video / 255) - 1)[0, :, ::4, ::4]
    np.testing.assert_allclose(features, golden["offline/fnet_frame0"], atol=1e-5)


@torch.no_grad()
def test_the_transformer(offline, golden):
    tokens = np.random.RandomState(5).standard_normal((1, 3, 8, 1110)).astype(np.float32)
    change = offline.updateformer(torch.from_numpy(tokens).transpose(1, 2)).transpose(1, 2)
    np.testing.assert_allclose(change, golden["offline/updateformer_out"], atol=1e-5)


def test_embeddings(offline, golden):
    np.testing.assert_allclose(resize_time(offline.time_emb, 8)[0, :, ::37], golden["offline/time_emb_T8"], atol=1e-6)
    np.testing.assert_allclose(encode_sines(tensor(golden["posenc/in"])), golden["posenc/out_0_10"], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("iterations", [1, 3])
def test_offline_tracks(offline, golden, iterations):
    levels = offline.encode(tensor(golden["offline/video"])[None])
    queries = to_cells(tensor(golden["offline/queries"])[None])
    ((_, estimates),) = offline.windows(levels, queries, iterations)
    assert_estimate(
        estimates[-1], golden, tuple(f"offline/{name}_it{iterations}" for name in ("coords", "vis", "conf"))
    )


@torch.no_grad()
def test_online_tracks(online, golden):
    levels = online.encode(tensor(golden["online/video"])[None])
    queries = to_cells(tensor(golden["online/queries"])[None])
    whole = join_windows(list(online.windows(levels, queries, 2)), 24)
    assert_estimate(whole, golden, ("online/coords", "online/vis", "online/conf"))
    part = join_windows(list(online.windows([level[:, :21] for level in levels], queries, 2)), 21)
    np.testing.assert_allclose(4 * part.points[0], golden["online/coords_T21"], atol=1e-3)


@torch.no_grad()
def test_a_stream_of_frames_equals_the_whole_video(online, golden):
    video, queries = tensor(golden["online/video"])[None, :21], to_cells(tensor(golden["online/queries"])[None])
    window = OnlineWindow(online, queries, 2)
    found = [(first, window.advance(online.encode(video[:, first : first + 16]))) for first in (0, 8)]
    points = 4 * join_windows(found, 21).points[0]
    np.testing.assert_allclose(points, golden["online/coords_T21_stream"], atol=1e-4)


def estimates_of(golden, window: int) -> list[Estimate]:
    columns = (golden[f"loss/{name}_preds"][window] for name in ("coord", "vis", "conf"))
    return [
        Estimate(points=tensor(points), visibility=tensor(visible).logit(), confidence=tensor(confidence).logit())
        for points, visible, confidence in zip(*columns, strict=True)
    ]


def truth_of(golden, window: int) -> Truth:
    return Truth(
        points=tensor(golden["loss/gt"][window]),
        visible=tensor(golden["loss/vis"][window], torch.bool),
        counted=tensor(golden["loss/valid"][window], torch.bool),
    )


def test_losses(golden):
    windows, truths = [estimates_of(golden, j) for j in range(2)], [truth_of(golden, j) for j in range(2)]
    config = Cotracker3Config()
    expected = {name: float(golden[f"loss/value/{name}"]) for name in (
        "coord_visible_huber", "coord_visible_l1", "coord_invisible_l1", "coord_all_l1", "vis_bce", "conf",
        "total_reference_weights")}  # fmt: skip
    losses = sum_losses(windows, truths, config)
    found = {
        "coord_visible_huber": losses["visible_loss"] / config.lambda_visible,
        "coord_visible_l1": sum_losses(windows, truths, Cotracker3Config(huber_delta=None))["visible_loss"] / 0.05,
        "coord_invisible_l1": losses["invisible_loss"] / config.lambda_invisible,
        "vis_bce": losses["visibility_loss"],
        "conf": losses["confidence_loss"],
        "coord_all_l1": sum(
            position_loss(estimates, truth, truth.counted, gamma=0.8, huber_delta=None)
            for estimates, truth in zip(windows, truths, strict=True)
        ) / 2,
        "total_reference_weights": sum(losses.values()),
    }  # fmt: skip
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-5), name
