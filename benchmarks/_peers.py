"""The U-Nets of other projects: as they are, and azula's as a member of our family too.

Each has its own default layout (blocks, norms, attention, embedding of the level); its widths alone
are chosen, multiples of 8 where it takes them, and where that is too coarse the width of the
embedding, so that it has as many parameters as ours. `networks.py` refuses what is 2 % off.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from diffsci.errors import require
from diffsci.networks.base import Module, Network, Ports

CHANNELS = 4
"""In and out, in `networks.py`."""


class LevelFeatures(nn.Module):
    """The level as sines and cosines, for networks that are to be given a vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        frequency = torch.logspace(math.log10(0.3), math.log10(300.0), width // 2)
        self.register_buffer("frequency", frequency, persistent=False)

    def forward(self, level: Tensor) -> Tensor:
        """Width numbers for each example."""
        angle = level[:, None] * self.frequency
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class Called(nn.Module):
    """A network of another project, called as `net(x, level)`."""

    def __init__(self, net: nn.Module, call: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.call = net, call

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """The estimate."""
        return self.call(self.net, x, level)


def azula(size: tuple[int, ...]) -> nn.Module:
    """Three blocks a resolution, layer norm, no attention."""
    from azula.nn.unet import UNet

    widths, mod = {1: ((56, 104, 208), 136), 2: ((32, 64, 128), 144), 3: ((24, 40, 80), 96)}[
        len(size)
    ]
    net = UNet(CHANNELS, CHANNELS, hid_channels=widths, spatial=len(size), mod_features=mod)
    told = LevelFeatures(mod)
    module = Called(net, lambda net, x, level: net(x, told(level)))
    module.told = told
    return module


def diffusers(size: tuple[int, ...]) -> nn.Module:
    """Two blocks a resolution, attention below the finest grid (on no more than 32 x 32 cells)."""
    if len(size) == 1:
        from diffusers import UNet1DModel

        net = UNet1DModel(
            sample_size=size[0],
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            extra_in_channels=2 * 72,
            block_out_channels=(72, 64, 144),
        )
        return Called(net, lambda net, x, level: net(x, level).sample)
    # Its default attends on all but the finest grid: on 64 x 128 cells that is all it would do.
    attends = [level > 0 and math.prod(size) // 4**level <= 1024 for level in range(4)]
    # Where attention is left out, the embedding keeps the count.
    return _diffusers(size, attends, 176 if attends[1] else 272)


def diffusers_example(size: tuple[int, ...]) -> nn.Module:
    """The same with attention on the second coarsest grid alone."""
    return _diffusers(size, [False, False, True, False], 320)


def _diffusers(size: tuple[int, ...], attends: list[bool], embedding: int) -> nn.Module:
    from diffusers import UNet2DModel

    net = UNet2DModel(
        sample_size=size,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(32, 64, 64, 96),
        down_block_types=["AttnDownBlock2D" if yes else "DownBlock2D" for yes in attends],
        up_block_types=["AttnUpBlock2D" if yes else "UpBlock2D" for yes in attends[::-1]],
        time_embedding_dim=embedding,
    )
    return Called(net, lambda net, x, level: net(x, level).sample)


def physicsnemo(size: tuple[int, ...], low: bool = False) -> nn.Module:
    """SongUNet as DDPM++: four blocks a resolution, attention on 16 rows and at the bottleneck.

    Under autocast it wants to be told, by `low`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is experimental in it
        from physicsnemo.models.diffusion_unets import SongUNet
    net = SongUNet(
        img_resolution=list(size),
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        # It takes whole multiples of one number alone: widths 32, 64, 64, 56.
        model_channels=8,
        channel_mult=[4, 8, 8, 7],
        channel_mult_emb=12,
        channel_mult_noise=4,
        amp_mode=low,
    )
    return Called(net, lambda net, x, level: net(x, level, None))


def denoising_diffusion_pytorch(size: tuple[int, ...]) -> nn.Module:
    """Two blocks a resolution, each with linear attention; full attention on the coarsest grid."""
    from denoising_diffusion_pytorch import Unet, Unet1D

    if len(size) == 1:
        net: nn.Module = Unet1D(30, channels=CHANNELS)
    else:
        net = Unet(20, channels=CHANNELS, attn_dim_head=12)
    return Called(net, lambda net, x, level: net(x, level))


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A U-Net of another project.

    Args:
        module: What is imported.
        install: Command that installs it.
        build: For a grid of some size.
        dims: Space dims that it comes for.
        build_low: For use under autocast, where that is another.
    """

    module: str
    install: str
    build: Callable[[tuple[int, ...]], nn.Module]
    dims: tuple[int, ...]
    build_low: Callable[[tuple[int, ...]], nn.Module] | None = None

    @property
    def missing(self) -> str | None:
        """Why it is left out; none where it is installed."""
        if importlib.util.find_spec(self.module) is None:
            return f"not installed: {self.install}"
        return None


PEERS = {
    "azula": Peer(
        module="azula", install="pip install 'diffsci[bench]'", build=azula, dims=(1, 2, 3)
    ),
    "diffusers": Peer(
        module="diffusers", install="pip install 'diffsci[bench]'", build=diffusers, dims=(1, 2)
    ),
    "diffusers, few attentions": Peer(
        module="diffusers",
        install="pip install 'diffsci[bench]'",
        build=diffusers_example,
        dims=(2,),
    ),
    "physicsnemo": Peer(
        module="physicsnemo",
        install=(
            "pip install --no-deps nvidia-physicsnemo; pip install nvtx s3fs tensordict timm "
            "warp-lang (its hydra-core asks for omegaconf < 2.4; its U-Net does not need it)"
        ),
        build=physicsnemo,
        build_low=partial(physicsnemo, low=True),
        dims=(2,),
    ),
    "denoising-diffusion-pytorch": Peer(
        module="denoising_diffusion_pytorch",
        install="pip install 'diffsci[bench]'",
        build=denoising_diffusion_pytorch,
        dims=(1, 2),
    ),
}


def parameters(module: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@dataclass(frozen=True, kw_only=True)
class Azula(Network):
    """azula's U-Net behind our contract; all that is not a field here is its own default.

    Args:
        channels: `hid_channels`.
        blocks: `hid_blocks`, at each resolution.
        embedding: `mod_features`.
        dropout: As ours.
    """

    channels: tuple[int, ...] = (64, 128, 256)
    blocks: int = 3
    embedding: int = 128
    dropout: float = 0.0

    def check(self, ports: Ports) -> None:
        """It cannot learn a variance, nor hear noise."""
        require(ports.noise == 0, "noise", ports.noise, "0")
        require(not ports.variance, "variance", ports.variance, "false")

    def build(self, ports: Ports) -> Module:
        """A freshly initialised network."""
        self.check(ports)
        return _Azula(self, ports)

    def as_large_as(self, target: int, ports: Ports) -> Azula:
        """The same with `target` parameters, to 1 %, near the proportions of `channels`.

        Widths are multiples of 8, with which its convolutions are fast; the embedding does the rest
        and is as near to its own width as that allows.
        """
        found: list[tuple[float, Azula]] = []
        for widths in self._proportional():
            spec = replace(self, channels=widths)
            # More with every feature of the embedding: halve the interval in steps of 4.
            low, high = 4, 96
            while high - low > 1:
                middle = (low + high) // 2
                fewer = _count(replace(spec, embedding=4 * middle), ports) < target
                low, high = (middle, high) if fewer else (low, middle)
            for embedding in (4 * low, 4 * high):
                one = replace(spec, embedding=embedding)
                if abs(_count(one, ports) / target - 1) < 0.01:
                    found.append((self._unlike(one), one))
        require(bool(found), "size", target, "a size that widths in multiples of 8 can have")
        return min(found, key=lambda pair: pair[0])[1]

    def _proportional(self) -> list[tuple[int, ...]]:
        """Widths in multiples of 8, each rounded down or up from a multiple of `channels`."""
        found: dict[tuple[int, ...], None] = {}
        for n in range(1, 17):
            exact = [width * n / self.channels[0] for width in self.channels]
            both = [(max(1, math.floor(e)), math.ceil(e)) for e in exact]
            for widths in itertools.product(*both):
                found[tuple(8 * width for width in widths)] = None
        return list(found)

    def _unlike(self, other: Azula) -> float:
        """How far the proportions of another are from these, and its embedding."""
        pairs = zip(other.channels, self.channels, strict=True)
        ratios = [math.log(one / own) for one, own in pairs]
        return max(ratios) - min(ratios) + abs(math.log(other.embedding / self.embedding))


def _count(spec: Azula, ports: Ports) -> int:
    with torch.device("meta"):
        return parameters(spec.build(ports))


class _Azula(Module):
    def __init__(self, spec: Azula, ports: Ports) -> None:
        from azula.nn.unet import UNet

        super().__init__()
        self.net = UNet(
            in_channels=ports.target,
            out_channels=ports.target,
            cond_channels=ports.condition,
            hid_channels=spec.channels,
            hid_blocks=(spec.blocks,) * len(spec.channels),
            spatial=len(ports.grid.dims),
            mod_features=spec.embedding,
            dropout=spec.dropout or None,
            periodic=all(side == "periodic" for pair in ports.grid.boundary for side in pair),
        )
        self.level = LevelFeatures(spec.embedding)
        self.scalars = nn.Linear(ports.scalars, spec.embedding) if ports.scalars else None

    def forward(
        self,
        x: Tensor,
        level: Tensor,
        condition: Tensor | None,
        scalars: Tensor | None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """See `Module.forward`; unlike ours it is not 0 before training."""
        told = self.level(level)
        if self.scalars is not None:
            told = told + self.scalars(scalars)
        return self.net(x, told, condition)
