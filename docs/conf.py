"""Sphinx: `pip install -e ".[docs]"`, then `python -m sphinx -b html docs docs/_build`."""

import diffsci

project = "diffsci"
author = "The diffsci developers"
release = diffsci.__version__
extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Gridded data in, a calibrated and scored ensemble out"}
