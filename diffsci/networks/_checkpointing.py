"""Blocks computed again on the way back: training then holds their inputs alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def run(block: nn.Module, again: bool, *inputs: Tensor) -> Tensor:
    """`block(*inputs)`; with `again`, what it computes inside is not kept for the gradient.

    The second time dropout draws what it drew the first time: gradients agree to the bit.
    """
    if again and torch.is_grad_enabled():
        kept: Tensor = checkpoint(block, *inputs, use_reentrant=False)
        return kept
    out: Tensor = block(*inputs)
    return out
