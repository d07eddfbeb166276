"""CoTracker3's fast formulations equal the plain ones: outputs to 1e-5, gradients to 1e-4 of the largest."""

import pytest
import torch
import torch.nn.functional as F

from trainer.models.cotracker3 import encoder, feed_forward
from trainer.models.cotracker3.config import Cotracker3Config
from trainer.models.cotracker3.correlation import correlate_linear, sample_square
from trainer.models.cotracker3.encoder import Encoder, join_levels
from trainer.models.cotracker3.linear import linear
from trainer.models.cotracker3.model import Cotracker3, OnlineWindow, join_windows, to_cells
from trainer.models.cotracker3.update_former import UpdateFormer

SMALL = {"input_size": (64, 96), "dim": 48, "num_virtual_tracks": 6, "num_rounds": 2, "encoder_widths": (8, 12, 16, 16)}


def assert_equal(ours: list[torch.Tensor], plain: list[torch.Tensor], share: float) -> None:
    for number, (one, other) in enumerate(zip(ours, plain, strict=True)):
        assert (one - other).abs().max() <= share * other.abs().max(), number


def assert_same(ours: torch.Tensor, plain: torch.Tensor, inputs: list[torch.Tensor], exact: bool = False) -> None:
    """Equal outputs, and equal gradients of a sum whose terms all differ."""
    assert_equal([ours], [plain], 1e-12 if exact else 1e-5)
    weights = torch.arange(plain.numel(), dtype=plain.dtype).sin().view_as(plain)
    gradients = [torch.autograd.grad((x * weights).sum(), inputs, retain_graph=True) for x in (ours, plain)]
    assert_equal(*gradients, 1e-10 if exact else 1e-4)


def sample_plainly(level: torch.Tensor, points: torch.Tensor, radius: int) -> torch.Tensor:
    """Features (B, T, N, S, C) of a level (B, T, h, w, C) around points (B, N, T, 2) by grid_sample, x before y."""
    batch, num_frames, height, width = level.shape[:4]
    steps = torch.arange(-radius, radius + 1.0, dtype=level.dtype)
    around = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).flatten(0, 1)
    grid = points.transpose(1, 2)[..., None, :] + around  # (B, T, N, S, 2)
    grid = grid / torch.tensor([max(1, width - 1), max(1, height - 1)], dtype=level.dtype) * 2 - 1
    maps = level.permute(0, 1, 4, 2, 3).flatten(0, 1)
    sampled = F.grid_sample(maps, grid.flatten(0, 1), align_corners=True, padding_mode="border")
    return sampled.permute(0, 2, 3, 1).unflatten(0, (batch, num_frames))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(8, 11), (4, 5), (2, 3)])
def test_comparisons_equal_those_of_sampled_features(dtype, size):
    torch.manual_seed(0)
    level = torch.randn(2, 3, *size, 16, dtype=dtype, requires_grad=True)
    # Beyond all edges too, further than the square reaches; two parts of tracks on a CPU.
    points = torch.rand(2, 9, 3, 2, dtype=dtype) * 30 - 10
    template = torch.randn(2, 9, 49, 16, dtype=dtype, requires_grad=True)
    linear = torch.nn.Linear(49 * 49, 5, dtype=dtype)
    ours = correlate_linear(level, template, points, 3, linear)
    volume = torch.einsum("btnpc,bnqc->bntpq", sample_plainly(level, points, 3), template).flatten(3)
    inputs = [level, template, linear.weight, linear.bias]
    assert_same(ours, linear(volume), inputs, exact=dtype is torch.float64)


def test_templates_equal_sampled_features():
    torch.manual_seed(0)
    level = torch.randn(2, 3, 8, 11, 16, requires_grad=True)
    points, frames = torch.rand(2, 9, 2) * 20 - 5, torch.randint(0, 3, (2, 9))
    every = sample_plainly(level, points[:, :, None].expand(-1, -1, 3, -1), 3)  # (B, T, N, S, C)
    plain = every[torch.arange(2)[:, None], frames, torch.arange(9)]
    assert_same(sample_square(level, frames, points, 3), plain, [level])


