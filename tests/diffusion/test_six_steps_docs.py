"""docs/six_steps.md: its code runs, prints what the page shows, and shows what the page claims."""

import importlib.util
import math
import re
from pathlib import Path

import pytest
import torch

from tests.diffusion.samplers.variants import unchecked

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "six_steps.md"
NUMBER = re.compile(r"-?\d+\.?\d*")


def _runner():
    spec = importlib.util.spec_from_file_location("six_steps", ROOT / "benchmarks" / "six_steps.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ran():
    """The page's namespace, and for each block what the page shows and what it prints."""
    before = torch.get_default_dtype()
    try:
        with unchecked():
            return _runner().run(PAGE.read_text(encoding="utf-8"))
    finally:
        torch.set_default_dtype(before)


@pytest.fixture
def page(ran):
    """The page's names; its float64 holds while a test uses them."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield ran[0]
    torch.set_default_dtype(before)


def line_law(page, n):
    return page["law_at"](page["level"](page["schedule"], page["t"][n]))


def size(page):
    return (page["features"](page["x_line"]) ** 2).sum(dim=1, keepdim=True)


def test_the_page_shows_what_its_code_prints(ran):
    shown = [(told, printed) for told, printed in ran[1] if told is not None]
    assert len(shown) >= 10
    for told, printed in shown:
        assert NUMBER.sub("#", told) == NUMBER.sub("#", printed)
        for line, new in zip(told.splitlines(), printed.splitlines(), strict=True):
            # Counter-based noise and float64 leave rounding, two units of what is shown; a
            # network trained for a thousand steps may drift further on another machine.
            trained = "excess" in line or "trained" in line
            for old, now in zip(NUMBER.findall(line), NUMBER.findall(new), strict=True):
                unit = 10.0 ** -len(old.partition(".")[2])
                allowed = 2 * unit + (0.3 * abs(float(old)) if trained else 0)
                assert abs(float(now) - float(old)) <= allowed, (line, new)
    for told, printed in ran[1]:
        assert told is not None or printed == ""
    assert "False" not in "".join(printed for _, printed in ran[1])


def test_the_counts_in_the_prose(page):
    text = PAGE.read_text(encoding="utf-8")
    assert "35 fixed features: a constant, a line and 33 bumps" in text
    assert len(page["centres"]) == 33 and page["features"](torch.zeros(1, 1)).shape == (1, 35)
    assert "1 185 weights" in text
    assert sum(p.numel() for p in page["mlp"]().parameters()) == 1185
    assert "all 300 jumps among our 25 levels" in text
    assert len(page["s_of"]) == 300 and len(page["t"]) == 25
    assert "30 000 samples" in text and len(page["many"]) == 30_000
    assert "noise of standard deviation 0.02" in text
    assert math.isclose(page["levels"].noise_std[0], 0.02, rel_tol=1e-3)
    law = page["law"]
    mean = law.weights @ law.means
    assert abs(mean) < 1e-12  # "mean 0 and variance 1 in all"
    assert abs(law.weights @ (law.means**2 + law.covariances[:, 0]) - 1) < 1e-12


def test_step_1_copies_have_the_marginals_of_the_closed_form(page):
    count = len(page["like"])
    for n, copy in enumerate(page["copies"]):
        scale, std = page["levels"].signal_scale[n], page["levels"].noise_std[n]
        kept = torch.corrcoef(torch.cat([copy, page["x_0"]], dim=1).T)[0, 1]
        assert abs(kept - scale) < 4 * (1 - scale**2) / math.sqrt(count)
        # A normal's variance has the largest error among mixtures of such humps.
        assert abs(copy.var() - (scale**2 + std**2)) < 4 * math.sqrt(2 / count)


def test_step_2_untied_regressors_find_the_conditional_mean(page):
    for n in range(1, page["T"] + 1):
        wrong = page["error"](n, page["features"](page["x_line"]) @ page["drawn"][n - 1])
        residual = (
            page["copies"][n - 1] - page["features"](page["copies"][n]) @ page["drawn"][n - 1]
        ).std()
        assert wrong < 0.03  # "within a few hundredths"; measured 0.0017 to 0.021
        assert wrong < residual / 20  # "far larger"


def test_step_3_weights_matter_only_when_parameters_are_shared(page):
    solve, equations = page["solve"], page["normal_equations"]
    for weight in (1e-3, 7.0, 1e4):
        for (gram, target), alone in zip(equations, page["drawn"], strict=True):
            # Rounding times the ridge's condition number, 1e6 times a few.
            assert (solve(weight * gram, weight * target) - alone).abs().max() < 1e-8
    line = page["features"](page["x_line"])
    ratio = [
        page["error"](n, line @ page["uneven"]) / page["error"](n, line @ page["even"])
        for n in range(1, 25)
    ]
    assert max(ratio[:12]) < 0.8  # levels that count for more improve
    assert min(ratio[17:]) > 1.1  # the others pay


def test_step_5_variance_reduction_meets_its_closed_form(page):
    every = range(1, page["T"] + 1)
    assert set(page["measured"]) == {1, 2, 3, 6, 12, 18, 24}
    predicted = torch.stack([page["predicted_ratio"](n) for n in every])
    measured = torch.stack(list(page["measured"].values()))
    # A variance from 50 000 heavy-tailed gradients has 1 % of noise, a ratio 1.5 %.
    assert ((measured / torch.stack(list(page["predicted"].values())) - 1).abs() < 0.05).all()
    assert (predicted.diff() > 0).all()
    assert 1 < predicted[0] < 1.1 and 90 < predicted[-1] < 110  # "a factor of a hundred"


@pytest.mark.parametrize("n", [1, 6, 12, 24])
def test_the_draw_adds_v_at_any_weights(page, n):
    """Far from the optimum too, the two gradient variances differ by v E|features|^2."""
    copy, drawn, mean = page["copies"][n], page["copies"][n - 1], page["means"][n - 1]
    phi = page["features"](copy)
    for weights in (torch.zeros(35, 1), torch.randn(35, 1) / 10):
        rough, smooth = ((phi @ weights - target) * phi for target in (drawn, mean))
        v = page["v"][n - 1]
        expected = v * (line_law(page, n)[0] * size(page)).sum()
        difference = rough.var(dim=0).sum() - smooth.var(dim=0).sum()
        # The noise of the difference is that of sum(rough^2 - smooth^2), example by example.
        each = (rough**2 - smooth**2).sum(dim=1)
        assert abs(difference - expected) < 4.5 * each.std() / math.sqrt(len(each))


def test_both_targets_have_the_same_optimum(page):
    """The fits differ by the noise that one averaged away: p v / n in square, p <= 35 features."""
    features = page["features"](page["x_line"])
    count, freedom = len(page["like"]), []
    for n in range(1, page["T"] + 1):
        apart = features @ (page["drawn"][n - 1] - page["smooth"][n - 1])
        p, _, _ = line_law(page, n)
        freedom.append((p * apart**2).sum() * count / page["v"][n - 1])
    mean = torch.stack(freedom).mean()
    # chi-squared with 35 degrees of freedom at each of 24 levels: 5 % of noise in their mean.
    assert 5 < mean < 35 * (1 + 4 * math.sqrt(2 / (35 * 24)))


def test_step_5_exact_reverse_variance(page):
    count = len(page["like"])
    for n in range(1, page["T"] + 1):
        p, _, variance = line_law(page, n)
        a, v = page["jump"].weight_x_0[n - 1], page["jump"].posterior_std[n - 1] ** 2
        exact = v + a**2 * (p * variance).sum()
        residual = (
            page["copies"][n - 1] - page["features"](page["copies"][n]) @ page["drawn"][n - 1]
        )
        square = residual**2
        # The best constant is the average; fitting 35 weights takes off 35 / 50 000 of it.
        noise = square.std() / math.sqrt(count)
        assert abs(square.mean() - exact) < 4 * noise + 35 / count * exact
        assert v < exact <= page["jump"].step_std[n - 1] ** 2 * (1 + 1e-9)


def test_step_5_spread_of_the_chain(page):
    chain = page["chain"]
    # Kolmogorov's distance of 30 000 true draws exceeds 0.0113 once in a thousand times.
    assert chain["the data themselves"][1] < 0.0113
    assert chain["exact"][1] < 0.0113 and abs(chain["exact"][0] - 1) < 0.05
    assert chain["v alone"][1] > 0.03 and chain["v alone"][0] < 0.9
    assert chain["sigma^2"][1] > 0.02 and chain["sigma^2"][0] > 1.1


def test_step_6_only_the_pair_of_weight_and_density_matters(page):
    ends = page["telescoped"]
    assert math.isclose(page["variational_weight"].sum(), ends, rel_tol=1e-12)
    (block,) = [told for told, _ in page_outputs() if told and "with Cosine" in told]
    one, other, third, fourth = (float(line.split(": ")[1]) for line in block.splitlines()[1:])
    assert math.isclose(one, other, rel_tol=4e-3)  # the rule of 200 midpoints leaves 0.2 %
    assert third > 1.3 * fourth


def page_outputs():
    return [(block[2], block[1]) for block in _runner().BLOCK.finditer(PAGE.read_text("utf-8"))]


def test_step_6_weights_matter_for_a_tied_network(page):
    ratio = page["simplified"] / page["variational"]
    weights = page["variational_weight"] / page["simplified_weight"]
    assert 8 < weights[0] < 8.1 and (weights[1:] < 2.1).all()
    assert ratio[0] > 2  # better where its weight is; measured 5, over seeds 5 to 25
    assert (ratio[1:18] < 0.75).all()  # and it pays in between


def test_the_packages_samplers_on_the_same_problem(page):
    found = {
        key: (float(width), float(distance)) for key, (width, distance) in page["found"].items()
    }
    assert found["exact", 24, "perfect"][1] < 0.0113
    assert found["dpmpp", 24, "perfect"][1] < 0.016
    assert found["small", 24, "perfect"][0] < 0.9
    for steps in (24, 8):
        small, exact = (found[name, steps, "perfect"][1] for name in ("small", "exact"))
        assert small > 4 * exact
    assert found["small", 24, "trained"][0] > found["small", 24, "perfect"][0]
    assert found["exact", 24, "trained"][1] < 0.04
