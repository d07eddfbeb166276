"""Attention of Vista's UNet to pictures and actions: equal to that of diffusers' blocks, with less computing.

Imports diffusers. A clip has one set of tokens for all of its frames and cells: keys and values are made once a clip,
where the blocks of diffusers, as the reference, make them for every cell again. Legend: B clips, T frames, H W cells,
N = B * (frames or cells) rows, L tokens, C width of the picture's token, A of an action's, D of a layer.
"""

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import nn


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
        """(..., D) of tokens (..., C + A)."""
        picture, action = tokens.split([self.in_features, self.action.in_features], dim=-1)
        return super().forward(picture) + self.action(action)


class OneToken:
    """Attention to one token a clip: its value, as a softmax over one is 1. A processor of diffusers' Attention."""

    def __call__(
        self,
        attention: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(N, 1, D), the same for all queries (N, Q, D), of tokens (B, 1, C + A), or C without actions."""
        assert attention_mask is None and encoder_hidden_states.shape[1] == 1
        answers = attention.to_out[0](attention.to_v(encoder_hidden_states))  # (B, 1, D)
        return answers.repeat_interleave(len(hidden_states) // len(answers), dim=0)


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
        """(N, Q, D) of queries (N, Q, D) and tokens (B, 1 + 5, C + A), the picture's first."""
        assert attention_mask is None
        times = len(hidden_states) // len(encoder_hidden_states)
        picture, actions = encoder_hidden_states[:, :1], encoder_hidden_states[:, 1:]
        width = attention.to_k.in_features

        def by_head(x: torch.Tensor) -> torch.Tensor:
            return x.unflatten(-1, (attention.heads, -1)).transpose(1, 2)  # (..., heads, tokens, D / heads)

        keys, values = (layer.action(actions[..., width:]) for layer in (attention.to_k, attention.to_v))  # (B, 5, D)
        keys, values = (by_head(x).repeat_interleave(times, dim=0) for x in (keys, values))
        done = F.scaled_dot_product_attention(by_head(attention.to_q(hidden_states)), keys, values)
        seen = attention.to_v(picture).repeat_interleave(times, dim=0)  # a softmax over one token is 1
        return attention.to_out[0](done.transpose(1, 2).flatten(2) + seen)


class ClipTransformer(nn.Module):
    """Attention within frames, then over time: a TransformerSpatioTemporalModel's layers under its names."""

    def __init__(self, layer: TransformerSpatioTemporalModel):
        super().__init__()
        for name, child in layer.named_children():
            self.add_module(name, child)

    def forward(self, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(B T, D, H, W) of the same, and tokens (B, L, C + A)."""
        num_frames = len(hidden) // len(tokens)
        height = hidden.shape[2]
        x = self.proj_in(self.norm(hidden).flatten(2).transpose(1, 2))  # (B T, H W, D)
        frames = self.time_proj(torch.arange(num_frames, device=x.device)).to(x)
        places = self.time_pos_embed(frames).repeat(len(tokens), 1)[:, None]  # (B T, 1, D)
        no_image = x.new_zeros(len(tokens), num_frames)
        for within, over_time in zip(self.transformer_blocks, self.temporal_transformer_blocks, strict=True):
            x = within(x, encoder_hidden_states=tokens)
            y = over_time(x + places, num_frames=num_frames, encoder_hidden_states=tokens)
            x = self.time_mixer(x_spatial=x, x_temporal=y, image_only_indicator=no_image)
        return hidden + self.proj_out(x).transpose(1, 2).unflatten(2, (height, -1))
