"""What a person sees, in Chromium: MLflow after a sweep, and the pages of a run.

Screenshots go to the folder that `DIFFSCI_SCREENSHOTS` names, to be looked at.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from diffsci.cli import main
from tests import browser, tiny_runs

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder in which a sweep of two points was run, tracked and registered."""
    browser.needed()
    here, before = tmp_path_factory.mktemp("swept"), Path.cwd()
    file = tiny_runs.make(here, "pde")
    scores = "scores: [crps, rmse, spread_skill, spectrum], baselines: [persistence]"
    cheap = f"evaluate: {{resamples: 20, {scores}}}"
    text = file.read_text().replace("evaluate: {resamples: 20}", cheap)
    told = "tracking: {register: waves, alias: champion}\nsweep: {train.lr: [0.001, 0.003]}"
    file.write_text(text.replace("tracking: {enabled: false}", told))
    os.chdir(here)
    try:
        result = CliRunner().invoke(main, ["run", str(file)])
    finally:
        os.chdir(before)
    assert result.exit_code == 0, result.output
    return here


@pytest.fixture(scope="module")
def ui(swept):
    """Where `diffsci ui` says that it serves the folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "diffsci", "ui", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=swept,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield server.stdout.readline().strip().removeprefix("MLflow UI: ")
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)


def shot(page, name):
    if folder := os.environ.get("DIFFSCI_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def reads(page, *texts):
    """Waits until each is a line, or a cell, of what the page shows."""
    parts = r"document.body.innerText.split(/[\n\t]/)"
    for text in texts:
        found = f"text => {parts}.some(part => part.trim() === text)"
        page.wait_for_function(found, arg=text, timeout=60_000)


def test_the_first_look_after_a_sweep_is_charts_of_its_points(ui):
    with browser.opened(1600, 1500) as page:
        page.goto(ui)
        # Both points beside each other, with a section for each prefix of the metrics' names.
        reads(page, "tiny-lr-0.001-s0", "tiny-lr-0.003-s0", "Sort: test/crps")
        reads(page, "spectrum", "spectrum/power_ratio", "test", "test/crps", "test/rmse")
        shot(page, "charts")
        # Leads are steps, so that a score by lead is a line of each run and not a bar.
        page.get_by_placeholder("Search metric charts").fill("test_by_lead/crps")
        reads(page, "test_by_lead", "Step", "tiny-lr-0.001-s0 (test_by_lead/crps)")
        shot(page, "by_lead")
        page.get_by_role("link", name="tiny-lr-0.001-s0").first.click()
        # The note with the table of scores, then what the run was.
        reads(page, "Description", "spread_skill", "persistence")
        reads(page, "diffsci.pipeline", ": steps of 0.25 s", "Registered models", "waves")
        # The training data and, folded away, those of the test.
        assert page.get_by_text(re.compile(r"^waves\.zarr \([0-9a-f]{36}\)$")).count() == 1
        shot(page, "run")
        page.get_by_text("Artifacts", exact=True).first.click()
        reads(page, "config.yaml", "report.html", "sample_maps.png", "scores_by_lead.png")
        shot(page, "artifacts")


@pytest.mark.parametrize("name", ["lr-0.001/report.html", "compare.html"])
def test_a_page_reads_on_a_phone_in_the_dark_and_by_the_keyboard(swept, name):
    place = swept / "runs" / "tiny" / name
    assert place.stat().st_size < 10_000_000
    with browser.opened(390, 844, dark=True) as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(browser.address(place))
        shot(page, f"phone_{place.stem}")
        assert all(url.startswith(("file:", "data:")) for url in asked)
        # Nothing but tables is wider than the phone, and these scroll by themselves.
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        # Verdicts are sentences, and are read without scrolling at all.
        verdicts = page.locator("td.words")
        assert (verdicts.count() > 0) == (name == "compare.html")
        ends = "cells => cells.every(c => c.getBoundingClientRect().right <= window.innerWidth)"
        assert verdicts.evaluate_all(ends)
        ink, paper = (
            page.evaluate(f"getComputedStyle(document.body).{key}.match(/[0-9]+/g).map(Number)")
            for key in ("color", "backgroundColor")
        )
        assert sum(paper) < 150 and sum(ink) > 500
        assert page.evaluate("[...document.images].every(i => i.alt && i.naturalWidth > 0)")
        # From fold to fold by Tab; Enter opens the last.
        count = page.locator("summary").count()
        assert count >= 1
        last = "[...document.querySelectorAll('summary')].at(-1) === document.activeElement"
        for _ in range(200):
            page.keyboard.press("Tab")
            if page.evaluate(last):
                break
        page.keyboard.press("Enter")
        assert page.locator("details").last.get_attribute("open") is not None
