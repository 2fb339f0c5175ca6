"""What the embedding does to features: normalised, then scaled and shifted, each by its own number.

Source:
    Perez et al. (2018), arXiv:1709.07871.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def film(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Features (the last axis) at mean 0 and variance 1, times 1 + `scale`, plus `shift`.

    Under autocast `x` is to be in fp32: shift and scale, which layers put out in bf16, follow it.
    """
    plain = F.layer_norm(x, x.shape[-1:], eps=1e-6)
    return torch.addcmul(shift.to(x.dtype), plain, 1 + scale.to(x.dtype))


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer, which now puts out nothing before training."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
