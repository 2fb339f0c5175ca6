"""One-line errors in the core, each of which the test suite must notice.

    OMP_NUM_THREADS=1 python benchmarks/mutants.py [--only N] [--list]

A test that has never failed proves little. Each entry of `MUTANTS` is a mistake that one could make
in good faith: a sign, a square, the levels of a step exchanged, a formula that holds for one kind
of schedule only. In a copy of the repository we put it in, run the few tests whose business it is,
by default settings, and take it out again. An error is caught when one of these tests fails, by an
assertion or by a refusal of its own (`errors.py`). A crash, which any test would see (a name or
type that is wrong, a test that is not found), counts as an error of this list and not as caught.
The copy must pass all these tests first. Ends with 1 unless all are caught.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = Path("diffsci") / "diffusion"
COPIED = ("diffsci", "tests", "benchmarks", "pyproject.toml")
CRASHES = ("NameError", "TypeError", "AttributeError", "ImportError", "SyntaxError", "TypeCheck")
CAUGHT = "caught"

SCHEDULES = "tests/contracts/test_schedules.py::"
SAMPLERS = "tests/contracts/test_samplers.py::"
GUIDANCE = "tests/contracts/test_guidance.py::"
OPERATORS = "tests/contracts/test_operators.py::"
MEMBERS = "tests/diffusion/samplers/test_members.py::"
EDM = "tests/diffusion/samplers/test_edm.py::"
EXACT = "tests/diffusion/samplers/test_exact_variance.py::"
REFINER = "tests/diffusion/samplers/test_refiner.py::"
EXPONENTIAL = "tests/diffusion/samplers/test_exponential.py::"
SHARES = EXPONENTIAL + "test_shares_integrate_every_polynomial_below_their_number"
JUMPS = "tests/diffusion/test_augmentation.py::"
DRAWS = SAMPLERS + "test_draws_are_numbered_from_one_and_never_repeat"
FORMULA = GUIDANCE + "test_the_formula_of_each_method"


def order(variant: str, schedule: str = "near") -> str:
    """The test that a sampler converges to the exact flow of a Gaussian with its order."""
    return f"{SAMPLERS}test_order_on_a_gaussian_against_the_exact_flow[{schedule}-1-{variant}]"


def law(variant: str, schedule: str = "near") -> str:
    """The test that the law of a stochastic sampler converges with its order."""
    return f"{SAMPLERS}test_law_converges_with_the_stated_order[{schedule}-1-{variant}]"


@dataclass(frozen=True)
class Mutant:
    """An error.

    Args:
        file: Below `diffsci/diffusion`.
        what: Is wrong.
        old: Text that occurs once in the file, on one line.
        new: Text in its place.
        tests: Nodes of pytest that are to notice.
    """

    file: str
    what: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        "schedules/linear.py",
        "products of 1 - beta as exponentials of sums",
        "-torch.log1p(-beta).cumsum(0)",
        "beta.cumsum(0)",
        (SCHEDULES + "test_linear_has_ddpm_s_products_at_ddpm_s_levels",),
    ),
    Mutant(
        "schedules/linear.py",
        "level of the inverse found one entry late",
        "index = torch.bucketize(total.detach(), sums[1:-1], right=True)",
        "index = torch.bucketize(total.detach(), sums[:-2], right=True)",
        (SCHEDULES + "test_level_of_is_the_exact_inverse[linear]",),
    ),
    Mutant(
        "schedules/cosine.py",
        "signal ends where noise begins",
        "rest = math.atan(1 / self.sigma_max)",
        "rest = math.atan(self.sigma_min)",
        (SCHEDULES + "test_variance_preserving_ones_preserve_the_variance",),
    ),
    Mutant(
        "schedules/sigmoid.py",
        "ratio of the ends upside down, which is 1 for the default",
        "return math.cosh(self.end / self.tau / 2) / math.cosh(self.start / self.tau / 2)",
        "return math.cosh(self.start / self.tau / 2) / math.cosh(self.end / self.tau / 2)",
        (SCHEDULES + "test_sigmoid_is_the_published_formula",),
    ),
    Mutant(
        "schedules/edm.py",
        "equal ratios in place of the power law",
        "(low + t * (high - low)) ** self.rho",
        "self.sigma_min * (self.sigma_max / self.sigma_min) ** t",
        (SCHEDULES + "test_edm_s_levels_uniform_in_t_are_karras_spacing",),
    ),
    Mutant(
        "schedules/edm.py",
        "exponent of the inverse fixed at its default",
        "inside ** (1 / self.rho)",
        "inside ** (1 / 7)",
        (SCHEDULES + "test_unusual_fields_keep_the_law[edm-fields1]",),
    ),
    Mutant(
        "schedules/vp.py",
        "1 - exp in place of expm1, which loses small noise",
        "torch.sqrt(-torch.expm1(-integral))",
        "torch.sqrt(1 - torch.exp(-integral))",
        (
            SCHEDULES + "test_float32_is_float64_to_its_own_precision[vp]",
            SCHEDULES + "test_float32_is_exact_to_the_very_ends[vp]",
        ),
    ),
    Mutant(
        "schedules/vp.py",
        "integral of beta without its half",
        "u * (self.beta_max - self.beta_min) / 2)",
        "u * (self.beta_max - self.beta_min))",
        (SCHEDULES + "test_vp_solves_its_own_equation",),
    ),
    Mutant(
        "schedules/rectified.py",
        "signal not clipped at the noisy end",
        "signal = 1 / (1 + self.sigma_max) + (1 - t) * length",
        "signal = (1 - t) * length",
        (SCHEDULES + "test_rectified_runs_on_straight_lines",),
    ),
    Mutant(
        "augmentation.py",
        "share of the precision not squared",
        "(self.after.noise_to_signal / self.now.noise_to_signal) ** 2",
        "(self.after.noise_to_signal / self.now.noise_to_signal)",
        (JUMPS + "test_a_jump_composes_the_marginals[vp]",),
    ),
    Mutant(
        "augmentation.py",
        "lambda missing in the weight of x_t: right for variance exploding alone",
        "self.step_scale * (self.after.noise_std / self.now.noise_std) ** 2",
        "(self.after.noise_std / self.now.noise_std) ** 2",
        (JUMPS + "test_the_exact_conditional_is_that_of_the_joint_normal",),
    ),
    Mutant(
        "augmentation.py",
        "levels spaced in another power of sigma",
        "(high**root - low**root)) ** 7",
        "(high**root - low**root)) ** 5",
        (JUMPS + "test_step_times_go_down_from_one_to_zero[karras-17-vp]",),
    ),
    Mutant(
        "covariance.py",
        "exact variance adds a C in place of a^2 C",
        "floor**2 + scale**2 * values.clamp(min=0)",
        "floor**2 + scale * values.clamp(min=0)",
        (EXACT + "test_spread_is_right_from_a_cold_start",),
    ),
    Mutant(
        "samplers/ab.py",
        "oldest estimates kept in place of the newest",
        "[-self.multistep :]",
        "[: self.multistep]",
        (order("ab-2"), order("ab-3")),
    ),
    Mutant(
        "samplers/_exponential.py",
        "weight decays from the wrong end of the step",
        "torch.exp(width * (node - 1))",
        "torch.exp(-width * node)",
        (SHARES, order("ab-2")),
    ),
    Mutant(
        "samplers/_exponential.py",
        "c_t in place of c_s: right for variance exploding alone",
        "jump.after.signal_scale * share * one.x_0",
        "jump.now.signal_scale * share * one.x_0",
        (order("ab-2", "vp"),),
    ),
    Mutant(
        "samplers/_exponential.py",
        "second stage of the start from where the first one ended",
        "x = follow(x_1, Jump(top, jumps[1].after), [second])",
        "x = follow(x, Jump(top, jumps[1].after), [second])",
        (order("ab-3"),),
    ),
    Mutant(
        "samplers/ancestral.py",
        "exact variance without the spread of the estimate",
        "covariance.draw(unit, jump.posterior_std, jump.weight_x_0)",
        "covariance.draw(unit, jump.posterior_std, 0 * jump.weight_x_0)",
        (EXACT + "test_spread_is_right_from_a_cold_start",),
    ),
    Mutant(
        "samplers/ancestral.py",
        "small and large variance exchanged",
        "jump.posterior_std if small else jump.step_std",
        "jump.step_std if small else jump.posterior_std",
        (MEMBERS + "test_spread_of_a_perfect_model_as_measured_elsewhere",),
    ),
    Mutant(
        "samplers/ddim.py",
        "draws from 0, which made x_1",
        "enumerate(path.jumps, start=1)",
        "enumerate(path.jumps, start=0)",
        (DRAWS,),
    ),
    Mutant(
        "samplers/ddim.py",
        "kept noise not reduced by the renewed",
        "torch.sqrt(after.noise_std**2 - fresh**2)",
        "after.noise_std",
        (law("ddim-0.5"),),
    ),
    Mutant(
        "samplers/dpmpp.py",
        "ratio of steps upside down in the extrapolation",
        "jump.width / (2 * before)",
        "before / (2 * jump.width)",
        (EXPONENTIAL + "test_two_estimates_of_dpmpp_are_a_line_to_the_middle_of_the_step",),
    ),
    Mutant(
        "samplers/dpmpp.py",
        "weight of x_0 as if the signal scale were 1",
        "weight = jump.after.signal_scale - jump.now.signal_scale * shrink",
        "weight = 1 - shrink",
        (order("dpmpp-1-False", "vp"),),
    ),
    Mutant(
        "samplers/dpmpp.py",
        "whole parabola in the stochastic form, which takes noise for bends",
        "share = share + torch.nn.functional.pad(shares(jump, known[1:], rate), (1, 0))",
        "share = 2 * share",
        (EXPONENTIAL + "test_three_estimates_of_the_stochastic_form_halve_the_bend",),
    ),
    Mutant(
        "samplers/edm.py",
        "churn adds stds, not variances",
        "torch.sqrt(now.noise_to_signal**2 - jump.now.noise_to_signal**2)",
        "(now.noise_to_signal - jump.now.noise_to_signal)",
        (EDM + "test_the_noise_that_a_step_adds_is_the_forward_noise_of_its_rise[3.0-edm]",),
    ),
    Mutant(
        "samplers/edm.py",
        "rise of a step not limited",
        "min(self.churn / self.steps, _LARGEST_RISE)",
        "self.churn / self.steps",
        (
            EDM + "test_the_noise_that_a_step_adds_is_the_forward_noise_of_its_rise",
            EDM + "test_no_level_is_beyond_the_noisiest_or_the_cleanest",
        ),
    ),
    Mutant(
        "samplers/euler.py",
        "slope by the level that is gone to",
        "(y - denoise(x, now.t)) / now.noise_to_signal",
        "(y - denoise(x, now.t)) / after.noise_to_signal",
        (MEMBERS + "test_one_sampler_under_two_names[euler-ddim-edm]",),
    ),
    Mutant(
        "samplers/heun.py",
        "corrector asks at the level of the predictor",
        "epsilon(carried + slope * first, after)",
        "epsilon(carried + slope * first, now)",
        (order("heun"),),
    ),
    Mutant(
        "samplers/refiner.py",
        "adds the noise of the exact conditional, not of the level",
        "jump.after.noise_std * noise(x, draw)",
        "jump.posterior_std * noise(x, draw)",
        (REFINER + "test_variance_follows_its_recursion[4-vp]",),
    ),
    Mutant(
        "samplers/unipc.py",
        "corrector forgets an estimate of the predictor",
        "[*known, new])\n",
        "[*known[1:], new])\n",
        (order("unipc-2"),),
    ),
    Mutant(
        "guidance/classifier_free.py",
        "the other convention of the scale",
        "none + self.scale * (",
        "none + (1 + self.scale) * (",
        (GUIDANCE + "test_classifier_free_scales_the_mean_of_gaussians",),
    ),
    Mutant(
        "guidance/dps.py",
        "std of the observations not squared",
        "misfit.residual / misfit.noise_std**2",
        "misfit.residual / misfit.noise_std",
        (FORMULA + "[dps-{}-<lambda>]",),
    ),
    Mutant(
        "guidance/sda.py",
        "gamma at the observations' variance, which is the same for 1",
        "misfit.noise_std**2 + self.gamma * at.noise_to_signal**2",
        "self.gamma * misfit.noise_std**2 + at.noise_to_signal**2",
        (FORMULA + "[sda-{}-<lambda>]", FORMULA + "[sda-{'gamma': 0.05}-<lambda>]"),
    ),
    Mutant(
        "guidance/inpaint.py",
        "unit of the operator forgotten",
        "misfit.adjoint(misfit.residual) / torch.where(weight > 0, weight, 1.0)",
        "misfit.adjoint(misfit.residual)",
        (GUIDANCE + "test_inpaint_puts_values_in_place_whatever_their_unit",),
    ),
    Mutant(
        "guidance/posterior.py",
        "R missing in the linear system",
        "misfit.operator.apply(there) / misfit.noise_std + left",
        "misfit.operator.apply(there) / misfit.noise_std",
        (FORMULA + "[posterior-{'iterations': 1}-<lambda>]",),
    ),
    Mutant(
        "guidance/posterior.py",
        "sign of the turn of directions",
        "turn = -_ratio(",
        "turn = _ratio(",
        (GUIDANCE + "test_posterior_solves_with_several_unequal_observations",),
    ),
    Mutant(
        "guidance/_observing.py",
        "(d / c)^2 in place of d^2 / c: right for variance exploding alone",
        "at.noise_std**2 / at.signal_scale * found",
        "(at.noise_std / at.signal_scale) ** 2 * found",
        (FORMULA,),
    ),
    Mutant(
        "operators/line_mean.py",
        "adjoint of a mean as that of a sum",
        "(values / size)",
        "values",
        (OPERATORS + "test_it_is_linear_and_its_adjoint_is_the_transpose[line_mean-0-(13,)]",),
    ),
)


def run(folder: Path, tests: tuple[str, ...], *, fresh: bool) -> tuple[str, str]:
    """Whether tests pass in a folder: `passed`, `caught` or `broken`, and the line that says why.

    Args:
        folder: A copy of the repository.
        tests: Nodes of pytest.
        fresh: Leave no bytecode behind, since the file is changed.
    """
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder), "COLUMNS": "300"}
    if fresh:
        env["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return "passed", done.stdout.splitlines()[-1] if done.stdout else ""
    failed = re.search(r"^FAILED \S*::(.*)$", done.stdout, re.MULTILINE)
    if done.returncode != 1 or failed is None:
        told = " ".join((done.stdout + done.stderr).split())
        return "broken", f"pytest ends with {done.returncode}: {told[-300:]}"
    # "name - Error: message", and for an assertion "name - assert ...".
    error = failed[1].partition(" - ")[2].partition(":")[0]
    crash = any(word in error for word in CRASHES)
    return "broken" if crash else CAUGHT, failed[1]


def copy_of_repository(folder: Path) -> None:
    """What the tests of the core need."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)


