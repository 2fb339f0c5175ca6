"""Commands on data: `diffsci data ...`."""

from __future__ import annotations

import click

from diffsci.cli.border import verbose
from diffsci.errors import DataError, DiffsciError


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


@data.command("describe")
@click.argument("path")
@click.option("--domain", metavar="WORD", help="Read it as image, pde or weather.")
@verbose
def data_describe(path: str, domain: str | None) -> None:
    """The catalog entry inferred from data, as YAML to save and correct.

    Exit code 3 if it cannot be read so: what is missing stands in comments.
    """
    from diffsci.config import roots_of
    from diffsci.data import describing

    text, problems = describing.described(path, domain, roots_of())
    click.echo(text, nl=False)
    if any(not problem.warning for problem in problems):
        click.get_current_context().exit(DataError.exit_code)


COMMANDS = (data,)
