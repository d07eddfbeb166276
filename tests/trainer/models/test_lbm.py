"""Properties of LBM that hold for any weights, on a small configuration."""

import pytest
import torch
import torch.nn.functional as F

from trainer.models import build
from trainer.models.lbm.layer import make_pyramid
from trainer.models.lbm.memory import interpolate_time

SMALL = {"input_size": [64, 96], "dim": 32, "backbone_width": 8, "num_layers": 3, "memory_size": 3, "dropout": 0.0}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build("lbm", **SMALL, visibility_threshold=0.3).eval()


def make_inputs(num_frames=5, num_points=7, size=(40, 60)):
    generator = torch.Generator().manual_seed(1)
    video = torch.rand(1, num_frames, 3, *size, generator=generator) * 255
    tracks = torch.rand(1, num_frames, num_points, 2, generator=generator) * torch.tensor([size[1], size[0]])
    visible = torch.rand(1, num_frames, num_points, generator=generator) < 0.7
    frame = torch.tensor([[0, 0, 1, 2, 0, 3, 0]])[:, :num_points].clamp(max=num_frames - 1)
    queries = torch.cat([frame[..., None].float(), tracks[0, frame[0], torch.arange(num_points)][None]], -1)
    return video, queries, tracks, visible


def test_fused_correlation_equals_the_plain_one(model):
    layer = model.transformer.layers[0]
    features, query = torch.randn(2, 32, 16, 24), torch.randn(2, 9, 32)
    levels = [features] + [F.avg_pool2d(features, 2**level) for level in (1, 2, 3)]
    maps = []
    for level in levels:  # the published formulation: one map a point and level, upsampled, mixed by the convolution
        cosine = torch.einsum("bnc,bchw->bnhw", F.normalize(query, dim=-1), F.normalize(level, dim=1))
        maps.append(F.interpolate(cosine, (16, 24), mode="bilinear", align_corners=False))
    mixed = layer.corr_conv(torch.stack(maps, 2).flatten(0, 1)).view(2, 9, -1)
    plain = maps[0].flatten(2) + mixed
    pyramid = make_pyramid(features, model.config)
    fused = layer.correlate(query, pyramid, model.transformer.fuse(pyramid, 100)[0])
    torch.testing.assert_close(fused.values(), plain, atol=1e-5, rtol=0)
    one_by_one = layer.correlate(query, pyramid, None)
    torch.testing.assert_close(one_by_one.values(), plain, atol=1e-5, rtol=0)


def test_points_do_not_see_each_other(model):
    video, queries, *_ = make_inputs()
    order = torch.tensor([3, 1, 6, 0, 5, 2, 4])
    together, shuffled = model.track(video, queries), model.track(video, queries[:, order])
    torch.testing.assert_close(together.points[:, :, order], shuffled.points, atol=1e-4, rtol=0)
    alone = model.track(video, queries[:, 2:3])
    torch.testing.assert_close(together.points[:, :, 2:3], alone.points, atol=1e-4, rtol=0)


def test_tracking_equals_the_training_forward(model):
    video, queries, *_ = make_inputs()
    tracked = model.track(video, queries)
    with torch.no_grad():
        features = model.encode(video.flatten(0, 1)).unflatten(0, (1, 5))
        scale = model.scale_of(video)
        asked = torch.cat([queries[..., :1], queries[..., 1:] * scale], -1)
        points = torch.stack([x.points / scale for x in model.follow(features.unbind(1), asked)], 1)
    begun = torch.arange(5)[:, None] >= queries[0, :, 0]
    torch.testing.assert_close(tracked.points[0][begun], points[0][begun], atol=1e-4, rtol=0)
    assert torch.equal(tracked.points[0][~begun], queries[0, :, 1:].expand(5, -1, -1)[~begun])


