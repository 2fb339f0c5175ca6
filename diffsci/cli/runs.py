"""Commands on runs that are there: compare, status, sync, and the pages of MLflow."""

from __future__ import annotations

from pathlib import Path

import click

from diffsci.cli.border import require_run, verbose


@click.command()
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUN RUN...", type=click.Path(path_type=Path)
)
@click.option("--out", type=click.Path(path_type=Path), help="Page to write [compare.html].")
@verbose
def compare(runs: tuple[Path, ...], out: Path | None) -> None:
    """Scores of several runs side by side, on one page."""
    if len(runs) < 2:
        raise click.UsageError("compare needs two runs or more")
    for each in runs:
        require_run(each)
    from diffsci.evaluation import compare as comparison

    click.echo(comparison.compare(runs, out))


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="A JSON list on standard output.")
@verbose
def status(runs: tuple[Path, ...], as_json: bool) -> None:
    """How far runs are, who writes them, and what to do next; reads only."""
    import json

    for each in runs:
        require_run(each)
    from diffsci.stages.status import status_of

    found = [status_of(each) for each in runs]
    if as_json:
        click.echo(json.dumps([told.to_dict() for told in found], indent=2))
        return
    for line in (line for told in found for line in told.lines()):
        click.echo(line)


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@verbose
def sync(runs: tuple[Path, ...]) -> None:
    """Send to MLflow what it lacks of the journals of runs; no point is sent twice."""
    for each in runs:
        require_run(each)
    from diffsci.stages.syncing import sync as fill

    for each in runs:
        click.echo(f"{each}: {fill(each)} points sent")


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@verbose
def ui(port: int) -> None:
    """Browse tracked runs in the MLflow pages, on this machine alone."""
    from diffsci import tracking

    tracking.ui(port)


COMMANDS = (compare, status, sync, ui)
