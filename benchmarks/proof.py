"""Write docs/proof.md: every sampler and guidance against closed forms, measured anew.

    python -m benchmarks.proof [--out docs/proof.md] [--quick]

No network is trained: the denoisers are exact, so that what is measured is the sampler alone. All
in float64 on one thread, a few minutes; `--quick` measures a part, for the tests.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import _proof_words as words
from benchmarks._guidance_table import guidance_rows, markdown
from diffsci.batch import Batch
from diffsci.diffusion.augmentation import Level, pure_noise
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.covariance import Covariance, Diagonal, WithCovariance
from diffsci.diffusion.exact import (
    DiagonalGaussian,
    StationaryField,
    diagonal_output_law,
    whole,
)
from diffsci.diffusion.likelihood import log_likelihood
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.samplers.base import Sampler
from diffsci.diffusion.variance import VarianceTable, estimate
from diffsci.families import load, names
from tests.diffusion.laws import GAUSSIAN, MIXTURE, f64

SCHEDULES = ("vp", "edm", "rectified")
VARIANTS: dict[str, list[dict]] = {
    "ancestral": [{"variance": "small"}, {"variance": "large"}, {"variance": "exact"}],
    "ddim": [{}, {"eta": 0.5}],
    "edm": [{"churn": 0.0}, {"churn": 10.0}],
    "dpmpp": [
        {"multistep": 1},
        {"multistep": 2},
        {"multistep": 3},
        {"multistep": 2, "stochastic": True},
    ],
    "ab": [{"multistep": k} for k in (1, 2, 3, 4)],
    "unipc": [{"multistep": k} for k in (1, 2, 3)],
}
Variant = tuple[str, dict]


def variants() -> list[Variant]:
    return [(name, own) for name in names("samplers") for own in VARIANTS.get(name, [{}])]


def make(variant: Variant, steps: int) -> Sampler:
    name, own = variant
    made: Sampler = load("samplers", name)(steps=steps, **own)
    return made


def told(variant: Variant) -> str:
    name, own = variant
    return f"`{name}`" + "".join(f", {key} {value}" for key, value in own.items())


@functools.cache
def mixture_flow(high: float, low: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Start and end of the mixture's flow of y = x / c: Runge-Kutta of order 4 in log(sigma)."""

    def slope(y: torch.Tensor, u: float) -> torch.Tensor:
        return y - MIXTURE.posterior_mean(y, Level(f64(0.0), f64(1.0), f64(math.exp(u))))

    y = first = high * seeded(5)(torch.empty(32, 2, dtype=torch.float64), 0)
    steps = 2000
    h = math.log(low / high) / steps
    for i in range(steps):
        u = math.log(high) + i * h
        k1 = slope(y, u)
        k2 = slope(y + h / 2 * k1, u + h / 2)
        k3 = slope(y + h / 2 * k2, u + h / 2)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(y + h * k3, u + h))
    return first, y


def halvings(order: int) -> tuple[int, ...]:
    """Steps from which on the order shows, and three times twice as many."""
    first = {3: 128, 4: 256}.get(order, 96)
    return first, 2 * first, 4 * first, 8 * first


