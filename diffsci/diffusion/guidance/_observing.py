"""What guidance by observations shares: the border checks, and an estimate with its graph.

A member says what is added to the estimate D = E[x_0 | x_t], given the misfit y - H D and, where it
needs it, the pull (d^2 / c) J^T v with the Jacobian J = dD / dx_t. By Tweedie's second identity the
pull is C_t v, C_t = Cov[x_0 | x_t], for an exact denoiser; it is one pass backward through the
call's own graph.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Level, level
from diffsci.diffusion.guidance.base import ConditionalDenoise, Observed
from diffsci.diffusion.operators.base import Operator, check_adjoint
from diffsci.diffusion.schedules.base import AnySchedule
from diffsci.errors import ConfigError

Pull = Callable[[Tensor], Tensor]
"""`v -> (d^2 / c) J^T v`, both shaped as fields."""


@dataclass(frozen=True)
class Misfit:
    """How far one estimate is from the observations.

    Args:
        operator: The H.
        residual: y - H D.
        noise_std: Of the observations, broadcasting against the residual.
        field: D, the estimate.
        at: Its level, one for all or one for each example.
    """

    operator: Operator
    residual: Float[Tensor, "batch *observation"]
    noise_std: float | Float[Tensor, "..."]
    field: Float[Tensor, "batch channel *space"]
    at: Level

    def adjoint(
        self, values: Float[Tensor, "batch *observation"]
    ) -> Float[Tensor, "batch channel *space"]:
        """H^T of values."""
        return self.operator.adjoint(values, self.field)


Correct = Callable[[Misfit, Pull], Tensor]
"""What a member adds to the estimate."""


def guided_by(
    word: str,
    denoise: ConditionalDenoise,
    schedule: AnySchedule,
    observed: Observed | None,
    correct: Correct,
    *,
    graph: bool = True,
) -> ConditionalDenoise:
    """The denoiser whose estimates are corrected by observations.

    It works inside `torch.inference_mode`, where sampling usually is; nothing of a call's graph is
    kept, and parameters get no gradients.

    Args:
        word: The member's, for messages.
        denoise: What is guided.
        schedule: Of the denoiser.
        observed: What is known.
        correct: What is added to an estimate.
        graph: Whether it asks for the pull.

    Raises:
        ConfigError: Without observations. The guided denoiser raises it for observations that do
            not fit the fields, and for an operator whose adjoint is wrong.
    """
    if observed is None:
        raise ConfigError(
            f"guidance {word}: it needs observations and none are given: say what is observed, by "
            "Observed(operator=..., values=..., noise_std=...), or leave the guidance out"
        )
    trusted: list[bool] = []

    def guided(x_t: Tensor, t: Tensor, condition: Tensor | None, scalars: Tensor | None) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            if not trusted:
                with _full_precision(x_t.device.type):
                    check_adjoint(observed.operator, x_t)
                trusted.append(True)
            with torch.set_grad_enabled(graph):
                x = x_t.detach().clone().requires_grad_(graph)
                given = [_plain(part) for part in (condition, scalars)]
                estimate = denoise(x, t.clone(), *given)
            if estimate.shape != x.shape:
                shapes = f"{list(estimate.shape)}, that of x_t is {list(x.shape)}"
                raise ConfigError(
                    f"denoise: the shape of its estimate is {shapes}: give both alike"
                )
            _same_kind("the estimate of denoise", estimate, x)
            # The network may compute in a smaller precision; observations never do.
            with _full_precision(x.device.type):
                x_0, at = estimate.detach(), level(schedule, t.to(x))
                misfit = _misfit(observed, x_0, at)
                return x_0 + correct(misfit, _pull(word, estimate, x, at.over(x)))

    return guided


def _pull(word: str, estimate: Tensor, x: Tensor, at: Level) -> Pull:
    def pull(v: Tensor) -> Tensor:
        found: Tensor | None = None
        if estimate.requires_grad:
            (found,) = torch.autograd.grad(estimate, x, v, retain_graph=True, allow_unused=True)
        if found is None:
            raise ConfigError(
                f"guidance {word}: the denoiser's estimate carries no gradient to x_t: write it in "
                "torch, without detach or no_grad, and guide by observations once only"
            )
        return at.noise_std**2 / at.signal_scale * found

    return pull


def _misfit(observed: Observed, x_0: Tensor, at: Level) -> Misfit:
    seen, values, std = observed.operator.apply(x_0), observed.values, observed.noise_std
    if values.shape[1:] != seen.shape[1:] or len(values) not in (1, len(seen)):
        raise ConfigError(
            f"observed values: their shape is {list(values.shape)}, the operator "
            f"{observed.operator.name} sees {list(seen.shape)} of these fields: give one "
            "set for each example, or one for all"
        )
    _same_kind("observed values", values, seen)
    if isinstance(std, Tensor):
        _same_kind("noise_std", std, seen)
        shapes = [*std.shape], [*seen.shape]
        gap = len(shapes[1]) - len(shapes[0])
        pairs = zip(shapes[0], shapes[1][max(0, gap) :], strict=False)
        if gap < 0 or any(one not in (1, many) for one, many in pairs):
            raise ConfigError(
                f"noise_std: its shape is {shapes[0]}, which does not broadcast against "
                f"observations of shape {shapes[1]}: give one for all, or one for each value"
            )
    return Misfit(observed.operator, values - seen, std, x_0, at)


def _same_kind(name: str, given: Tensor, wanted: Tensor) -> None:
    for kind in ("dtype", "device"):
        found, expected = getattr(given, kind), getattr(wanted, kind)
        if found != expected:
            raise ConfigError(
                f"{name}: {kind} is {found}, that of the fields is {expected}: give both alike, "
                "by `.to(...)`"
            )


def _plain(given: Tensor | None) -> Tensor | None:
    """A tensor that autograd may keep, which those made in inference mode are not."""
    return given.clone() if given is not None and given.is_inference() else given


def _full_precision(device: str) -> AbstractContextManager[object]:
    return torch.autocast(device, enabled=False) if device != "meta" else nullcontext()
