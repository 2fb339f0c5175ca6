"""Attention: each token's mean of all tokens' values, by weights softmax(query . key / sqrt(n))."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diffsci.networks._positions import rotated


class Attention(nn.Module):
    """Self-attention of tokens that know their distances by rotations."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch token width"], rotation: Float[Tensor, "2 token pair"]
    ) -> Float[Tensor, "batch token width"]:
        """What each token takes from all."""
        batch, tokens, width = x.shape
        parts = self.mix(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        # Rotated in fp32 under autocast, then back in the dtype of the values.
        query, key = (rotated(part, rotation).to(parts.dtype) for part in parts[:2])
        mixed = attend(query, key, parts[2])
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return out


def attend(
    query: Float[Tensor, "batch head token feature"],
    key: Float[Tensor, "batch head token feature"],
    value: Float[Tensor, "batch head token feature"],
) -> Float[Tensor, "batch head token feature"]:
    """The values' means, for each token and head.

    In float64, which is asked for exactness and not for speed, the formula is written out: torch's
    fused kernels have neither second nor forward derivatives.
    """
    if query.dtype != torch.float64:
        fused: Tensor = F.scaled_dot_product_attention(query, key, value)
        return fused
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    mixed: Tensor = scores.softmax(dim=-1) @ value
    return mixed
