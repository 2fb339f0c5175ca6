"""The command that makes data: `diffsci data make`."""

from __future__ import annotations

from pathlib import Path

import click

from diffsci.cli.border import verbose
from diffsci.cli.catalog import data


@data.command("make")
@click.argument("name")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The Zarr store to write; without it, where a run looks for it.",
)
@verbose
def data_make(name: str, overrides: tuple[str, ...], out: Path | None) -> None:
    """Solve a PDE: a catalog entry's data set, or that of a solver by its name.

    KEY=VALUE changes a parameter, such as trajectories=8 or dt=0.01. Killed at any time, the same
    command goes on, and the bytes at the end are the same.
    """
    from diffsci.config import roots_of
    from diffsci.data import generated, making

    solver = generated.asked(name, overrides, roots_of())
    target = out or generated.store_path(solver)
    fresh = making.make(solver, target)
    click.echo(f"{target}{'' if fresh else ' was there already'}")


COMMANDS: tuple[click.Command, ...] = ()
"""Nothing beside what is added to `data`."""
