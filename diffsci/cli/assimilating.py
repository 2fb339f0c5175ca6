"""The command that makes analyses from observations."""

from __future__ import annotations

from pathlib import Path

import click

from diffsci.cli.border import require_run, verbose
from diffsci.errors import ConfigError
from diffsci.running import stopping


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("observations", metavar="OBSERVATIONS", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), help="Store [RUN/analysis-<name>.zarr].")
@click.option("--members", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--block", type=click.IntRange(min=1), help="Frames that arrive at once [all].")
@click.option("--lag", type=click.IntRange(min=0), default=40, help="Frames before a block [40].")
@click.option("--overlap", type=click.IntRange(min=0), help="Frames of two pieces [half].")
@click.option("--iterations", type=click.IntRange(min=1), default=8, help="Of guidance [8].")
@click.option("--given", multiple=True, metavar="NAME=VALUE", help="A physical parameter.")
@click.option("--truth", help="File or catalog entry to score against.")
@click.option("--trajectory", type=click.IntRange(min=0), default=0, help="Of --truth.")
@verbose
def assimilate(
    run: Path,
    observations: Path,
    overrides: tuple[str, ...],
    out: Path | None,
    members: int,
    seed: int,
    block: int | None,
    lag: int,
    overlap: int | None,
    iterations: int,
    given: tuple[str, ...],
    truth: str | None,
    trajectory: int,
) -> None:
    """Draw trajectories from the model of RUN that agree with OBSERVATIONS, a CSV or NetCDF table.

    The model's task is `trajectory`. A row of the table is a time, a place (one column for each dim
    of the grid), a value and the standard deviation of its error; with --block the analysis of each
    block uses nothing that arrives later.
    """
    require_run(run)
    from diffsci.stages.assimilating import Request, assimilate

    request = Request(
        observations=observations,
        members=members,
        seed=seed,
        block=block,
        lag=lag,
        overlap=overlap,
        iterations=iterations,
        given=dict(_pair(text) for text in given),
        truth=truth,
        trajectory=trajectory,
        overrides=overrides,
    )
    with stopping.listening():
        store, _ = assimilate(run, request, out or run / f"analysis-{observations.stem}.zarr")
    click.echo(store)


def _pair(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise ConfigError(f"--given {text}: expected NAME=NUMBER") from None


COMMANDS = (assimilate,)
