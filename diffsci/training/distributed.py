"""Several processes training one model: each takes its rows of every batch, gradients are averaged.

The global batch, its order and its noise do not depend on the number of processes, so N ranks train
on what one would have trained on; only the order of summation differs. The loop can be called so by
a program of one's own under `torchrun`, which sets RANK, WORLD_SIZE and LOCAL_RANK; without them
this process is the only one. `diffsci run` is one process: it does not start or join others yet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from diffsci.errors import ConfigError, require

TIMEOUT_SECONDS = 120.0
"""How long a rank waits for the others before it ends with an error."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """The rows of a global batch of `count` that belong to this process."""
        return slice(self.rank * count // self.world, (self.rank + 1) * count // self.world)


def from_environment(environment: Mapping[str, str] = os.environ) -> Ranks:
    """The ranks that `torchrun` announces.

    Raises:
        ConfigError: When only a part of its variables is set, or they are no numbers.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    found = {name: environment[name] for name in names if name in environment}
    if not found or found.get("WORLD_SIZE") == "1":
        return Ranks()
    needed = (*names, "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in needed if name not in environment]
    if missing or not all(value.isdecimal() for value in found.values()):
        raise ConfigError(
            f"distributed training: {found} is set and {missing} is not, or not a number; set all "
            "of them, or unset these variables to train in one process"
        )
    return Ranks(
        rank=int(found["RANK"]), world=int(found["WORLD_SIZE"]), local=int(found["LOCAL_RANK"])
    )


@contextmanager
def process_group(
    device: torch.device, timeout_seconds: float = TIMEOUT_SECONDS
) -> Iterator[Ranks]:
    """Join the other processes, where there are any, until the block ends.

    Args:
        device: NCCL carries gradients between CUDA devices, gloo all others.
        timeout_seconds: A rank that waits longer for the others fails.
    """
    ranks = from_environment()
    if ranks.world == 1:
        yield ranks
        return
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        rank=ranks.rank,
        world_size=ranks.world,
        timeout=timedelta(seconds=timeout_seconds),
    )
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


def current() -> Ranks:
    """The ranks of the process group that was joined, or those of a process alone."""
    if not dist.is_initialized():
        return Ranks()
    return Ranks(
        rank=dist.get_rank(),
        world=dist.get_world_size(),
        local=int(os.environ.get("LOCAL_RANK", "0")),
    )


def check_batch(batch_size: int, ranks: Ranks) -> None:
    """Refuse a batch that the ranks cannot share equally: means over rows would no longer agree.

    Raises:
        FieldError: Naming the sizes that would work.
    """
    require(
        batch_size % ranks.world == 0,
        "batch_size",
        batch_size,
        f"a multiple of the {ranks.world} processes",
    )


def wrap(module: nn.Module, device: torch.device, ranks: Ranks) -> nn.Module:
    """The module, its gradients averaged over all ranks in backward; rank 0's weights on all."""
    if ranks.world == 1:
        return module
    return nn.parallel.DistributedDataParallel(
        module,
        device_ids=[device] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
    )


def total(values: Float[Tensor, " count"], ranks: Ranks) -> Float[Tensor, " count"]:
    """Sum over all ranks, in place."""
    if ranks.world > 1:
        dist.all_reduce(values)
    return values