def encode_plainly(model: Encoder, frames: torch.Tensor) -> torch.Tensor:
    """The encoder as it is described: every stage's maps resized and concatenated before the last convolutions."""

    def run(block: encoder.ResidualBlock, x: torch.Tensor) -> torch.Tensor:
        y = F.instance_norm(block.conv1(x)).relu()
        y = F.instance_norm(block.conv2(y)).relu()
        return (y + (x if block.downsample is None else F.instance_norm(block.downsample(x)))).relu()

    x, parts = F.instance_norm(model.conv1(frames)).relu(), []
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        for block in layer:
            x = run(block, x)
        size = frames.shape[-2] // 4, frames.shape[-1] // 4
        parts.append(F.interpolate(x, size, mode="bilinear", align_corners=True))
    return model.conv3(F.instance_norm(model.conv2(torch.cat(parts, 1))).relu())


@pytest.mark.parametrize("size", [(64, 96), (36, 52)])  # the coarse maps of the second are not whole shares of it
def test_the_encoder_equals_the_plain_one(size):
    torch.manual_seed(0)
    model = Encoder(Cotracker3Config(encoder_widths=(8, 12, 16, 16))).double()
    frames = torch.randn(3, 3, *size, dtype=torch.float64, requires_grad=True)
    plain = encode_plainly(model, frames)
    weights = [parameter for name, parameter in model.named_parameters() if name.endswith("weight")]
    # Biases before a norm have no gradient but rounding.
    assert_same(model(frames), plain, [frames, *weights, model.conv3.bias], exact=True)
    with torch.no_grad():
        assert_equal([model(frames)], [plain], 1e-12)


def test_features_of_unit_length_equal_the_plain_ones():
    torch.manual_seed(0)
    features = torch.randn(3, 16, 9, 14)
    features[0, :, 2, 3] = 0  # where there is no length to divide by
    features.requires_grad_()
    plain = features / features.square().sum(1, keepdim=True).clamp(min=1e-12).sqrt()
    wanted = [plain, F.avg_pool2d(plain, 2), F.avg_pool2d(F.avg_pool2d(plain, 2), 2)]
    wanted = [level.permute(0, 2, 3, 1) for level in wanted]
    kept = encoder.make_levels([features[:2], features[2:]], 3)
    for ours, theirs in zip(kept, wanted, strict=True):
        assert_same(ours, theirs, [features])
    together = [torch.cat([level.flatten() for level in levels]) for levels in (kept, wanted)]
    assert_same(*together, [features])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [7, 512, 1100])