def path_orders(variant: Variant, name: str) -> list[float]:
    """Order found at each halving, on the Gaussian and on the mixture."""
    schedule = load("schedules", name)()
    jump = whole(schedule)
    sigma = [float(f"{float(at.noise_to_signal):.12g}") for at in (jump.now, jump.after)]
    first, last = mixture_flow(*sigma)
    x_1 = pure_noise(schedule, seeded(5)(torch.empty(32, 3, dtype=torch.float64), 0))
    problems = (
        (GAUSSIAN, x_1, GAUSSIAN.flow(x_1, jump)),
        (MIXTURE, first * jump.now.signal_scale, last * jump.after.signal_scale),
    )
    found: list[float] = []
    for law, begin, exact in problems:
        denoise = law.denoiser(schedule)
        errors = [
            rms(make(variant, n)(denoise, schedule, begin, seeded(0)) - exact)
            for n in halvings(make(variant, 8).order)
        ]
        found += [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    return found


def law_orders(variant: Variant, name: str) -> list[float]:
    """Order of the variances of the exact output law, on independent scales 1.5 to 0.1."""
    schedule = load("schedules", name)()
    law = DiagonalGaussian(mean=f64([0.5] * 4), variance=f64([1.5, 1.0, 0.3, 0.1]) ** 2)
    exact = law_at_end(law, schedule)
    errors = []
    for n in halvings(2)[:3]:
        found = output_law(make(variant, n), law, schedule)
        errors.append(rms(found.variance / exact - 1))
    # Without error of its own: what is left is the start in noise alone.
    if errors[0] < 1e-3:
        return []
    return [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]


def law_at_end(law: DiagonalGaussian, schedule: Callable) -> torch.Tensor:
    at = whole(schedule).after
    return at.signal_scale**2 * law.variance + at.noise_std**2


def output_law(sampler: Sampler, law: DiagonalGaussian, schedule: Callable) -> DiagonalGaussian:
    """What the sampler makes of noise alone, exactly."""
    start = whole(schedule).now.noise_std ** 2
    cold = DiagonalGaussian(
        mean=torch.zeros_like(law.variance), variance=start.expand_as(law.variance).clone()
    )
    return diagonal_output_law(sampler, law.denoiser(schedule), schedule, cold)


def rms(x: torch.Tensor) -> float:
    return float(x.pow(2).mean().sqrt())


def is_deterministic(variant: Variant) -> bool:
    taken: list[int] = []

    def noise(like: torch.Tensor, index: int) -> torch.Tensor:
        taken.append(index)
        return torch.zeros_like(like)

    schedule = load("schedules", "edm")()
    law = DiagonalGaussian(mean=f64([0.0]), variance=f64([1.0]))
    make(variant, 6)(law.denoiser(schedule), schedule, f64([[1.0]]), noise)
    return not taken


def order_table(chosen: list[Variant]) -> list[str]:
    lines = [
        "| sampler | calls for 8 steps | kind | order stated | order found: vp | edm | rectified |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant in chosen:
        # With so many steps no churn is at its limit.
        sampler, path = make(variant, 256), is_deterministic(variant)
        cells = []
        for name in SCHEDULES:
            found = (path_orders if path else law_orders)(variant, name)
            exact = "exact" if variant[1].get("variance") == "exact" else "does not converge"
            cells.append(
                f"{min(found):.2f} to {max(found):.2f}" if sampler.order and found else exact
            )
        kind = "path" if path else "law"
        lines.append(
            f"| {told(variant)} | {calls(variant, 8)} | {kind} | {sampler.order} | "
            f"{' | '.join(cells)} |"
        )
    return lines


def calls(variant: Variant, steps: int) -> int:
    """Counted, and the same as stated."""
    schedule, seen = load("schedules", "edm")(), 0

    def denoise(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        seen += 1
        return 0.5 * x_t

    sampler = make(variant, steps)
    sampler(denoise, schedule, f64([[1.0]]), seeded(0))
    assert seen == sampler.calls, (variant, seen, sampler.calls)
    return seen


def with_calls(variant: Variant, count: int) -> Sampler | None:
    for steps in range(count, 0, -1):
        try:
            sampler = make(variant, steps)
        except ValueError:
            return None
        if sampler.calls <= count:
            return sampler if sampler.calls == count else None
    return None


def spread_table(chosen: list[Variant], counts: tuple[int, ...]) -> list[str]:
    head = " | ".join(f"{count} calls" for count in counts)
    lines = [f"| sampler | {head} |", "|---" * (len(counts) + 1) + "|"]
    schedule = load("schedules", "edm")()
    law = DiagonalGaussian(mean=f64([0.0] * 3), variance=f64([1.0, 0.1, 0.01]) ** 2)
    exact = torch.sqrt(law_at_end(law, schedule))
    for variant in chosen:
        cells = []
        for count in counts:
            sampler = with_calls(variant, count)
            if sampler is None:
                cells.append("")
                continue
            ratio = torch.sqrt(output_law(sampler, law, schedule).variance) / exact
            cells.append(" ".join(f"{value:.3f}" for value in ratio.tolist()))
        lines.append(f"| {told(variant)} | {' | '.join(cells)} |")
    return lines


def field_of(sizes: tuple[int, ...], periodic: tuple[bool, ...]) -> StationaryField:
    """A red spectrum whose power falls over four decades, of unit variance in a cell."""
    basis = Basis(sizes, periodic)
    k = 1 + basis.wavenumber * max(sizes)
    power = k ** -(4 / math.log10(float(k.max())))
    return StationaryField(basis=basis, variance=(power / power.mean())[None])


@dataclass(frozen=True)
class Waves(WithCovariance):
    """The exact estimate of each wave of a field, with the variance that a table says."""

    law: DiagonalGaussian
    schedule: Callable
    variance: Callable[[Tensor], Tensor]

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.law.denoiser(self.schedule)(x_t, t)

    def with_covariance(self, x_t: Tensor, at: Level) -> tuple[Tensor, Covariance]:
        return self(x_t, at.t), Diagonal(self.variance(torch.log(at.noise_to_signal)))


def estimated(law: StationaryField, schedule: Callable, examples: int) -> VarianceTable:
    """The table, as for a trained model: from samples of the law and the denoiser alone."""
    denoise, noise = law.denoiser(schedule), seeded(1)
    like = torch.empty(250, *law.variance.shape, dtype=torch.float64)
    batches = (Batch(target=law.sample(noise(like, i))) for i in range(examples // 250))

    def conditional(x_t: Tensor, t: Tensor, condition: object, scalars: object) -> Tensor:
        return denoise(x_t, t)

    return estimate(conditional, schedule, batches, law.basis)


def band_ratios(field: StationaryField, table: VarianceTable, steps: int) -> Tensor:
    """Std of the samples over the true one in each band, exactly: all is affine in each wave."""
    schedule, basis = load("schedules", "edm")(), field.basis
    law = DiagonalGaussian(
        mean=torch.zeros_like(field.variance).flatten(), variance=field.variance.flatten()
    )
    sampler = load("samplers", "ancestral")(steps=steps, variance="exact")
    waves = Waves(law, schedule, lambda u: basis.by_band(table.variance(u)).flatten())
    cold = DiagonalGaussian(
        mean=torch.zeros_like(law.variance),
        variance=(whole(schedule).now.noise_std ** 2).expand_as(law.variance).clone(),
    )
    found = diagonal_output_law(sampler, waves, schedule, cold)
    mean = basis.mean_by_band
    exact = law_at_end(law, schedule).reshape(field.variance.shape)
    ratio = torch.sqrt(mean(found.variance.reshape(field.variance.shape)) / mean(exact))
    return ratio[~ratio.isnan()]


def field_table(examples: int, counts: tuple[int, ...]) -> list[str]:
    """Smallest and largest ratio over all bands."""
    lines = [
        f"| field | bands | {' | '.join(f'{n} calls' for n in counts)} |",
        "|---" * (len(counts) + 2) + "|",
    ]
    for sizes, periodic in (
        ((128,), (True,)),
        ((128,), (False,)),
        ((32, 48), (True, True)),
        ((32, 48), (False, False)),
    ):
        field = field_of(sizes, periodic)
        table = estimated(field, load("schedules", "edm")(), examples)
        kind = "periodic" if periodic[0] else "not periodic"
        cells = []
        for count in counts:
            ratios = band_ratios(field, table, count)
            cells.append(f"{float(ratios.min()):.3f} to {float(ratios.max()):.3f}")
        size = " x ".join(map(str, sizes))
        lines.append(f"| {size}, {kind} | {len(ratios)} | {' | '.join(cells)} |")
    return lines


def likelihood_table() -> list[str]:
    """Largest relative error of the log-density over 32 draws, by schedule."""
    lines = ["| law | " + " | ".join(SCHEDULES) + " |", "|---" * (len(SCHEDULES) + 1) + "|"]
    for word, law in (("Gaussian, 3 numbers", GAUSSIAN), ("mixture, 2 numbers", MIXTURE)):
        cells = []
        for name in SCHEDULES:
            schedule = load("schedules", name)()
            like = torch.empty(32, law.means.shape[-1] if law is MIXTURE else 3).double()
            unit = seeded(3)(like, 0)
            uniform = torch.linspace(0.01, 0.99, 32).double()
            clean = law.sample(unit, uniform) if law is MIXTURE else law.sample(unit)
            at = whole(schedule).after
            x_0 = at.signal_scale * clean + at.noise_std * seeded(4)(like, 0)
            exact = law.log_density(x_0, at)
            found = log_likelihood(law.denoiser(schedule), schedule, x_0, end=law)
            cells.append(f"{float(((found.nats - exact) / exact).abs().max()):.1e}")
        lines.append(f"| {word} | {' | '.join(cells)} |")
    return lines


def page(quick: bool) -> str:
    """All tables."""
    chosen = variants()
    few = [v for v in chosen if v[0] in ("ddim", "ancestral")] if quick else chosen
    guidance = guidance_rows(quick=quick)
    return words.HEAD + "\n".join(
        [
            "## Order of convergence",
            "",
            words.ORDER,
            "",
            *order_table(few),
            "",
            "## Spread after few calls",
            "",
            words.SPREAD,
            "",
            *spread_table(few, (5, 10, 20, 64)),
            "",
            "## Spread of fields, band by band",
            "",
            words.FIELDS,
            "",
            *field_table(500 if quick else 6000, (5, 10, 20)),
            "",
            "## Samples given observations",
            "",
            words.GUIDANCE,
            "",
            "The element that is observed:",
            "",
            markdown(guidance, "seen"),
            "",
            "An element that is not, with correlation 0.8 to the observed one:",
            "",
            markdown(guidance, "unseen"),
            "",
            "## Log-density by the probability flow",
            "",
            words.LIKELIHOOD,
            "",
            *likelihood_table(),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/proof.md"))
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.out.write_text(page(chosen.quick), encoding="utf-8")
    print(f"wrote {chosen.out}")


if __name__ == "__main__":
    main()
