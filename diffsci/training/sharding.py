"""Sharding: of each weight, its gradient, averages and moments a process holds its part alone.

Torch's `fully_shard` gathers the weights of a block when it is called, and gives each process its
part of the gradient on the way back. What else is done with weights is done with parts of them,
each element by itself; the state of a run is gathered whole, so that its files are those of any
run. All processes take part in whatever gathers: each forward pass, and each state.

A weight is cut along its first axis, as `torch.chunk` does.

Source: Zhao et al. (2023), arXiv:2304.11277.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from diffsci.diffusion.denoiser import Denoiser
from diffsci.networks.base import Module
from diffsci.training.distributed import Ranks


def shard(denoiser: Denoiser, ranks: Ranks) -> None:
    """Leave each process its part of the denoiser's weights, those of rank 0."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    with torch.no_grad():
        for value in (*denoiser.parameters(), *denoiser.buffers()):
            dist.broadcast(value, src=0)
    device = next(denoiser.parameters()).device
    mesh = init_device_mesh(device.type, (ranks.world,))
    for module in (*_blocks(denoiser), denoiser.network, denoiser.learned):
        if module is not None:
            # Always put away after use: what is written between two passes is written to the parts.
            whole = fully_shard(module, mesh=mesh, reshard_after_forward=True)
            if device.type == "cpu":
                whole.set_force_sum_reduction_for_comms(True)  # gloo takes no means


def _blocks(denoiser: Denoiser) -> Iterable[nn.Module]:
    """Parts of the network that are gathered one at a time."""
    return denoiser.network.parts() if isinstance(denoiser.network, Module) else ()


def follow_buffers(denoiser: Denoiser) -> None:
    """Take the buffers of rank 0, as wrapping by DDP does before each pass."""
    for value in _saved_buffers(denoiser).values():
        dist.broadcast(value, src=0)


def put_away(module: nn.Module) -> None:
    """Forget whole weights of a sharded module: its parts were written. Of another one, nothing."""
    if not any(map(is_part, module.parameters())):
        return
    from torch.distributed.fsdp import FSDPModule

    for each in module.modules():
        if isinstance(each, FSDPModule):
            each.reshard()


def named(module: nn.Module) -> dict[str, Tensor]:
    """Live parameters and saved buffers by name, each once even where layers share it."""
    return dict(module.named_parameters()) | _saved_buffers(module)


def _saved_buffers(module: nn.Module) -> dict[str, Tensor]:
    saved = set(module.state_dict(keep_vars=True))
    return {name: value for name, value in module.named_buffers() if name in saved}


def is_part(value: Tensor) -> bool:
    """Whether a tensor stands for one of which this process holds its part alone."""
    # Importing their class takes a while: where nobody did, there is none.
    known = sys.modules.get("torch.distributed.tensor")
    return known is not None and isinstance(value, known.DTensor)


def own(value: Tensor) -> Tensor:
    """What this process holds of a tensor: all, or its part; the same memory, no gradient."""
    value = value.detach()
    return value.to_local() if is_part(value) else value  # type: ignore[attr-defined]


def part_of(whole: Tensor, like: Tensor) -> Tensor:
    """What this process holds of a whole tensor that is cut as `like` is."""
    if not is_part(like):
        return whole
    mesh = like.device_mesh  # type: ignore[attr-defined]
    pieces = whole.chunk(mesh.size())
    rank = mesh.get_local_rank()
    return pieces[rank] if rank < len(pieces) else whole[:0]


def as_part(whole: Tensor, like: Tensor) -> Tensor:
    """A whole tensor as what `like` is: itself, or one of which this process holds its part."""
    if not is_part(like):
        return whole
    return _standing_for(part_of(whole, like).to(own(like).device).clone(), like)


def gathered(
    parts: Mapping[str, Tensor], like: Mapping[str, Tensor], keep: bool
) -> dict[str, Tensor]:
    """Whole tensors on the CPU; by all processes together.

    Args:
        parts: What this process holds.
        like: By the same names, what is cut in the same way.
        keep: Whether this process wants them; else it gets none.
    """
    found: dict[str, Tensor] = {}
    # In one order in all processes: that of what was read from a file is not.
    for name in sorted(parts):
        whole = own(parts[name])
        if is_part(like[name]):
            whole = _standing_for(whole, like[name]).full_tensor()  # type: ignore[attr-defined]
        if keep:
            found[name] = whole.cpu()
    return found


def _standing_for(part: Tensor, like: Tensor) -> Tensor:
    """The tensor of which this is the part of this process."""
    from torch.distributed.tensor import DTensor

    assert isinstance(like, DTensor)
    made: Tensor = DTensor.from_local(
        part,
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )
    return made
