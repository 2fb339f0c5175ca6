"""The gradient of one step: the numbers drawn for it, the batch as trained on, there and back."""

from __future__ import annotations

from functools import partial

from torch import nn

from diffsci.batch import Batch
from diffsci.diffusion.objective import Losses
from diffsci.grid import Grid
from diffsci.runtime import CompileError, Device
from diffsci.sections import Train
from diffsci.training import augment, distributed, sharding
from diffsci.training.distributed import Ranks
from diffsci.training.finite import Buffers
from diffsci.training.losses import Loss
from diffsci.training.order import Draws, seed_dropout
from diffsci.training.parts import backward
from diffsci.training.rollout import drawn


class Gradient:
    """Adds the gradient of a batch's mean loss to the parameters, the same one on all ranks.

    Args:
        loss: Of each example.
        section: Batch, parts and augmentation.
        grid: Of the examples; needed for `flip` and `shift`.
        seed: Of all noise.
        way: How to compute.
        ranks: Who shares the batch; from now on all of them have the weights of rank 0.
    """

    def __init__(
        self,
        loss: Loss,
        section: Train,
        grid: Grid | None,
        seed: int,
        way: Device,
        ranks: Ranks,
    ) -> None:
        self.loss, self.section, self.grid, self.seed, self.way = loss, section, grid, seed, way
        self.ranks, self.device = ranks, next(loss.parameters()).device
        self._averaged: nn.Module = loss
        if way.sharded:
            sharding.shard(loss.denoiser, ranks)
        else:
            self._averaged = distributed.wrap(loss, self.device, ranks)

    def __call__(self, step: int, batch: Batch, scale: float) -> tuple[Losses, Batch]:
        """What came of each example of this rank, and the batch as trained on.

        Args:
            step: Counted from 0.
            batch: The rows of this rank.
            scale: The gradient is that of the mean loss times this.

        Raises:
            CompileError: Where the network was compiled, and fails.
        """
        if self.way.sharded:
            sharding.follow_buffers(self.loss.denoiser)
        with self.way.explaining():
            return self._of(self._averaged, step, batch, scale)

    @property
    def may_fail_alone(self) -> bool:
        """Whether compiling could fail on one rank, while others wait for its gradient."""
        return self.way.compiles and self.ranks.world > 1

    def try_compiled(self, step: int, batch: Batch) -> None:
        """Compile the network before the ranks wait for each other: where one cannot, none does.

        The gradient is thrown away.

        Raises:
            CompileError: On all ranks.
        """
        failed: CompileError | None = None
        buffers = Buffers(self.loss.denoiser, watched=True)
        buffers.keep()
        try:
            with self.way.explaining():
                self._of(self.loss, step, batch, 1.0)
        except CompileError as error:
            failed = error
        buffers.put_back()
        for parameter in self.loss.parameters():
            parameter.grad = None
        if distributed.largest(int(failed is not None)):
            text = "runtime.compile: another of the processes cannot compile"
            raise CompileError(str(failed or text), by_all=True)

    def _of(self, loss: nn.Module, step: int, batch: Batch, scale: float) -> tuple[Losses, Batch]:
        if not self.loss.denoiser.training:  # a consumer may sample between steps
            self.loss.denoiser.train()
        section, draws = self.section, self._draws(step)
        dtype, like = batch.target.dtype, self.loss.objective.noise_like(batch.target)
        leads = section.leads_at(step)
        steps = [draws, *(self._draws(step, "lead", lead) for lead in range(1, leads))]
        numbers = drawn([(d.stratified(dtype), d) for d in steps], like)
        batch = augment.augment(batch, section, self.grid, draws)
        words = ("dropout", self.seed, step, self.ranks.rank)
        found = backward(
            loss,
            batch,
            *numbers,
            parts=section.accumulate,
            scale=scale,
            seed=partial(seed_dropout, self.device, *words),
        )
        return found, batch

    def _draws(self, step: int, *words: int | str) -> Draws:
        """Random numbers of a step, or of a part of it."""
        count = self.section.batch_size
        rows = self.ranks.rows(count)
        return Draws(self.seed, step, *words, count=count, rows=rows, device=self.device)