def verdict_on(mutant: Mutant, folder: Path) -> tuple[str, str]:
    """Put one error into the copy, run its tests, and take it out again."""
    path = folder / CORE / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        return "broken", f"{mutant.old!r} occurs {text.count(mutant.old)} times"
    stamp = path.stat().st_mtime_ns
    try:
        path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        verdict, line = run(folder, mutant.tests, fresh=True)
    finally:
        path.write_text(text, encoding="utf-8")
        os.utime(path, ns=(stamp, stamp))
    return ("SURVIVED" if verdict == "passed" else verdict), line


def measure(chosen: list[int]) -> int:
    """Print a table, and return how many of the chosen errors were not caught."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_of_repository(folder)
        tests = tuple(dict.fromkeys(test for i in chosen for test in MUTANTS[i].tests))
        begun = time.perf_counter()
        verdict, line = run(folder, tests, fresh=False)
        if verdict != "passed":
            print(f"the unchanged copy does not pass: {line}")
            return len(chosen)
        print(f"unchanged: {line}")
        print("\n| # | file | error | verdict | s | by |\n| --: | --- | --- | --- | --: | --- |")
        caught = 0
        for i in chosen:
            since = time.perf_counter()
            verdict, line = verdict_on(MUTANTS[i], folder)
            caught += verdict == CAUGHT
            by = f"`{line.partition(' - ')[0]}`" if verdict == CAUGHT else line
            spent = time.perf_counter() - since
            row = f"| {i + 1} | {MUTANTS[i].file} | {MUTANTS[i].what} | {verdict} | {spent:.0f} "
            print(f"{row}| {by} |", flush=True)
    print(f"\n{caught} of {len(chosen)} in {time.perf_counter() - begun:.0f} s")
    return len(chosen) - caught


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", type=int, metavar="N", help="one error, by its number")
    parser.add_argument("--list", action="store_true", help="show the errors and run nothing")
    asked = parser.parse_args()
    if asked.only is not None and not 1 <= asked.only <= len(MUTANTS):
        parser.error(f"--only: got {asked.only}, expected 1 to {len(MUTANTS)}")
    chosen = list(range(len(MUTANTS))) if asked.only is None else [asked.only - 1]
    if asked.list:
        for i in chosen:
            one = MUTANTS[i]
            print(
                f"{i + 1:2} {one.file}: {one.what}\n   - {one.old.strip()}\n   + {one.new.strip()}"
            )
        return
    sys.exit(1 if measure(chosen) else 0)


if __name__ == "__main__":
    main()
