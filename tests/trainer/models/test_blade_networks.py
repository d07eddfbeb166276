"""DepthNet and PoseNet by themselves: shapes, what is frozen, what the depth may change, and clear refusals."""

import pytest
import torch

from trainer.models import TASKS, build
from trainer.people.layers import crop_geometry
from trainer.people.losses import geodesic_loss, heat_loss, is_inside, join_crops, masked_mean, relative_depth_loss

PAPER = {"map_size": 56, "interface_width": 32, "num_heads": 4, "feedforward": 64}
"""The published architecture with fewer channels: no joints, no geometry, one linear layer as a head."""
TRUNK = {"backbone": "conv_tiny", "backbone_width": 8}
POSE = TRUNK | {"dim": 16, "num_layers": 1, "num_heads": 2, "feedforward": 16, "head_width": 16, "num_shapes": 3}


def crops(size=32, batch=2):
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8, generator=generator),
        "box": torch.tensor([[4.0, 8.0, 40.0]]).expand(batch, -1),
        "picture": torch.tensor([[100.0, 50.0]]).expand(batch, -1),
    }


def test_depthnet_has_the_published_parts():
    net = build("blade_depthnet", **TRUNK, **PAPER).eval()
    tokens = []
    net.decoder.register_forward_hook(lambda _, inputs, __: tokens.append(inputs[0].shape))
    depth = net(**crops()).depth_m
    assert tokens == [(2, 14 * 14, 32)]  # a quarter of the map, resized to 56 cells a side
    assert ((depth > 0) & (depth < 10)).all() and depth.shape == (2,)
    assert isinstance(net.head[0], torch.nn.Linear) and len(net.head) == 1 and len(net.decoder.decoder.layers) == 2


def test_only_the_geometry_that_it_is_given_changes_depthnets_answer():
    net = build("blade_depthnet", **TRUNK, **PAPER, with_geometry=True).eval()
    moved = crops() | {"box": torch.tensor([[30.0, 8.0, 40.0]]).expand(2, -1)}
    assert (net(**crops()).depth_m != net(**moved).depth_m).all()
    blind = build("blade_depthnet", **TRUNK, **PAPER).eval()
    torch.testing.assert_close(blind(**crops()).depth_m, blind(**moved).depth_m)


def test_mirrored_answers_are_the_same_of_a_crop_and_of_its_mirror_image():
    sizes = {"num_joints": 22, "lambda_joints": 1.0, "with_geometry": True, "answers_mirrored": True}
    net = build("blade_depthnet", **TRUNK, **PAPER, **sizes).eval()
    plain = crops()
    flipped = plain | {"image": plain["image"].flip(2), "box": torch.tensor([[56.0, 8.0, 40.0]]).expand(2, -1)}
    found, other, once = net.answer(plain), net.answer(flipped), net(**plain)
    torch.testing.assert_close(found["depth_m"], other["depth_m"])
    assert (found["depth_m"] - once.depth_m).abs().max() > 1e-5
    joints = torch.stack([1 - other["joints"][:, [0, 2, 1], 0], other["joints"][:, [0, 2, 1], 1]], -1)
    torch.testing.assert_close(found["joints"][:, :3], joints)
    torch.testing.assert_close(found["joints_score"][:, [1, 2]], other["joints_score"][:, [2, 1]])


def test_geometry_is_in_shares_of_the_picture():
    found = crop_geometry(torch.tensor([[40.0, 5.0, 40.0]]), torch.tensor([[100.0, 50.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.1, 0.0, torch.tensor(0.4).log(), torch.tensor(2.0).log()]]))


def test_a_depth_changes_nothing_before_it_is_learned_and_passes_no_gradient():
    net = build("blade_posenet", **POSE, depth="oracle").eval()
    near, far = (net(**crops(), depth_m=torch.full((2,), depth)) for depth in (0.6, 5.0))
    torch.testing.assert_close(near.rotations, far.rotations, atol=0, rtol=0)
    torch.nn.init.normal_(net.injection.layers[-1].weight)
    depth_m = torch.full((2,), 0.6, requires_grad=True)
    answer = net(**crops(), depth_m=depth_m)
    assert (answer.rotations - far.rotations).abs().max() > 1e-4
    answer.rotations.sum().backward()
    assert depth_m.grad is None


