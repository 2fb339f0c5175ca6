"""The command line. Each command imports what it needs when it runs, so that help answers at once.

Exit codes: 0 done, 1 unexpected, 2 a faulty pipeline file or argument, 3 data, 4 numerics, 5
storage, 75 stopped by SIGTERM or SIGUSR1 (the same command goes on), 130 interrupted. Errors go to
standard error, one line each (of a sweep, one for each point that failed); results go to standard
output.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from diffsci import __version__, families
from diffsci.cli import assimilating, catalog, forecasts, making, pipelines, runs, services
from diffsci.cli.border import Commands, verbose


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--plugin",
    "plugins",
    metavar="MODULE",
    multiple=True,
    help="Import this module first: its class becomes a member named like the module.",
)
@verbose
@click.version_option(__version__, prog_name="diffsci")
def main(plugins: tuple[str, ...]) -> None:
    """Probabilistic surrogates: gridded data in, a calibrated and scored ensemble out."""
    if plugins:
        # A module beside the user is found too, but never in place of an installed one.
        sys.path.append(str(Path.cwd()))
    for module in plugins:
        families.plugin(module)


for _module in (pipelines, catalog, making, forecasts, assimilating, runs, services):
    for _command in _module.COMMANDS:
        main.add_command(_command)
