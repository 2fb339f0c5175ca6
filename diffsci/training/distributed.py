"""Several processes training one model: each takes its rows of every batch, gradients are averaged.

The global batch, its order and its noise do not depend on the number of processes, so N ranks train
on what one would have trained on; only the order of summation differs. `torchrun` starts them and
sets RANK, WORLD_SIZE and LOCAL_RANK; without these, this process is the only one. What they tell
each other beside gradients is in `company.py`.
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
from diffsci.running import stopping
from diffsci.training.company import Company, cause_of, meet_others

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

    Raises:
        RankError: When another one ended, was killed, or does not answer.
        Stopped: When a signal asked for it before they met.
    """
    global _company
    ranks = from_environment()
    if ranks.world == 1:
        yield ranks
        return
    stopping.boundary("stopped before the processes met")
    if device.type == "cuda":
        torch.cuda.set_device(ranks.local)  # what is called `cuda` is this one from now on
    store = meet_others(timeout_seconds)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=ranks.rank,
        world_size=ranks.world,
        timeout=timedelta(seconds=timeout_seconds),
    )
    _company = Company(rank=ranks.rank, world=ranks.world, store=store)
    _company.arrive()
    try:
        yield ranks
        _company.leave()
    except BaseException as error:
        with stopping.failing():
            found = _company.parted(cause_of(error))
        if found is error:
            raise
        raise found from error
    finally:
        _company = None
        dist.destroy_process_group()


_company: Company | None = None


def timeout_seconds() -> float:
    """How long a rank waits for the others: DIFFSCI_RANK_TIMEOUT where that is set.

    Raises:
        ConfigError: When it is no number of seconds.
    """
    told = os.environ.get("DIFFSCI_RANK_TIMEOUT", str(TIMEOUT_SECONDS))
    try:
        seconds = float(told)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ConfigError(f"DIFFSCI_RANK_TIMEOUT is {told!r}, expected seconds, more than 0")
    return seconds


def explained(error: BaseException) -> BaseException:
    """What ends this process: an error of its own, or of another one, whose rank is then named.

    Asked within `stopping.failing`, before what is known is written down; it takes some seconds
    where another process is missed.
    """
    cause = cause_of(error)
    return cause if _company is None else _company.explained(cause)


def tell(word: str, text: str) -> None:
    """A word to the other ranks, once; alone, to nobody."""
    if _company is not None:
        _company.tell(word, text)


def hear(word: str) -> str | None:
    """A word of rank 0, when it is told; none when rank 0 has left without it.

    Raises:
        RankError: When a rank ended by an error.
    """
    return None if _company is None else _company.hear(word)


def told(word: str) -> str | None:
    """A word of any rank, where it was told by now; alone, none.

    Raises:
        RankError: When a rank ended by an error.
    """
    return None if _company is None else _company.told(word)


def take(word: str) -> int:
    """A number that no other rank takes, counted from 0; for several processes alone.

    Raises:
        RankError: When a rank ended by an error.
    """
    assert _company is not None
    return _company.take(word)


def meet(place: str, seconds: float) -> None:
    """Wait until all ranks are there; alone, not at all.

    Raises:
        RankError: When a rank ended by an error, or is not there in time.
    """
    if _company is not None:
        _company.meet(place, seconds)


def largest(value: int) -> int:
    """The largest value of any rank, on all of them."""
    if not dist.is_initialized():
        return value
    found = torch.tensor([value], device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return int(found.item())


def current() -> Ranks:
    """The ranks of the process group that was joined, or those of a process alone."""
    if not dist.is_initialized():
        return Ranks()
    return Ranks(
        rank=dist.get_rank(),
        world=dist.get_world_size(),
        local=int(os.environ.get("LOCAL_RANK", "0")),
    )


def check_device(name: str) -> None:
    """Refuse a device with a number: each process takes the one of its own.

    Raises:
        FieldError: Naming it.
    """
    expected = "cuda, cpu or auto: each of several processes takes the CUDA device of its number"
    require(":" not in name and name != "mps", "runtime.device", name, expected)


def check_batch(batch_size: int, ranks: Ranks, parts: int = 1) -> None:
    """Refuse a batch that the ranks cannot share equally: means over rows would no longer agree.

    Args:
        batch_size: Of the whole batch.
        ranks: Who shares it.
        parts: In which each rank computes its share, one after the other.

    Raises:
        FieldError: Naming the sizes that would work.
    """
    require(
        batch_size % (ranks.world * parts) == 0,
        "train.batch_size",
        batch_size,
        f"a multiple of the {ranks.world} processes"
        + (f", each with {parts} parts by train.accumulate" if parts > 1 else ""),
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
