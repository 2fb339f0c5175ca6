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


def _numbers(text: str | None) -> list[float]:
    try:
        return [float(word) for word in (text or "").split(",") if word]
    except ValueError:
        raise click.BadParameter(
            f"{text}: expected numbers such as 6,12", param_hint="--leads"
        ) from None


@click.command()
@click.argument("forecast", metavar="FORECAST", type=click.Path(path_type=Path))
@click.option("--truth", required=True, metavar="PATH", help="Analysis, or a run's truth.zarr.")
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Another forecast of the same cases, for a row of the table; may be repeated.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="New folder [FORECAST's name -scores]."
)
@click.option(
    "--scores",
    metavar="A,B",
    help="Words of `diffsci list scores`, with options: brier:threshold=280 [the usual ones].",
)
@click.option("--leads", metavar="6,12", help="Leads to score, in hours [all].")
@click.option(
    "--missing",
    type=click.Choice(["forbidden", "static", "moving"]),
    default="forbidden",
    show_default=True,
    help="What a NaN of the truth means.",
)
@click.option(
    "--device",
    metavar="cuda",
    default="cpu",
    show_default=True,
    help="Where scores are computed: cuda, cuda:1, or the CPU.",
)
@verbose
def score(
    forecast: Path,
    truth: str,
    baselines: tuple[Path, ...],
    out: Path | None,
    scores: str | None,
    leads: str | None,
    missing: str,
    device: str,
) -> None:
    """Score a forecast store, whoever made it, against a truth.

    FORECAST is a Zarr store, a NetCDF file, a folder or glob of such files, or a run; names of dims
    and variables of WeatherBench, earth2studio, GenCast and cfgrib are known. Writes scores.csv,
    scores.json, figures and report.html.
    """
    from diffsci.stages.scores import standalone

    named = forecast.parent if set("*?[") & set(forecast.name) else forecast
    folder = out or Path(f"{named.resolve().stem}-scores")
    words = [word for word in (scores or "").split(",") if word]
    standalone.score(
        forecast,
        truth,
        folder,
        baselines=standalone.rows_of(baselines),
        scores=words,
        leads=_numbers(leads),
        missing=missing,
        device=device,
    )
    click.echo(folder)


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="A JSON list on standard output.")
@verbose
def status(runs: tuple[Path, ...], as_json: bool) -> None:
    """How far runs and sweeps are, who writes them, and what to do next; reads only."""
    import json

    for each in runs:
        require_run(each)
    from diffsci.errors import StorageError
    from diffsci.stages.status import is_run, status_of
    from diffsci.stages.sweep_status import is_sweep, status_of_sweep

    for each in runs:
        if not (is_run(each) or is_sweep(each)):
            raise StorageError(
                f"{each}: is no run's folder, it has no run.json; give one that `diffsci run` made"
            )
    found = [status_of_sweep(each) if is_sweep(each) else status_of(each) for each in runs]
    if as_json:
        click.echo(json.dumps([told.to_dict() for told in found], indent=2))
        return
    for line in (line for told in found for line in told.lines()):
        click.echo(line)


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--to", metavar="URI", help="Another tracking store [tracking.uri of the run].")
@verbose
def sync(runs: tuple[Path, ...], to: str | None) -> None:
    """Send to MLflow what it lacks of runs; no point is sent twice.

    With --to also runs that were made with tracking.enabled=false, such as --to
    sqlite:///mlflow.db or --to http://host:5000.
    """
    for each in runs:
        require_run(each)
    from diffsci.stages.syncing import sync as fill

    for each in runs:
        count = fill(each, to)
        click.echo(f"{each}: {count} point{'' if count == 1 else 's'} sent")


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@verbose
def ui(port: int) -> None:
    """Browse tracked runs in the MLflow pages, on this machine alone."""
    from diffsci.tracking.ui import serve

    serve(port)


COMMANDS = (compare, score, status, sync, ui)
