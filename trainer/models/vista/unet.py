"""Vista's network: diffusers' UNet of Stable Video Diffusion, a second time embedding, and actions in its attention.

Imports diffusers: only `trainer.models.vista.build` imports this. Legend: B clips, T frames, H W cells of the latent,
L tokens, C width of the picture's token, A width of an action's.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.resnet import SpatioTemporalResBlock
from torch import nn
from torch.utils.checkpoint import checkpoint

from trainer.models.vista.actions import NUM_FEATURES
from trainer.models.vista.config import UNetConfig

RESIDUAL_EPS = 1e-5
"""Of the group norms in residual blocks, as the weights were trained with; diffusers' blocks have 1e-6 in most."""


class ActionLinear(nn.Linear):
    """Keys or values of tokens (..., C + A): the layer that was there of the first C, and what actions add.

    The actions' projection has no bias and is zero in the beginning, so that an untrained one changes nothing.
    """

    def __init__(self, layer: nn.Linear, num_action_features: int):
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.weight = layer.weight
        self.action = nn.Linear(num_action_features, layer.out_features, bias=False)
        nn.init.zeros_(self.action.weight)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(..., out_features) of tokens (..., C + A)."""
        picture, action = tokens.split([self.in_features, self.action.in_features], dim=-1)
        return super().forward(picture) + self.action(action)


class SeparateActions:
    """Attention to the picture's token, plus that to the actions' tokens: a processor of diffusers' Attention.

    Two softmaxes: in one, tokens of actions that are not known yet would take their share from the picture.
    """

    def __call__(
        self,
        attention: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(N, L', D) of queries (N, L', D) and tokens (N, 1 + 5, C + A), the picture's first."""
        assert attention_mask is None
        layers = (attention.to_q, attention.to_k, attention.to_v)
        sources = (hidden_states, encoder_hidden_states, encoder_hidden_states)
        queries, keys, values = (
            layer(source).unflatten(-1, (attention.heads, -1)).transpose(1, 2)  # (N, heads, tokens, D / heads)
            for layer, source in zip(layers, sources, strict=True)
        )
        seen = F.scaled_dot_product_attention(queries, keys[:, :, :1], values[:, :, :1])
        done = F.scaled_dot_product_attention(queries, keys[:, :, 1:], values[:, :, 1:])
        return attention.to_out[0]((seen + done).transpose(1, 2).flatten(2))


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What every layer is told: embedding (B T, 4 widths[0]), context (B T, L, C + A), no frame (B, T) is an image."""

    embedding: torch.Tensor
    context: torch.Tensor
    is_image: torch.Tensor


def _run(first: nn.Module | None, second: nn.Module | None, hidden: torch.Tensor, told: _Told) -> torch.Tensor:
    for layer in (first, second):
        if isinstance(layer, SpatioTemporalResBlock):
            hidden = layer(hidden, told.embedding, image_only_indicator=told.is_image)
        elif layer is not None:
            (hidden,) = layer(
                hidden, encoder_hidden_states=told.context, image_only_indicator=told.is_image, return_dict=False
            )
    return hidden


class VistaUNet(UNetSpatioTemporalConditionModel):
    """The network: its answer to scaled noisy latents, whose skip and scale `trainer.models.vista.edm` knows."""

    def __init__(self, config: UNetConfig):
        down = ["CrossAttnDownBlockSpatioTemporal" if x else "DownBlockSpatioTemporal" for x in config.attending]
        up = ["CrossAttnUpBlockSpatioTemporal" if x else "UpBlockSpatioTemporal" for x in config.attending[::-1]]
        super().__init__(
            in_channels=config.in_channels,
            out_channels=config.out_channels,
            down_block_types=tuple(down),
            up_block_types=tuple(up),
            block_out_channels=config.widths,
            addition_time_embed_dim=config.id_width,
            projection_class_embeddings_input_dim=3 * config.id_width,
            layers_per_block=config.blocks_per_level,
            cross_attention_dim=config.context_width,
            num_attention_heads=tuple(width // config.head_width for width in config.widths),
            num_frames=config.num_frames,
        )
        self.settings = config
        for block in self.modules():
            if isinstance(block, SpatioTemporalResBlock):
                for norm in (layer for layer in block.modules() if isinstance(layer, nn.GroupNorm)):
                    norm.eps = RESIDUAL_EPS
        self.given_time_embedding = TimestepEmbedding(config.widths[0], 4 * config.widths[0])
        self.given_time_embedding.load_state_dict(self.time_embedding.state_dict())
        if config.with_actions:
            for attention in self.cross_attentions():
                attention.to_k = ActionLinear(attention.to_k, NUM_FEATURES)
                attention.to_v = ActionLinear(attention.to_v, NUM_FEATURES)
                if config.action_tokens == "separate":
                    attention.set_processor(SeparateActions())

    def cross_attentions(self) -> list[Attention]:
        """The attentions to the context, spatial and temporal."""
        return [module for name, module in self.named_modules() if name.endswith(".attn2")]

    def layers(self) -> list[nn.Module]:
        """The residual blocks and attentions, in the model's order: what FSDP gathers one at a time."""
        blocks = [*self.down_blocks, self.mid_block, *self.up_blocks]
        return [layer for block in blocks for layer in (*block.resnets, *getattr(block, "attentions", ()))]

    def freeze_inert(self) -> None:
        """Freeze what has no effect where the context is one token: its keys, their queries, and these' norms.

        AdamW would otherwise shrink them for nothing. With tokens for actions nothing is inert.
        """
        if self.settings.with_actions and self.settings.action_tokens == "separate":
            return
        for name, module in self.named_modules():
            if name.endswith((".attn2.to_q", ".attn2.to_k")) or (name.endswith(".norm2") and "transformer" in name):
                module.requires_grad_(False)

    def forward(
        self,
        latents: torch.Tensor,
        noise: torch.Tensor,
        context: torch.Tensor,
        ids: torch.Tensor,
        given: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The answer (B, T, out_channels, H, W) to latents (B, T, in_channels, H, W) at scaled noise levels (B,).

        context (B, L, C + A), or C without actions; ids (B, 3): frames a second less 1, motion, noise on the
        condition; `given` (B, T) bool: frames without noise, which the second time embedding marks.
        """
        num_clips, num_frames = latents.shape[:2]
        told = _Told(
            embedding=self._embed(latents, noise, ids, given),
            context=context.to(latents).repeat_interleave(num_frames, dim=0),
            is_image=latents.new_zeros(num_clips, num_frames),
        )
        hidden = self.conv_in(latents.flatten(0, 1))
        skips = [hidden]
        for block in self.down_blocks:
            for number in range(len(block.resnets)):
                hidden = self._layer(block, number, hidden, told)
                skips.append(hidden)
            for downsample in block.downsamplers or ():
                hidden = downsample(hidden)
                skips.append(hidden)
        for number in range(len(self.mid_block.resnets)):
            hidden = self._layer(self.mid_block, number, hidden, told)
        for block in self.up_blocks:
            for number in range(len(block.resnets)):
                hidden = self._layer(block, number, torch.cat([hidden, skips.pop()], dim=1), told)
            for upsample in block.upsamplers or ():
                hidden = upsample(hidden, skips[-1].shape[-2:])  # sides need not be multiples of 2 ** levels
        answer = self.conv_out(self.conv_act(self.conv_norm_out(hidden)))
        return answer.unflatten(0, (num_clips, num_frames))

    def _layer(self, block: nn.Module, number: int, hidden: torch.Tensor, told: "_Told") -> torch.Tensor:
        """One residual block of a level or the middle, and the attention that goes with it, if one does."""
        residual, attentions = block.resnets[number], getattr(block, "attentions", ())
        if block is self.mid_block:  # its attention is between its two residual blocks
            attention = attentions[number - 1] if number else None
            first, second = attention, residual
        else:
            first, second = residual, attentions[number] if len(attentions) else None
        if self.settings.recompute == "layer" and torch.is_grad_enabled():
            return checkpoint(_run, first, second, hidden, told, use_reentrant=False)
        return _run(first, second, hidden, told)

    def _embed(
        self, latents: torch.Tensor, noise: torch.Tensor, ids: torch.Tensor, given: torch.Tensor | None
    ) -> torch.Tensor:
        """What every layer is told, (B T, 4 widths[0]); sinusoids are taken in float32, whatever the latents are."""
        levels = self.time_proj(noise.float()).to(latents)
        embedding = self.time_embedding(levels)[:, None].expand(-1, latents.shape[1], -1)
        if given is not None:
            embedding = torch.where(given[..., None], self.given_time_embedding(levels)[:, None], embedding)
        numbers = self.add_time_proj(ids.float().flatten()).view(len(ids), -1).to(latents)
        return (embedding + self.add_embedding(numbers)[:, None]).flatten(0, 1)
