"""A real browser on what diffsci shows: `python -m tests.browser URL-OR-FILE OUT.png [WIDTH]`."""

import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable():
    """Path of a browser of this machine; none where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def needed():
    """Skips a test where there is no browser, and says so."""
    if executable() is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    pytest.importorskip("playwright")


@contextmanager
def opened(width=1280, height=900, dark=False):
    """An empty page in a window of this size."""
    from playwright.sync_api import sync_playwright

    # A container's root has no sandbox to give, and no card to draw with.
    arguments = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable(), args=arguments)
        try:
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
            )
            yield page
        finally:
            browser.close()


def address(place):
    return place if "://" in str(place) else Path(place).resolve().as_uri()


if __name__ == "__main__":
    with opened(width=int((sys.argv[3:] or ["1280"])[0]), dark="--dark" in sys.argv) as shown:
        shown.goto(address(sys.argv[1]))
        shown.screenshot(path=sys.argv[2], full_page=True)
