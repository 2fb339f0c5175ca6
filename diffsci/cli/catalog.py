"""Commands on data: `diffsci data ...`."""

from __future__ import annotations

import click

from diffsci.cli.border import verbose
from diffsci.errors import DiffsciError


@click.group()
def data() -> None:
    """Data sets of the catalog."""


@data.command("list")
@verbose
def data_list() -> None:
    """Name and title of each data set."""
    from diffsci.config import roots_of
    from diffsci.data import catalog

    roots = roots_of()
    names = catalog.entries(roots)
    for name in names:
        try:
            title = catalog.load_entry(name, roots).title
        except DiffsciError as error:
            title = f"(faulty) {error}"
        click.echo(f"{name:<{max(map(len, names))}}  {title}")


@data.command("show")
@click.argument("name")
@verbose
def data_show(name: str) -> None:
    """What a data set holds: variables, units, sizes, licence, citation."""
    from diffsci.config import roots_of
    from diffsci.data import catalog, reader

    click.echo(reader.describe(catalog.load_entry(name, roots_of())))


COMMANDS = (data,)
