"""Commands on data: `diffsci data ...`."""

from __future__ import annotations

from pathlib import Path

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


@click.command()
@click.argument("source")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The store to write.")
@click.option("--domain", metavar="WORD", help="Read it as image, pde or weather.")
@click.option("--variables", metavar="NAME,...", default="", help="Take only these.")
@click.option("--train", nargs=2, metavar="FIRST LAST", help="Times whose statistics are taken.")
@click.option(
    "--samples",
    nargs=2,
    type=int,
    metavar="FIRST AFTER",
    help="Samples whose statistics are taken.",
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--memory", type=click.IntRange(1), default=1024, show_default=True, help="MiB.")
@click.option("--dask", metavar="ADDRESS", help="A dask scheduler, such as tcp://host:8786.")
@verbose
def prepare(
    source: str,
    out: Path,
    domain: str | None,
    variables: str,
    train: tuple[str, str] | None,
    samples: tuple[int, int] | None,
    workers: int,
    memory: int,
    dask: str | None,
) -> None:
    """Check data, take its statistics, and write it for training, in one pass.

    For data larger than memory; smaller data needs none of it. Stopped, the same command goes on.
    The store is read like any other: by its path, or in an entry.
    """
    from diffsci import checking
    from diffsci.config import roots_of

    options = checking.Preparing(
        out=out,
        domain=domain,
        variables=tuple(name.strip() for name in variables.split(",") if name.strip()),
        train=train or None,
        samples=samples or None,
        workers=workers,
        memory=memory * 2**20,
        dask=dask,
    )
    click.echo(checking.prepare(source, options, roots_of()))


COMMANDS = (data, prepare)