def test_the_depthnet_inside_a_posenet_stays_as_it_is():
    depthnet = TRUNK | PAPER
    net = build("blade_posenet", **POSE, depthnet=depthnet).train()
    assert not net.depthnet.training and not any(p.requires_grad for p in net.depthnet.parameters())
    before = {key: value.clone() for key, value in net.depthnet.state_dict().items()}
    net.find_depth(crops())
    for key, value in net.depthnet.state_dict().items():  # batch norm's running means too
        torch.testing.assert_close(value, before[key], atol=0, rtol=0)


def test_joints_in_the_picture_are_where_the_heat_is():
    net = build("blade_posenet", **POSE, depth="none").eval()
    joints, _, heat = net.joints(net.backbone(torch.zeros(1, 3, 32, 32)))
    shares = heat[0, 0].flatten().softmax(0).reshape(8, 8)
    x = sum(shares[:, column].sum() * (column + 0.5) / 8 for column in range(8))
    torch.testing.assert_close(joints[0, 0, 0], x)


def test_heat_is_best_where_its_mean_place_is_the_true_one():
    true = torch.tensor([[[0.40, 0.65], [1.5, 0.5]]])  # the second lies outside: it does not count
    share = torch.zeros(8, 8)
    share = torch.zeros(8, 8)
    for row, down in ((4, 0.3), (5, 0.7)):  # 0.65 * 8 - 0.5 = 4.7
        for column, across in ((2, 0.3), (3, 0.7)):  # 0.40 * 8 - 0.5 = 2.7
            share[row, column] = down * across
    best = share.clamp(min=1e-9).log().expand(1, 2, 8, 8)
    entropy = -(share[share > 0] * share[share > 0].log()).sum()
    torch.testing.assert_close(heat_loss(best, true), entropy, atol=1e-5, rtol=0)
    assert heat_loss(best.flip(-1), true) > entropy + 1
    assert is_inside(true).tolist() == [[True, False]]


def test_losses_are_means_over_what_counts():
    values, mask = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([True, False, True])
    assert masked_mean(values, mask) == 3.5
    assert masked_mean(values, torch.zeros(3, dtype=bool)) == 0
    found = relative_depth_loss(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 1.0]), torch.tensor([True, True]))
    assert found == pytest.approx((0.5 + 3) / 2)
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    rotations = torch.stack([torch.eye(3), turn])[None]
    assert geodesic_loss(rotations, torch.eye(3).expand(1, 2, 3, 3), torch.tensor([True])) == pytest.approx(
        torch.pi / 4, abs=1e-4
    )


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("blade_depthnet", {}, "set model.backbone_path"),
        ("blade_depthnet", TRUNK | {"num_joints": 22}, "nothing would teach the joints"),
        ("blade_depthnet", TRUNK | {"loss": "square"}, "use relative or log"),
        ("blade_posenet", POSE, "needs the section model.depthnet"),
        ("blade_posenet", POSE | {"depth": "guess"}, "known: predicted, none, oracle"),
        ("blade_posenet", {"depth": "none"}, "set model.backbone_path"),
    ],
)
def test_mistakes_in_a_model_are_named(name, settings, message):
    with pytest.raises(ValueError, match=message):
        build(name, **settings)


