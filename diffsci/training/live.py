"""What a run owns while it goes on, and how it becomes a state and comes from one."""

from __future__ import annotations

from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objectives.base import Objective
from diffsci.runtime import Device
from diffsci.sections import Train
from diffsci.training import by_level, distributed, ending, sharding
from diffsci.training.ema import Ema, Weights, weights_of
from diffsci.training.finite import Skipped
from diffsci.training.optimiser import adamw
from diffsci.training.power import Powers
from diffsci.training.scaler import Scaler
from diffsci.training.spikes import Recent
from diffsci.training.state import LossRow, RunState, optimiser_tensors, restore, settings_of
from diffsci.training.validation import Validations


class Live:
    """All that a later step depends on, beside what is given.

    Args:
        denoiser: Laid out, and shared out among ranks where that is wanted.
        section: Rates, averages and ends.
        objective: What is trained for.
        seed: Of the run.
        device: How it computes.
        examples: How many there are.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        section: Train,
        objective: Objective,
        seed: int,
        device: Device,
        examples: int,
    ) -> None:
        self.denoiser, self._sharded = denoiser, device.sharded
        self.optimiser = adamw(denoiser, section, next(denoiser.parameters()).device)
        self.ema = Ema(denoiser, section.ema)
        self.powers = Powers(denoiser, section.ema_lengths)
        self.scaler = Scaler() if device.precision == "fp16" else None
        self.skipped, self.step, self.ending = Skipped(), 0, ending.Ending(section)
        self.by_level = by_level.NOTHING
        self.recent, self.losses, self.validations = Recent(), list[LossRow](), Validations()
        self.settings = settings_of(section, objective, seed, device, examples)

    def state(self) -> RunState:
        """All of it, for a checkpoint; of sharded weights by all ranks together."""
        validations, whole, live = self.validations, self._whole, sharding.named(self.denoiser)
        moments = optimiser_tensors(self.denoiser, self.optimiser)
        return RunState(
            step=self.step,
            weights=whole(weights_of(self.denoiser), live),
            ema=whole(self.ema.weights, live),
            ema_others=tuple(whole(each, live) for each in self.ema.all[1:]),
            ema_updates=self.ema.updates,
            powers=tuple(whole(each, live) for each in self.powers.all),
            optimiser=whole(moments, moments),
            scaler=self.scaler,
            skipped=self.skipped.total,
            skipped_in_row=self.skipped.in_row,
            best_step=validations.best_step,
            best_loss=validations.best_loss,
            ema_losses=validations.last,
            by_level=self.by_level,
            recent=tuple(self.recent.losses),
            losses=tuple(self.losses),
            validations=tuple(validations.rows),
            scores=tuple(validations.scores),
            seconds=self.ending.seconds,
            ended=self.ending.reason,
            settings=self.settings,
        )

    def _whole(self, parts: Weights, like: Weights) -> Weights:
        """The tensors of a state: live ones, or gathered from all ranks for the first."""
        if not self._sharded:
            return parts
        return sharding.gathered(parts, like, keep=distributed.current().is_first)

    def go_on_from(self, state: RunState) -> None:
        """As the run was that was saved.

        Raises:
            ConfigError: When its weights are not those of this network.
        """
        restore(state, self.denoiser, self.ema, self.optimiser)
        self.powers.restore(state.powers)
        self.step, self.by_level, self.losses = state.step, state.by_level, list(state.losses)
        self.scaler = self.scaler and (state.scaler or self.scaler)
        self.skipped = Skipped(state.skipped, state.skipped_in_row)
        rows, self.recent = list(state.validations), Recent(state.recent)
        best = (state.best_step, state.best_loss)
        self.validations = Validations(rows, *best, state.ema_losses, list(state.scores))
        self.ending.go_on_from(state.seconds, state.ended)
