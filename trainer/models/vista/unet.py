"""Vista's network: diffusers' UNet of Stable Video Diffusion, a second time embedding, and actions in its attention.

Imports diffusers: only `trainer.models.vista.build` imports this. Legend: B clips, T frames, H W cells of the latent,
L tokens, C width of the picture's token, A of an action's.
"""

from dataclasses import dataclass

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.resnet import ResnetBlock2D, SpatioTemporalResBlock
from torch import nn
from torch.utils.checkpoint import checkpoint

from trainer.models.vista.actions import NUM_FEATURES, SINUSOID
from trainer.models.vista.attention import ActionLinear, ClipTransformer, OneToken, SeparateActions
from trainer.models.vista.config import UNetConfig
from trainer.models.vista.convolution import flatten_convolutions

RESIDUAL_EPS = 1e-5
"""Of the group norms in residual blocks, as the weights were trained with; diffusers' blocks have 1e-6 in most."""


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What every layer is told: embedding (B T, 4 widths[0]), tokens (B, L, C + A), no frame (B, T) is an image."""

    embedding: torch.Tensor
    tokens: torch.Tensor
    is_image: torch.Tensor


def _run(first: nn.Module | None, second: nn.Module | None, hidden: torch.Tensor, told: _Told) -> torch.Tensor:
    for layer in (first, second):
        if isinstance(layer, ClipTransformer):
            hidden = layer(hidden, told.tokens)
        elif layer is not None:
            hidden = layer(hidden, told.embedding, image_only_indicator=told.is_image)
    return hidden


def let_scale(block: ResnetBlock2D) -> None:
    """Let what a block is told scale its channels, in the beginning by 1, and shift them, in place."""
    told = block.time_emb_proj
    block.time_embedding_norm = "scale_shift"
    block.time_emb_proj = nn.Linear(told.in_features, 2 * told.out_features)
    with torch.no_grad():
        block.time_emb_proj.weight[: told.out_features].zero_()
        block.time_emb_proj.bias[: told.out_features].zero_()


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
                if config.scales:
                    let_scale(block.spatial_res_block)
        self.given_time_embedding = TimestepEmbedding(config.widths[0], 4 * config.widths[0])
        self.given_time_embedding.load_state_dict(self.time_embedding.state_dict())
        if config.frame_values:
            self.frame_embedding = TimestepEmbedding(config.frame_values * SINUSOID, 4 * config.widths[0])
            nn.init.zeros_(self.frame_embedding.linear_2.weight)
            nn.init.zeros_(self.frame_embedding.linear_2.bias)
        for attention in self.cross_attentions():
            if config.with_actions:
                attention.to_k = ActionLinear(attention.to_k, NUM_FEATURES)
                attention.to_v = ActionLinear(attention.to_v, NUM_FEATURES)
            attention.set_processor(SeparateActions() if self.is_separate else OneToken())
        for block in (*self.down_blocks, self.mid_block, *self.up_blocks):
            if hasattr(block, "attentions"):
                block.attentions = nn.ModuleList(map(ClipTransformer, block.attentions))
        flatten_convolutions(self)
        self._freeze_inert()

    @property
    def is_separate(self) -> bool:
        """Whether each kind of action is a token of its own."""
        return self.settings.with_actions and self.settings.action_tokens == "separate"

    def cross_attentions(self) -> list[Attention]:
        """The attentions to the context, spatial and temporal."""
        return [module for name, module in self.named_modules() if name.endswith(".attn2")]

    def layers(self) -> list[nn.Module]:
        """The residual blocks and attentions, in the model's order: what FSDP gathers one at a time."""
        blocks = [*self.down_blocks, self.mid_block, *self.up_blocks]
        return [layer for block in blocks for layer in (*block.resnets, *getattr(block, "attentions", ()))]

    def _freeze_inert(self) -> None:
        """Freeze what a softmax over one token makes inert: keys, their queries, these' norms. Nothing computes them.

        With separate tokens of actions that is the picture's key alone.
        """
        for attention in self.cross_attentions():
            attention.to_k.weight.requires_grad_(False)
        if not self.is_separate:
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
        motion: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The answer (B, T, out_channels, H, W) to latents (B, T, in_channels, H, W) at scaled noise levels (B,).

        context (B, L, C + A), or C without actions; ids (B, 3): frames a second less 1, motion, noise on the
        condition; `given` (B, T) bool: frames without noise, which the second time embedding marks;
        motion (B, T, frame_values * 128): features of each frame's numbers, where the network takes such.
        """
        num_clips, num_frames = latents.shape[:2]
        told = _Told(
            embedding=self._embed(latents, noise, ids, given, motion),
            tokens=context.to(latents),
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
        self,
        latents: torch.Tensor,
        noise: torch.Tensor,
        ids: torch.Tensor,
        given: torch.Tensor | None,
        motion: torch.Tensor | None,
    ) -> torch.Tensor:
        """What every layer is told, (B T, 4 widths[0]); sinusoids are taken in float32, whatever the latents are."""
        levels = self.time_proj(noise.float()).to(latents)
        embedding = self.time_embedding(levels)[:, None].expand(-1, latents.shape[1], -1)
        if given is not None:
            embedding = torch.where(given[..., None], self.given_time_embedding(levels)[:, None], embedding)
        if motion is not None:
            embedding = embedding + self.frame_embedding(motion.to(latents))
        numbers = self.add_time_proj(ids.float().flatten()).view(len(ids), -1).to(latents)
        return (embedding + self.add_embedding(numbers)[:, None]).flatten(0, 1)