def test_the_feed_forward_net_equals_the_plain_one(monkeypatch, rows, dtype):
    torch.manual_seed(0)
    net = feed_forward.Mlp(12, 48).to(dtype)
    x = torch.randn(2, rows, 12, dtype=dtype, requires_grad=True)
    ours = net(x)
    with torch.no_grad():
        alone = net(x)
    monkeypatch.setattr(feed_forward, "is_plain_cpu", lambda x: False)
    assert_same(ours, net(x), [x, *net.parameters()], exact=dtype is torch.float64)
    assert_equal([alone], [net(x)], 1e-12 if dtype is torch.float64 else 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("before", [None, "norm", "gelu"])
def test_a_linear_layer_equals_the_plain_one(dtype, before):
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(12, 7, dtype=dtype), torch.randn(2, 33, 12, dtype=dtype, requires_grad=True)
    plain = layer({None: x, "norm": F.layer_norm(x, (12,), eps=1e-6), "gelu": F.gelu(x)}[before])
    assert_same(linear(x, layer, before=before), plain, [x, *layer.parameters()], exact=dtype is torch.float64)


def test_virtual_tracks_that_are_alike_in_all_frames_equal_one_for_each(monkeypatch):
    torch.manual_seed(0)
    former = UpdateFormer(Cotracker3Config(**SMALL)).double()
    for parameter in former.parameters():  # the heads are nearly zero at first
        torch.nn.init.normal_(parameter, std=0.2)
    tokens = torch.randn(2, 5, 7, 1110, dtype=torch.float64, requires_grad=True)
    ours = former(tokens)
    points = former.input_transform(tokens)
    virtual = former.virual_tracks.transpose(1, 2).repeat(2, 5, 1, 1)
    for number, time in enumerate(former.time_blocks):
        both = time(torch.cat([points, virtual], 2), over_time=True)
        points, virtual = both[:, :, :7], both[:, :, 7:]
        virtual = former.space_virtual2point_blocks[number](virtual, points)
        virtual = former.space_virtual_blocks[number](virtual, over_time=False)
        points = former.space_point2virtual_blocks[number](points, virtual)
    plain = torch.cat([former.flow_head(points), former.vis_conf_head(points)], -1)
    assert_same(ours, plain, [tokens, former.virual_tracks, former.input_transform.weight], exact=True)


def make_batch(num_frames: int = 6) -> tuple[torch.Tensor, ...]:
    """Video, queries, tracks and visibility of two clips."""
    generator = torch.Generator().manual_seed(1)
    video = torch.rand(2, num_frames, 3, 64, 96, generator=generator) * 255
    tracks = torch.rand(2, num_frames, 6, 2, generator=generator) * torch.tensor([96, 64])
    visible = torch.rand(2, num_frames, 6, generator=generator) < 0.8
    frame = torch.randint(0, num_frames, (2, 6, 1), generator=generator)
    points = tracks.gather(1, frame[:, None].expand(-1, 1, -1, 2))[:, 0]
    return video, torch.cat([frame.float(), points], -1), tracks, visible


def make_model(**settings) -> Cotracker3:
    torch.manual_seed(0)
    return Cotracker3(Cotracker3Config(**SMALL, **settings))


def train_once(**settings) -> dict[str, torch.Tensor]:
    """Losses and gradients of one step."""
    model = make_model(**settings).train()
    losses = model.losses(*make_batch())
    torch.stack(list(losses.values())).sum().backward()
    return {name: value.detach() for name, value in losses.items()} | {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize("online", [False, True])
def test_recomputing_changes_nothing(online):
    settings = {"online": online, "window": 4}
    plain, ours = train_once(**settings), train_once(**settings, recompute=True)
    for name, value in plain.items():
        torch.testing.assert_close(ours[name], value, atol=1e-6, rtol=1e-4, msg=name)


@torch.no_grad()
@pytest.mark.parametrize("online", [False, True])
def test_clips_of_a_batch_do_not_mix(online):
    model, (video, queries, *_) = make_model(online=online, window=4).eval(), make_batch()
    together = model.track(video, queries)
    for number in range(2):
        alone = model.track(video[number : number + 1], queries[number : number + 1])
        torch.testing.assert_close(together.points[number], alone.points[0], atol=1e-3, rtol=0)
        torch.testing.assert_close(together.visibility_logit[number], alone.visibility_logit[0], atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_stream_encodes_each_frame_once():
    model, (video, queries, *_) = make_model(online=True, window=4).eval(), make_batch(num_frames=7)
    asked = to_cells(queries)
    whole = join_windows(list(model.windows(model.encode(video), asked, 2)), 7)
    window, found = OnlineWindow(model, asked, 2), []
    levels = model.encode(video[:, :4])
    found.append((0, window.advance(levels)))
    for first in (4, 6):
        kept = [level[:, -2:] for level in levels]
        levels = join_levels([kept, model.encode(video[:, first : first + 2])])
        found.append((first - 2, window.advance(levels)))
    torch.testing.assert_close(join_windows(found, 7).points, whole.points, atol=1e-5, rtol=0)


@torch.no_grad()
def test_no_points_are_tracked_to_nowhere():
    tracks = make_model().eval().track(make_batch()[0], torch.zeros(2, 0, 3))
    assert tracks.points.shape == (2, 6, 0, 2)