def test_depth_anything_trains_small_and_stays_frozen_large(tmp_path):
    pytest.importorskip("transformers")
    net = build("blade_depthnet", backbone="dav2_tiny", **PAPER).train()
    depth = net(**crops(size=56)).depth_m
    depth.sum().backward()
    unused = [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused  # DDP would wait for them
    with pytest.raises(ValueError, match="multiples of 14"):
        net(**crops(size=32))
    net.backbone.network.save_pretrained(tmp_path / "dav2")
    large = build("blade_depthnet", backbone="dav2_metric_l", backbone_path=str(tmp_path / "dav2"), **PAPER).train()
    large(**crops(size=56)).depth_m.sum().backward()
    assert all(p.grad is None for p in large.backbone.parameters()) and not large.backbone.network.training
    assert large.interface[0][0].weight.grad is not None


def test_the_map_of_depth_anything_is_its_finest_fusion_map():
    pytest.importorskip("transformers")
    backbone = build("blade_depthnet", backbone="dav2_tiny", **PAPER).eval().backbone
    seen = []
    backbone.network.neck.fusion_stage.register_forward_hook(lambda *parts: seen.append(parts[-1][-1]))
    images = torch.randn(1, 3, 56, 70)
    found = backbone(images)
    backbone.network(images)
    torch.testing.assert_close(found, seen[1])
    assert found.shape[1:] == (32, 32, 40)


def test_dinos_tokens_are_a_map():
    pytest.importorskip("transformers")
    net = build("blade_posenet", **(POSE | {"backbone": "dinov2_tiny"}), depth="none").train()
    answer = net(**crops(size=56), depth_m=None)
    assert answer.heat.shape == (2, 22, 4, 4) and answer.rotations.shape == (2, 22, 3, 3)
    sum(value.sum() for value in vars(answer).values()).backward()
    assert not [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize("name", ["blade_depthnet", "blade_posenet"])
def test_an_absent_folder_of_weights_is_named(name, tmp_path):
    pytest.importorskip("transformers")
    settings = {"depth": "none"} if name == "blade_posenet" else {}
    with pytest.raises(ValueError, match=r"no config\.json"):
        build(name, backbone_path=str(tmp_path / "nothing"), **settings)


def test_transformers_is_asked_for_by_name():
    try:
        import transformers  # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match=r"frameline\[blade\]"):
            build("blade_depthnet", backbone="dav2_tiny")
    else:
        pytest.skip("transformers is installed")


def test_one_seed_gives_one_start_whatever_the_depth():
    nets = {}
    for depth in ("none", "oracle", "predicted"):
        torch.manual_seed(0)
        nets[depth] = build("blade_posenet", **POSE, depth=depth, depthnet=TRUNK | PAPER).state_dict()
    shared = [key for key in nets["oracle"] if not key.startswith(("injection.", "depthnet."))]
    assert shared
    for key in shared:
        assert torch.equal(nets["none"][key], nets["oracle"][key]) and torch.equal(
            nets["none"][key], nets["predicted"][key]
        )


@pytest.mark.parametrize("depth", ["none", "oracle", "predicted"])
def test_a_posenet_begins_with_depthnets_backbone_where_it_is_told_to(depth):
    settings = TRUNK | PAPER | {"num_joints": 22, "lambda_joints": 1.0}
    tensors = build("blade_depthnet", **settings).state_dict()
    told = {"depth": depth, "depthnet": settings if depth == "predicted" else None, "backbone_from_depthnet": True}
    net = build("blade_posenet", **POSE, **told)
    own = {key: value.clone() for key, value in net.state_dict().items()}
    fitted = TASKS["blade_posenet"].fit_weights(tensors, net)
    net.load_state_dict(fitted)
    taken = {key for key in tensors if key.startswith(("backbone.", "joints."))}
    assert "joints.heat.weight" in taken and "backbone.fuse.0.0.weight" in taken
    for key, value in own.items():
        given = tensors.get(key if key in taken else key.removeprefix("depthnet."))
        expected = given if key in taken or key.startswith("depthnet.") else value
        assert torch.equal(fitted[key], expected), key


def test_another_backbone_than_depthnets_is_refused():
    settings = TRUNK | PAPER | {"num_joints": 22, "lambda_joints": 1.0}
    net = build("blade_posenet", **POSE, depth="oracle", backbone_from_depthnet=True)
    wider = build("blade_depthnet", **settings | {"backbone_width": 16}).state_dict()
    blind = build("blade_depthnet", **TRUNK, **PAPER).state_dict()
    for tensors in (wider, blind):
        with pytest.raises(ValueError, match="the DepthNet has another backbone or other joints"):
            TASKS["blade_posenet"].fit_weights(tensors, net)


def test_crops_of_a_picture_stand_beside_one_another():
    several = {"image": torch.arange(2 * 3 * 4 * 4 * 3).reshape(2, 3, 4, 4, 3), "has_pose": torch.ones(2, 3)}
    joined = join_crops(several | {"num_skipped": torch.tensor([0, 1])})
    assert joined["image"].shape == (6, 4, 4, 3) and joined["has_pose"].shape == (6,)
    assert torch.equal(joined["image"][4], several["image"][1, 1]) and joined["num_skipped"].tolist() == [0, 1]
    assert join_crops(joined) is joined