def test_tracking_is_causal(model):
    video, queries, *_ = make_inputs()
    changed = video.clone()
    changed[:, 3:] = 0
    before, after = model.track(video, queries), model.track(changed, queries)
    torch.testing.assert_close(before.points[:, :3], after.points[:, :3])
    assert not torch.allclose(before.points[:, 3:], after.points[:, 3:])


def test_inputs_stay_as_they_are(model):
    inputs = make_inputs()
    copies = [x.clone() for x in inputs]
    model.track(*inputs[:2])
    model.losses(*inputs)
    for value, copy in zip(inputs, copies, strict=True):
        assert torch.equal(value, copy)


def test_losses_are_finite_when_nothing_can_be_counted(model):
    video, queries, tracks, visible = make_inputs()
    model.train()
    nothing = model.losses(video, queries, tracks, torch.zeros_like(visible))
    assert nothing["classification_loss"] == nothing["regression_loss"] == 0
    late = queries.clone()
    late[..., 0] = 4  # no frame comes after the queries
    assert all(value == 0 for value in model.losses(video, late, tracks, visible).values())
    torch.stack(list(nothing.values())).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_every_parameter_but_the_last_reference_rho_gets_a_gradient(model):
    model.train()
    torch.stack(list(model.losses(*make_inputs()).values())).sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == ["transformer.layers.2.reference_rho.weight", "transformer.layers.2.reference_rho.bias"]
    assert not any(p.requires_grad for name, p in model.named_parameters() if name in without)


def test_sampling_points_start_apart():
    bias = build("lbm", **SMALL).transformer.offset_layer.sampling_offsets.bias.view(4, 4, 9, 2)
    assert torch.equal(bias[0, 0, :, 0], torch.arange(1.0, 10.0))  # head 0 looks along x
    assert len({tuple(point) for point in bias[1, 2].tolist()}) == 9


def test_memory_size_stretches_the_past_and_keeps_now():
    embedding = torch.arange(4.0).view(1, 4, 1)  # past 0, 1, 2 and now 3
    torch.testing.assert_close(interpolate_time(embedding, 5).flatten(), torch.tensor([0, 0.5, 1, 1.5, 2, 3]))
    assert interpolate_time(embedding, 3) is not None and torch.equal(interpolate_time(embedding, 3), embedding)


def test_training_on_one_clip_lowers_the_loss():
    torch.manual_seed(0)
    model = build("lbm", **SMALL).train()
    video, queries, tracks, _ = make_inputs(num_frames=3)
    tracks = tracks[:, :1].expand(-1, 3, -1, -1)  # points that do not move, on frames that do not change
    video = video[:, :1].expand(-1, 3, -1, -1, -1)
    queries = torch.cat([torch.zeros(1, 7, 1), tracks[:, 0]], -1)
    visible = torch.ones(1, 3, 7, dtype=torch.bool)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    values = []
    for _ in range(25):
        loss = torch.stack(list(model.losses(video, queries, tracks, visible).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.6 * values[0], values


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dimm": 3}, "unknown key 'model.dimm', did you mean 'dim'"),
        ({"input_size": [100, 96]}, "multiples of 32"),
        ({"dim": 30}, "must be a multiple of model.num_heads"),
        ({"num_layers": 1}, "at least 2"),
    ],
)
def test_wrong_settings_are_named(overrides, message):
    with pytest.raises(ValueError, match=message):
        build("lbm", **(SMALL | overrides))


def test_unknown_models_and_bad_queries_are_named(model):
    with pytest.raises(ValueError, match="there is no model 'lmb', did you mean 'lbm'"):
        build("lmb")
    video, queries, *_ = make_inputs()
    with pytest.raises(ValueError, match="NaN"):
        model.track(video, queries * torch.nan)
    with pytest.raises(ValueError, match=r"query frames must lie in 0\.\.4"):
        model.track(video, queries + 3)
    with pytest.raises(ValueError, match=r"expected \(B, T, 3, H, W\)"):
        model.track(video[0], queries)
