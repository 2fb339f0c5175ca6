"""Commands that make ensembles from trained models, and check them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import click

from diffsci.cli.border import rank, require_run, verbose
from diffsci.errors import ConfigError
from diffsci.running import stopping


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--from", "source", metavar="FILE", help="Initial conditions: file, store or entry.")
@click.option("--start", "starts", multiple=True, help="A time of --from [the latest].")
@click.option("--lead", help="How far, such as 10d, 36h, or a number of steps.")
@click.option(
    "--within",
    type=click.FloatRange(0, min_open=True),
    help="Refuse --from whose mean is further from that of training [10 standard deviations].",
)
@click.option("--members", type=click.IntRange(min=1), help="Members per case.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the members' noise.")
@click.option(
    "--out",
    help="Store to write: a path, or an address such as s3://bucket/f.zarr "
    "[RUN/forecast-mMEMBERS-sSEED.zarr; with --from RUN/forecast-FILE-mMEMBERS-sSEED.zarr].",
)
@verbose
def sample(
    run: str,
    overrides: tuple[str, ...],
    source: str | None,
    starts: tuple[str, ...],
    lead: str | None,
    within: float | None,
    members: int | None,
    seed: int | None,
    out: str | None,
) -> None:
    """Draw an ensemble from the model of RUN: a run folder, or models:/NAME@ALIAS of the registry.

    Without --from for the test cases of the run; with it for the frames of a file up to each
    --start, which are held to those of training by names, units, grid and levels.

    A store that is there gets what it lacks of what is asked for: members, cases, leads.
    """
    folder = _model_of(run, source)
    if starts and source is None:
        raise ConfigError(f"--start {starts[0]}: a time of which file? name it with --from FILE")
    if within is not None and source is None:
        raise ConfigError(f"--within {within:g}: holds for --from FILE alone; leave it out")
    with stopping.listening(alone=not rank()):
        if source is None:
            from diffsci import pipeline as stages
            from diffsci.stages.ensembles.from_files import steps_of

            texts = overrides
            texts += () if lead is None else (f"sample.leads={steps_of(folder, lead)}",)
            store = stages.sample(folder, members, seed, _place(out), texts)
        else:
            from diffsci.stages.ensembles.from_files import Request, sample_from

            request = Request(
                source=source,
                starts=starts,
                lead=lead,
                members=members,
                seed=seed,
                overrides=overrides,
            )
            if within is not None:
                request = replace(request, within=within)
            store = sample_from(folder, request, _place(out))
    if rank() in ("", "0"):
        click.echo(store)


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--store", help="Store to check [RUN/forecast.zarr].")
@click.option("--from", "source", metavar="FILE", help="What the store was made from, if a file.")
@click.option("--member", "members", type=int, multiple=True, help="To compute again [0].")
@click.option("--case", "cases", multiple=True, help="Of which case [the first].")
@verbose
def verify(
    run: str,
    overrides: tuple[str, ...],
    store: str | None,
    source: str | None,
    members: tuple[int, ...],
    cases: tuple[str, ...],
) -> None:
    """Check a store: every chunk by its checksum, and members by computing them again.

    Exit code 0 if all is as it was written, 5 with a line for each damaged chunk, 4 if a member
    comes out otherwise. A store that `sample --from FILE` made takes the same --from, and the
    same settings.
    """
    folder = _model_of(run, source)
    if source is None:
        from diffsci import pipeline as stages

        told = stages.verify(folder, _place(store), members, cases, overrides)
    else:
        from diffsci.stages.ensembles.from_files import Request
        from diffsci.stages.ensembles.verifying import verify_from

        place = _place(store)
        if place is None:
            raise ConfigError(f"--from {source}: which store was made from it? name it by --store")
        request = Request(source=source, overrides=overrides, within=math.inf)
        told = verify_from(folder, request, place, members, cases)
    click.echo(told)


def _model_of(run: str, source: str | None) -> Path:
    """The folder of a run, or of a registered model, which is fetched."""
    if not run.startswith("models:/"):
        require_run(Path(run))
        return Path(run)
    if source is None:
        raise ConfigError(
            f"{run}: a registered model brings no data; give initial conditions with --from FILE"
        )
    from diffsci.tracking import models

    return models.fetch(run)


def _place(text: str | None) -> Path | str | None:
    """A path, or an address as it is."""
    return text if text is None or "://" in text else Path(text)


COMMANDS = (sample, verify)
