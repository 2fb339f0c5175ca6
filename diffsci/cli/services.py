"""Commands that hand a run's ensemble and model to others: export, serve, tune, register."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from diffsci.cli.border import require_run, verbose
from diffsci.errors import ConfigError, StorageError
from diffsci.running import stopping

if TYPE_CHECKING:
    from diffsci.forecasting.store.names import Vocabulary

_LAYOUTS = ("wb2", "weatherbenchx", "earth2studio", "cf-netcdf", "valid-time", "xskillscore")


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--layout", type=click.Choice(_LAYOUTS), help="Names and dims of which tool.")
@click.option(
    "--names",
    type=click.Choice(("own", "wb2", "earth2studio", "ecmwf")),
    help="Names of variables [the layout's].",
)
@click.option(
    "--products",
    metavar="LIST",
    help="Statistics in place of members: mean,std,quantiles=0.1/0.9,exceed=t2m>300.",
)
@click.option("--out", type=click.Path(path_type=Path), help="NAME.zarr, NAME.nc or a folder.")
@verbose
def export(
    run: str, layout: str | None, names: str | None, products: str | None, out: Path | None
) -> None:
    """Write the ensemble of RUN (a run folder or a store) as another tool wants it."""
    if "://" not in run and not Path(run).exists():
        from diffsci.messages import near_path

        near = near_path(Path(run), "*/") or "; expected a folder such as runs/quickstart"
        raise StorageError(f"{run}: no such run or store{near}")
    from diffsci.forecasting.store.exporting import export as write
    from diffsci.forecasting.store.statistics_products import Products

    wanted = None if products is None else Products.of(products)
    with stopping.listening():
        place = write(
            run, layout, out, vocabulary=cast("Vocabulary | None", names), products=wanted
        )
    click.echo(place)


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--name", required=True, help="Name in the registry.")
@click.option("--alias", help="Another name of this version, such as champion.")
@verbose
def register(run: Path, overrides: tuple[str, ...], name: str, alias: str | None) -> None:
    """Put the model of RUN into MLflow's registry; prints its address, models:/NAME/VERSION.

    tracking.uri=URI names another store than the run's own; `diffsci sync RUN --to URI` sends the
    run there first.
    """
    require_run(run)
    from diffsci.stages.registering import register as put

    click.echo(put(run, name, alias, overrides))


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--allow-host", "hosts", multiple=True, help="Name by which clients may address it.")
@click.option("--limit-mb", type=click.IntRange(1), default=256, show_default=True)
@click.option("--timeout", type=click.FloatRange(1), default=600, show_default=True)
@verbose
def serve(
    run: str, port: int, host: str, hosts: tuple[str, ...], limit_mb: int, timeout: float
) -> None:
    """Answer HTTP requests with ensembles of RUN's model, on this machine alone.

    RUN is a run folder or models:/NAME@ALIAS. A request has at most so many MB of body, and takes
    at most so many seconds.
    """
    if run.startswith("models:/"):
        from diffsci.tracking import models

        folder = models.fetch(run)
    else:
        folder = Path(run)
        require_run(folder)
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"serve needs {error.name}: pip install 'diffsci[serve]'") from None
    from diffsci.serving.desk import Limits
    from diffsci.serving.server import serve as listen

    limits = Limits(body=limit_mb * 1_000_000, seconds=timeout)
    listen(folder, host=host, port=port, hosts=hosts, limits=limits, say=click.echo)


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--samplers", metavar="A,B", help="Words of samplers, or all [dpmpp,unipc,heun,ddim]."
)
@click.option("--calls", metavar="N,M", help="Network calls of one sampling [4,8,16,32].")
@click.option("--tolerance", type=float, default=0.01, show_default=True, help="Share of the CRPS.")
@click.option("--cases", type=int, default=24, show_default=True, help="Of the validation part.")
@click.option("--members", type=int, default=8, show_default=True, help="Of each case.")
@verbose
def tune(
    run: Path,
    overrides: tuple[str, ...],
    samplers: str | None,
    calls: str | None,
    tolerance: float,
    cases: int,
    members: int,
) -> None:
    """Find the cheapest sampler of RUN's model that is as good as the best, and keep it.

    Measures CRPS, spread over skill and seconds on validation cases; writes tune.csv, tune.json and
    tune.png into RUN. `diffsci sample` takes what is chosen, unless sample.sampler is given.
    """
    require_run(run)
    from diffsci.stages.ensembles.tuning import Asked
    from diffsci.stages.ensembles.tuning import tune as find

    chosen = {"samplers": _words(samplers), "calls": _numbers(calls)}
    asked = Asked(
        tolerance=tolerance, cases=cases, members=members, overrides=overrides,
        **{key: value for key, value in chosen.items() if value},  # type: ignore[arg-type]
    )  # fmt: skip
    with stopping.listening():
        found = find(run, asked)
    rung = found.measured.rung
    click.echo(f"{rung.name} {rung.calls}")


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def _numbers(text: str | None) -> tuple[int, ...]:
    words = _words(text)
    if not all(word.isdigit() for word in words):
        raise ConfigError(f"--calls {text}: expected numbers such as 4,8,16,32")
    return tuple(int(word) for word in words)


COMMANDS = (export, register, serve, tune)
