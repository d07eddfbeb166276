"""Vista's network: the reference's outputs, what actions and condition frames do, adapters, and its names."""

import dataclasses
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.config import LoraConfig
from trainer.lora import adapt, merged
from trainer.models.vista.actions import NUM_FEATURES
from trainer.models.vista.build import make_unet
from trainer.models.vista.config import PRESETS, UNetConfig
from trainer.models.vista.keys import (
    SVD_LACKS,
    fill_given_embedding,
    from_published,
    temporal_names,
    to_published,
    unet_names,
)

DATA = Path(__file__).parents[2] / "data" / "vista"
TINY = PRESETS["tiny"]
LORA = LoraConfig(rank=16, alpha=16, modules=["to_q", "to_k", "to_v", "to_out.0"], whole=["action"])
ADAPTER_NAMES = ("_adapter_down.weight", "_adapter_up.weight")


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with np.load(DATA / "golden.npz") as arrays:
        return {name: torch.tensor(arrays[name]) for name in arrays.files}


def by_rule(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Tensors under published names, as tests/data/vista/README.md says."""
    tensors, state = {}, model.state_dict()
    for own, name in unet_names(state).items():
        shape = tuple(state[own].shape)
        r = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        if "mix_factor" in name:
            r = 0.5 * r
        elif name.endswith("bias"):
            r = 0.05 * r
        else:
            r = 1 + 0.1 * r if len(shape) == 1 else r / np.sqrt(np.prod(shape[1:]))
        tensors[name] = torch.tensor(r.astype(np.float32))
    return tensors


def load(model: torch.nn.Module, tensors: dict[str, torch.Tensor], **allowed) -> None:
    state = model.state_dict()
    shapes = {name: value.shape for name, value in state.items()}
    model.load_state_dict(state | from_published(tensors, shapes, unet_names(state), **allowed))


@pytest.fixture(scope="module")
def base() -> torch.nn.Module:
    model = make_unet(dataclasses.replace(TINY, with_actions=False)).eval()
    load(model, by_rule(model))
    return model


@pytest.fixture(scope="module")
def adapted() -> torch.nn.Module:
    model = adapt(make_unet(TINY).requires_grad_(True), LORA).eval()  # and adapters that do nothing
    load(model, by_rule(model))
    return model


def answer(model: torch.nn.Module, golden, *, actions=None, given=True) -> torch.Tensor:
    context = golden["context"]
    if actions is not None:
        context = torch.cat([context, actions], -1)
    with torch.no_grad():
        given = golden["cond_mask"] if given else None
        return model(golden["x"], golden["c_noise"], context, golden["ids"], given)


def test_outputs_are_the_references(golden, base, adapted):
    for name, found in (
        ("out_base", answer(base, golden, given=False)),
        ("out_mask", answer(base, golden)),
        ("out_action_lora", answer(adapted, golden, actions=golden["actions"])),
        ("out_action_zero", answer(adapted, golden, actions=torch.zeros_like(golden["actions"]))),
    ):
        assert golden[name].std() > 0.5
        torch.testing.assert_close(found[..., ::2, ::2], golden[name], rtol=0, atol=2e-5, msg=name)


def test_merged_adapters_answer_alike(golden, adapted):
    plain = make_unet(TINY).eval()
    plain.load_state_dict(merged(adapted))
    actions = golden["actions"]
    torch.testing.assert_close(
        answer(plain, golden, actions=actions), answer(adapted, golden, actions=actions), rtol=0, atol=2e-5
    )


def test_names_are_the_references_and_come_back(base, adapted):
    names = (DATA / "keys_tiny.txt").read_text().split()
    own = unet_names(adapted.state_dict())
    assert set(own.values()) == set(names) and len(names) == 851
    assert set(unet_names(base.state_dict()).values()) == {name for name in names if "_adapter_" not in name}
    published = to_published(adapted.state_dict(), own)
    back = from_published(published, {name: x.shape for name, x in adapted.state_dict().items()}, own)
    assert all(torch.equal(back[name], value) for name, value in adapted.state_dict().items())
    with pytest.raises(ValueError, match=r"no UNet of Vista has a weight called head\.weight"):
        unet_names([*adapted.state_dict(), "head.weight"])


def test_the_full_size_has_all_names_and_comes_back():
    """1428 tensors of Stable Video Diffusion, 4 of the second time embedding, 64 action projections."""
    with torch.device("meta"):
        model = make_unet(PRESETS["svd"])
    state = model.state_dict()
    names = unet_names(state)
    published = set(names.values())
    assert len({name.replace(".", "") for name in published}) == len(published), "averages are found without dots"
    lacking = {name for name in published if any(part in name for part in SVD_LACKS)}
    assert (len(published), len(lacking), sum("action" in name for name in lacking)) == (1496, 68, 64)
    back = from_published(to_published(state, names), {k: v.shape for k, v in state.items()}, names)
    assert back.keys() == state.keys() and all(back[name] is state[name] for name in state)
    counts = {"base": 0, "action": 0}
    for name, value in state.items():
        counts["action" if "action" in name else "base"] += value.numel()
    assert counts["base"] == pytest.approx(1526.7e6, rel=1e-4) and counts["action"] == pytest.approx(121.4e6, rel=1e-3)
    temporal = sum(state[name].numel() for name in temporal_names(state) if ".action." not in name)
    assert temporal == pytest.approx(558.9e6, rel=1e-4)
    assert not any("time_mixer" in name or "time_pos_embed" in name for name in temporal_names(state))
    assert {"output_blocks.2.1.conv.weight", "output_blocks.5.2.conv.weight", "input_blocks.9.0.op.bias"} <= published
    assert "input_blocks.10.1.norm.weight" not in published and "output_blocks.11.1.norm.weight" in published


def test_weights_of_stable_video_diffusion_begin_a_vista(golden, base):
    """Its file has neither a second time embedding nor actions: the first begins as a copy, the second do nothing."""
    published = {name: x for name, x in by_rule(base).items() if not name.startswith("cond_time_stack_embed")}
    model = make_unet(TINY).eval()
    load(model, fill_given_embedding(published), may_lack=SVD_LACKS)
    found = answer(model, golden, actions=golden["actions"])
    torch.testing.assert_close(found, answer(base, golden, given=False), rtol=0, atol=1e-5)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "action"])
def test_one_wrong_weight_is_an_error_that_names_it(adapted, change):
    tensors = by_rule(adapted)
    name = "middle_block.1.transformer_blocks.0.attn2.k_adapter_action_control.weight"
    if change in ("missing", "action"):
        name = "out.2.bias" if change == "missing" else name
        del tensors[name]
    elif change == "unknown":
        name = "out.3.bias"
        tensors[name] = torch.zeros(4)
    else:
        tensors[name] = tensors[name][:, :-1]
    with pytest.raises(ValueError, match=rf"1 (missing|not known here|of another shape) \({name}"):
        load(adapted, tensors, may_lack=SVD_LACKS)  # which may be missing all together, and not one by one


@pytest.mark.parametrize("tokens", ["concat", "separate"])
def test_untrained_actions_change_nothing_and_learn(golden, base, tokens):
    config = dataclasses.replace(TINY, action_tokens=tokens)
    model = make_unet(config).eval()
    load(model, by_rule(base), may_lack=SVD_LACKS)
    num = 1 if tokens == "concat" else 5
    actions = torch.randn(2, num, NUM_FEATURES, generator=torch.Generator().manual_seed(0))
    context = golden["context"]
    if num == 1:
        tokens_in = torch.cat([context, actions], -1)
    else:
        tokens_in = torch.cat(
            [
                torch.nn.functional.pad(context, (0, NUM_FEATURES)),
                torch.nn.functional.pad(actions, (context.shape[-1], 0)),
            ],
            1,
        )
    inputs = (golden["x"], golden["c_noise"], tokens_in, golden["ids"], golden["cond_mask"])
    found = model(*inputs)
    torch.testing.assert_close(found, answer(base, golden), rtol=0, atol=1e-5)
    found.square().mean().backward()
    values = [x.to_v.action.weight for x in model.cross_attentions()]
    assert all(weight.grad.abs().max() > 0 for weight in values)
    with torch.no_grad():
        for x in model.cross_attentions():
            x.to_v.action.weight.normal_(0, 0.01)
            x.to_k.action.weight.normal_(0, 0.01)
    model.zero_grad()
    model(*inputs).square().mean().backward()
    for attention in model.cross_attentions():
        key, value = (layer.action.weight.grad for layer in (attention.to_k, attention.to_v))
        if tokens == "concat":
            assert key is None, "a softmax over one token leaves its key nothing to do"
        else:
            assert key.abs().max() > 1e-3 * value.abs().max()


def test_motion_of_frames_changes_nothing_at_first_then_each_its_own_frame(golden, base):
    model = make_unet(dataclasses.replace(TINY, with_actions=False, frame_values=2)).eval()
    model.load_state_dict({**model.state_dict(), **base.state_dict()})
    inputs = [golden[name] for name in ("x", "c_noise", "context", "ids", "cond_mask")]
    motion = torch.randn(2, 5, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = answer(base, golden)
        torch.testing.assert_close(model(*inputs, motion), plain, rtol=0, atol=1e-5)
        torch.testing.assert_close(model(*inputs), plain, rtol=0, atol=1e-5)
        torch.nn.init.normal_(model.frame_embedding.linear_2.weight)
        only_last = torch.where(torch.arange(5)[:, None] == 4, motion, 0.0)
        changes = (model(*inputs, only_last) - model(*inputs, torch.zeros_like(motion))).abs().mean((0, 2, 3, 4))
    assert changes[4] > 1.3 * changes[:4].max(), "frames tell each other by the attention over time"
    model(*inputs, motion).square().mean().backward()
    assert model.frame_embedding.linear_1.weight.grad.abs().max() > 0
    with pytest.raises(ValueError, match="no UNet of Vista has a weight called frame_embedding"):
        unet_names(model.state_dict())


def test_what_one_token_makes_inert_is_frozen():
    model = make_unet(TINY)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    ends = ("attn2.to_q.weight", "attn2.to_k.weight", "attn2.to_k.action.weight", "norm2.weight", "norm2.bias")
    assert len(frozen) == 5 * 2 * 7 and all(name.endswith(ends) and "resnets" not in name for name in frozen)
    separate = make_unet(dataclasses.replace(TINY, action_tokens="separate"))
    frozen = {name for name, parameter in separate.named_parameters() if not parameter.requires_grad}
    assert len(frozen) == 2 * 7 and all(name.endswith("attn2.to_k.weight") for name in frozen)
    learning = {name for name, p in adapt(model, LORA).named_parameters() if p.requires_grad}
    assert any(name.endswith("to_v.action.weight") for name in learning)
    assert not any("attn2.to_q" in name or "attn2.to_k" in name for name in learning)


def test_separate_tokens_are_attended_to_as_the_formula_says():
    """Two softmaxes of diffusers' own processor, each of a clip's tokens repeated for all of its cells."""
    from diffusers.models.attention_processor import AttnProcessor2_0

    torch.manual_seed(0)
    model = make_unet(dataclasses.replace(TINY, action_tokens="separate"))
    attention = model.cross_attentions()[1]
    torch.nn.init.normal_(attention.to_k.action.weight)
    torch.nn.init.normal_(attention.to_v.action.weight)
    hidden, context = torch.randn(6, 7, 32), torch.randn(2, 6, 24 + NUM_FEATURES) / 20
    context[:, 0, 24:], context[:, 1:, :24] = 0, 0
    with torch.no_grad():
        found = attention(hidden, encoder_hidden_states=context)
        each = context.repeat_interleave(3, dim=0)
        parts = [AttnProcessor2_0()(attention, hidden, part) for part in (each[:, :1], each[:, 1:])]
        expected = parts[0] + parts[1] - attention.to_out[0].bias
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (parts[1] - attention.to_out[0].bias).abs().mean() > 0.1


def test_sides_need_not_be_multiples_of_two(golden, base):
    inputs = (golden["c_noise"], golden["context"], golden["ids"], golden["cond_mask"])
    with torch.no_grad():
        assert base(golden["x"][..., :13, :11], *inputs).shape == (2, 5, 4, 13, 11)


def test_what_is_computed_again_is_not_kept_and_gives_the_same_gradients(golden, base):
    inputs = [golden[name] for name in ("x", "c_noise", "context", "ids", "cond_mask")]
    again = make_unet(dataclasses.replace(TINY, with_actions=False, recompute="layer"))
    again.load_state_dict(base.state_dict())
    gradients, kept = [], []
    for model in (base, again):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.nbytes) or x, lambda x: x):
            loss = model(*inputs).square().mean()
        model.zero_grad()
        loss.backward()
        kept.append(sum(sizes))
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert kept[1] < 0.2 * kept[0]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_half_precision_answers_nearly_alike(golden, base):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = answer(base, golden)
    wrong = (found[..., ::2, ::2].float() - golden["out_mask"]).square().mean().sqrt()
    assert wrong < 0.03 * golden["out_mask"].std()


def test_layers_hold_almost_all_weights_once(base):
    layers = base.layers()
    inside = [parameter for layer in layers for parameter in layer.parameters()]
    assert len({id(parameter) for parameter in inside}) == len(inside)
    total = sum(parameter.numel() for parameter in base.parameters())
    assert sum(parameter.numel() for parameter in inside) > 0.9 * total


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"widths": (48, 64)}, "multiple of 32"),
        ({"attending": (True,)}, "one each a level"),
        ({"action_tokens": "film"}, "use concat or separate"),
        ({"recompute": "frame"}, "use none or layer"),
    ],
)
def test_wrong_sizes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**{"widths": (32, 64), "attending": (True, True), "head_width": 16, **settings})
