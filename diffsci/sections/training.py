"""Section `train`: the training loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from diffsci.errors import FieldError, require
from diffsci.members import member

if TYPE_CHECKING:
    from diffsci.diffusion.objectives.base import Objective


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Training on several forecast steps, each from what the model made before.

    Args:
        leads: Forecast steps; several numbers are taken one after the other.
        from_step: Training step before which there is one alone; several, where leads are several.
        backprop: Forecast steps that the gradient goes back through; null for all.
    """

    leads: int | tuple[int, ...]
    from_step: int | tuple[int, ...] = 0
    backprop: int | None = None

    def __post_init__(self) -> None:
        leads, starts = _several(self.leads), _several(self.from_step)
        fits = len(leads) >= 1 and all(each >= 1 for each in leads)
        require(fits, "leads", self.leads, "1 or more, one number or several")
        fits = len(starts) == len(leads) and starts[0] >= 0
        fits = fits and all(one < two for one, two in zip(starts, starts[1:], strict=False))
        expected = f"{len(leads)} training steps for the {len(leads)} of leads, each after the last"
        require(fits, "from_step", self.from_step, expected)
        fits = self.backprop is None or self.backprop >= 1
        require(fits, "backprop", self.backprop, "1 or more, or null for all")

    @property
    def longest(self) -> int:
        """Most forecast steps."""
        return max(_several(self.leads))

    def leads_at(self, step: int) -> int:
        """Forecast steps in the training step counted from 0."""
        pairs = zip(_several(self.leads), _several(self.from_step), strict=True)
        return next((leads for leads, start in reversed(tuple(pairs)) if step >= start), 1)


@dataclass(frozen=True, kw_only=True)
class ValidateCrps:
    """Validation by the CRPS of a short ensemble, with fixed cases and noise.

    Args:
        cases: Of the validation part, evenly spread.
        members: Of each.
    """

    cases: int = 32
    members: int = 4

    def __post_init__(self) -> None:
        require(self.cases >= 1, "cases", self.cases, "1 or more")
        require(self.members >= 2, "members", self.members, "2 or more: one has no spread")


