"""How far guided samples are from the exact posterior, where that is known: rows for a table.

Prior N(0, 1), one observation y = 1 with error r, a perfect denoiser; and, for what is not seen, a
pair with correlation 0.8 of which the first is observed. No random number is drawn: the guided
denoiser is affine, so that a sampler's mean and variance are exact, steps and all. ODE is `heun` in
400 steps, SDE is `ancestral` in 400 and 800 steps, extrapolated to infinitely many (it is of first
order); both between sigma 80 and 0.002. The first 1 % of a mean that is missing with r = 1 under
ODE is the start, which has mean 0.

    guidance_rows() -> [Row(method, noise_std, kind, of, mean_ratio, variance_ratio), ...]
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from diffsci.diffusion.exact import Gaussian, kalman, linear_output_law
from diffsci.diffusion.guidance.base import Guidance, Observed
from diffsci.diffusion.operators.points import Points
from diffsci.diffusion.samplers.base import Sampler
from diffsci.diffusion.schedules.edm import EDM
from diffsci.families import load

METHODS = {
    "posterior": ("posterior", {"iterations": 1}),
    "dps": ("dps", {}),
    "sda, gamma = 1": ("sda", {"gamma": 1.0}),
    "sda, gamma = 0.01": ("sda", {"gamma": 0.01}),
    "inpaint": ("inpaint", {}),
}
CORRELATION = 0.8


@dataclass(frozen=True)
class Row:
    """One cell of the table: the law of guided samples over that of the exact posterior.

    Args:
        method: Key of METHODS.
        noise_std: Of the observation.
        kind: ODE or SDE.
        of: `seen`, the element that is observed, or `unseen`, one that is correlated with it.
        mean_ratio: 1 is right.
        variance_ratio: 1 is right; 0 is no spread at all.
    """

    method: str
    noise_std: float
    kind: str
    of: str
    mean_ratio: float
    variance_ratio: float


def prior(of: str) -> Gaussian:
    """The law of data."""
    r = CORRELATION
    covariance = [[1.0]] if of == "seen" else [[1.0, r], [r, 1.0]]
    matrix = torch.tensor(covariance, dtype=torch.float64)
    return Gaussian(mean=torch.zeros(len(matrix), dtype=torch.float64), covariance=matrix)


def guided_law(
    guidance: Guidance, observed: Observed, sampler: Sampler, law: Gaussian, schedule=None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact mean and covariance of a sampler's output for vectors seen as `[batch, 1, dim]`."""
    schedule = schedule or EDM()
    perfect = law.denoiser(schedule)

    def conditional(x_t, t, condition, scalars):
        return perfect(x_t.squeeze(1), t).unsqueeze(1)

    guided = guidance(conditional, schedule, observed)

    def denoise(x_t, t):
        return guided(x_t.unsqueeze(1), t, None, None).squeeze(1)

    one = torch.ones((), dtype=torch.float64)
    eye = torch.eye(len(law.mean), dtype=torch.float64)
    cold = torch.zeros_like(law.mean), schedule(one)[1] ** 2 * eye
    with torch.inference_mode():
        return linear_output_law(sampler, denoise, schedule, *cold)


def row(method: str, noise_std: float, kind: str, of: str, steps: int = 400) -> Row:
    """One cell."""
    word, fields = METHODS[method]
    guidance, law = load("guidance", word)(**fields), prior(of)
    values = torch.ones(1, 1, 1, dtype=torch.float64)
    observed = Observed(operator=Points(at=((0,),)), values=values, noise_std=noise_std)

    def found(name: str, count: int) -> torch.Tensor:
        sampler = load("samplers", name)(steps=count, spacing="log_snr")
        mean, covariance = guided_law(guidance, observed, sampler, law)
        return torch.stack([mean[-1], covariance[-1, -1]])

    if kind == "ODE":
        mean, variance = found("heun", steps)
    else:
        mean, variance = 2 * found("ancestral", 2 * steps) - found("ancestral", steps)
    matrix = torch.eye(1, len(law.mean), dtype=torch.float64)
    noise = torch.full((1, 1), noise_std**2, dtype=torch.float64)
    exact = kalman(law, matrix, noise, values[0, 0])
    ratios = mean / exact.mean[-1], variance / exact.covariance[-1, -1]
    return Row(method, noise_std, kind, of, *map(float, ratios))


def guidance_rows(*, quick: bool = False) -> list[Row]:
    """The whole table, in about a minute on one core; `quick` leaves out the stochastic half."""
    return [
        row(method, noise_std, kind, of, steps=160 if quick else 400)
        for of in ("seen", "unseen")
        for method in METHODS
        for noise_std in (0.1, 1.0)
        for kind in (("ODE",) if quick else ("ODE", "SDE"))
    ]


def markdown(table: list[Row], of: str) -> str:
    """The rows of one kind of element, as a table of `mean, variance` ratios."""
    columns = list(dict.fromkeys((each.noise_std, each.kind) for each in table))
    head = ["method", *(f"r = {r:g}, {kind}" for r, kind in columns)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for method in METHODS:
        cells = {
            (each.noise_std, each.kind): f"{each.mean_ratio:.2f}, {each.variance_ratio:.2f}"
            for each in table
            if each.method == method and each.of == of
        }
        lines.append(f"| {method} | {' | '.join(cells[column] for column in columns)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    TABLE = guidance_rows()
    for OF in ("seen", "unseen"):
        print(f"\n{OF}\n\n{markdown(TABLE, OF)}")
