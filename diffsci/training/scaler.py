"""The scale of the loss in float16, whose smallest numbers the gradients of a network fall below.

The loss is multiplied by a power of two before the way back, and the gradient divided by it after:
exact, but for what would have been lost. The scale doubles after many steps in which nothing
overflowed; where the gradient did, the step is left out and the scale is halved. It is the rule of
`torch.amp.GradScaler`, which would read the device once more in each step; here the norm of the
gradient, which is read anyway, tells.

Source: Micikevicius et al. (2018), arXiv:1710.03740.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

LARGEST = 2.0**40
"""Torch's has no bound, and reaches infinity where a loss has no gradient."""


@dataclass(frozen=True, kw_only=True)
class Scaler:
    """A scale between two steps.

    Args:
        scale: What the next loss is multiplied by.
        clean: Steps without an overflow since the scale was changed.
        overflows: Steps left out so far.
        every: Clean steps after which the scale doubles.
    """

    scale: float = 2.0**16
    clean: int = 0
    overflows: int = 0
    every: int = 2000

    @property
    def may_fall(self) -> bool:
        """Whether an overflow may be due to the scale: without one, it is not."""
        return self.scale > 1

    def note(self, step: int) -> str:
        """What to say of a step that overflowed, counted from 1; this is the scale after it."""
        return (
            f"training step {step}: the gradient overflowed float16; the step is skipped, and the "
            f"loss is scaled by {self.scale:g} from now on"
        )

    def after(self, overflowed: bool) -> Scaler:
        """The scale after one more step."""
        if overflowed:
            return replace(self, scale=self.scale / 2, clean=0, overflows=self.overflows + 1)
        if self.clean + 1 < self.every:
            return replace(self, clean=self.clean + 1)
        return replace(self, scale=min(2 * self.scale, LARGEST), clean=0)