def _several(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


@dataclass(frozen=True, kw_only=True)
class Train:
    """The training loop.

    Args:
        steps: Optimiser steps.
        from_: Run whose averaged weights are the first ones, as far as they fit: a folder, as seen
            from here or from the file's; or `point:NAME`, an earlier point of the same sweep.
            Channels are matched by their names. `from` in a file.
        freeze: Patterns such as `network.stem.*` of names of weights that are to stay as they are;
            one that begins with `!` takes back what those before it name.
        batch_size: Examples per step.
        accumulate: Parts of a batch that are computed one after the other, to save memory; their
            gradients add up to that of the whole batch.
        lr: Peak learning rate of AdamW.
        lr_end: Final rate as a share of `lr`.
        warmup: Steps over which the rate rises linearly from 0.
        schedule: What follows: a `cosine` down to `lr_end`, a `constant` rate, or one that is
            constant until the `cooldown`.
        cooldown: Last share of the steps over which the rate falls, with `schedule: cooldown`.
        weight_decay: Of AdamW, for filters and matrices; biases and norms do not decay.
        clip: Largest gradient norm.
        ema: Decay of the exponential moving average of the weights, after its own warm-up; of
            several, the average that validates best at the end is the model.
        ema_lengths: Lengths of averages that are kept beside it and through the run, as shares of
            it; of any length is then the average that validates best at the end. None: not done.
        snapshots: How many of those are kept, evenly over the run.
        objective: What is trained for: which levels of noise, with which weight, or a score of
            members that are made by one call.
        rollout: Training on several forecast steps; null for one.
        amplitude: Standard deviation of the logarithm of a factor on each example's target and
            given states, about their means over the training part: examples that are stronger or
            weaker than those that were seen. For few of them.
        condition_noise: Standard deviation of Gaussian noise added to the condition in training.
        field_weights: How much each field counts in the loss, beside the others: by the name of a
            variable, or of one level of it such as `t@850`; 1 where it is not named. Null counts
            all alike.
        scalar_noise: Standard deviation of Gaussian noise added to the data's parameters in
            training, where theirs is 1: what is learned at few values then varies smoothly between.
        drop_scalars: Share of examples whose scalars are set to zero, for classifier-free guidance.
        flip: Dims that may be mirrored at random in training, where the physics allows it.
        shift: Dims along which periodic fields are rolled at random.
        checkpoint_every: Steps between checkpoints.
        keep: Newest checkpoints kept.
        keep_best: Whether the model is that of the best validation, not that of the last step:
            `true` by its loss, `crps` by the score of `validate_crps`.
        validate_every: Steps between validations.
        validate_crps: Whether they also measure the CRPS of a short ensemble, made by the sampler
            of `sample`; null for no.
        patience: Validations without a lower loss after which training ends; null for no such end.
        hours: Training ends after so many, counted over restarts; null for no such end.
        on_bad: What a batch does whose loss or gradient is not finite: `stop` ends the run, `skip`
            leaves weights, average and optimiser as they are and goes on.
        skip_most: Such batches in a row that are skipped; one more stops.
        spike: A loss so many robust deviations above the last hundred is told; null for never.
        log_every: Steps between tracked metrics, and between log lines where no bar is drawn.
    """

    steps: int
    from_: str | None = None
    freeze: tuple[str, ...] = ()
    batch_size: int = 16
    accumulate: int = 1
    lr: float = 1e-3
    lr_end: float = 0.0
    warmup: int = 100
    schedule: Literal["cosine", "constant", "cooldown"] = "cosine"
    cooldown: float = 0.2
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float | tuple[float, ...] = 0.999
    ema_lengths: tuple[float, ...] = ()
    snapshots: int = 32
    objective: Objective = member("objectives", "edm")
    rollout: Rollout | None = None
    amplitude: float = 0.0
    condition_noise: float = 0.0
    field_weights: dict[str, float] | None = None
    scalar_noise: float = 0.0
    drop_scalars: float = 0.0
    flip: tuple[str, ...] = ()
    shift: tuple[str, ...] = ()
    checkpoint_every: int = 500
    keep: int = 2
    keep_best: bool | Literal["crps"] = False
    validate_every: int = 500
    validate_crps: ValidateCrps | None = None
    patience: int | None = None
    hours: float | None = None
    on_bad: Literal["stop", "skip"] = "stop"
    skip_most: int = 10
    spike: float | None = 10.0
    log_every: int = 50

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "accumulate", "checkpoint_every", "keep")
        for name in (*counts, "validate_every", "skip_most", "log_every", "snapshots"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.from_ != "", "from", self.from_, "the folder of a run, or null")
        fits = self.batch_size % self.accumulate == 0
        expected = f"a divisor of batch_size, which is {self.batch_size}"
        require(fits, "accumulate", self.accumulate, expected)
        for name in ("lr", "clip"):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        for name in ("hours", "spike", "patience"):
            value = getattr(self, name)
            require(value is None or value > 0, name, value, "more than 0, or null for none")
        for name in ("warmup", "weight_decay", "amplitude", "condition_noise", "scalar_noise"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        weights = self.field_weights
        require(weights != {}, "field_weights", weights, "a weight by field, or null for all alike")
        for name, value in (weights or {}).items():
            expected = "more than 0: what counts nothing is not learned (data.variables leaves out)"
            require(value > 0, f"field_weights.{name}", value, expected)
        require(self.amplitude <= 1, "amplitude", self.amplitude, "at most 1: a factor of e")
        for name in ("lr_end", "drop_scalars"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a share from 0 to 1")
        fits = self.schedule != "constant" or self.lr_end == 0
        require(fits, "lr_end", self.lr_end, "0.0 where train.schedule is constant, and ignores it")
        fits = self.keep_best != "crps" or self.validate_crps is not None
        expected = "true or false, or a section train.validate_crps, such as {}"
        require(fits, "keep_best", self.keep_best, expected)
        fits = self.keep_best != "crps" or not self.ema_lengths
        expected = "true or false beside train.ema_lengths, whose lengths are chosen by loss"
        require(fits, "keep_best", self.keep_best, expected + ", or no train.ema_lengths")
        require(0 < self.cooldown <= 1, "cooldown", self.cooldown, "a share, more than 0")
        fits = len(self.decays) > 0 and all(0 <= decay < 1 for decay in self.decays)
        fits = fits and len(set(self.decays)) == len(self.decays)
        require(fits, "ema", self.ema, "0 or more and less than 1, one or several that differ")
        fits = all(0 < length <= 0.28 for length in self.ema_lengths)
        fits = fits and len(set(self.ema_lengths)) == len(self.ema_lengths)
        expected = "shares that differ, more than 0 and up to 0.28, such as [0.05, 0.1]"
        require(fits, "ema_lengths", self.ema_lengths, expected)

    def refuse_without_validation(self) -> None:
        """Refuse what chooses by the validation loss.

        Raises:
            FieldError: With the full key.
        """
        asked = {
            "patience": self.patience is not None,
            "keep_best": bool(self.keep_best),
            "validate_crps": self.validate_crps is not None,
            "ema": len(self.decays) > 1,
            "ema_lengths": len(self.ema_lengths) > 0,
        }
        for name in (name for name, wanted in asked.items() if wanted):
            expected = "a part data.split.valid, by whose loss it chooses, or to leave it out"
            raise FieldError(f"train.{name}", getattr(self, name), expected)

    @property
    def by_crps(self) -> bool:
        """Whether the best validation is that of the lowest CRPS."""
        return self.keep_best == "crps"

    def leads_at(self, step: int) -> int:
        """Forecast steps in the training step counted from 0."""
        return 1 if self.rollout is None else self.rollout.leads_at(step)

    @property
    def decays(self) -> tuple[float, ...]:
        """Of the averages that are kept side by side."""
        return self.ema if isinstance(self.ema, tuple) else (self.ema,)
