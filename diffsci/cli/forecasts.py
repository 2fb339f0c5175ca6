"""Commands that make ensembles from trained models."""

from __future__ import annotations

from pathlib import Path

import click

from diffsci import stopping
from diffsci.cli.border import require_run, verbose


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--members", type=click.IntRange(min=1), help="Members per case.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the members' noise.")
@click.option("--out", type=click.Path(path_type=Path), help="Store to write.")
@verbose
def sample(
    run: Path, overrides: tuple[str, ...], members: int | None, seed: int | None, out: Path | None
) -> None:
    """Draw an ensemble from the model of a run."""
    require_run(run)
    from diffsci import pipeline as stages

    with stopping.listening():
        store = stages.sample(run, members, seed, out, overrides)
    click.echo(store)


COMMANDS = (sample,)
