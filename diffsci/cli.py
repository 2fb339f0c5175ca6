"""The command line. Each command imports what it needs when it runs, so that help answers at once.

Longer than 300 lines: one function a command, and all of them here.

Exit codes: 0 done, 1 unexpected, 2 a faulty pipeline file or argument, 3 data, 4 numerics, 5
storage, 75 stopped by SIGTERM or SIGUSR1 (the same command goes on), 130 interrupted. Errors go to
standard error, one line each; results go to standard output.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from diffsci import __version__, families, stopping
from diffsci.errors import ConfigError, DataError, DiffsciError, StorageError

log = logging.getLogger("diffsci")

_NOISY = (
    "mlflow",
    "alembic",
    "matplotlib",
    "distributed",
    "dask",
    "urllib3",
    "fsspec",
    "py.warnings",
)
_STORAGE = {
    errno.ENOSPC: "no space left on the device: free some, or choose another folder with --out",
    errno.EDQUOT: "the disk quota is used up: free some, or choose another folder with --out",
    errno.EACCES: "permission denied: choose a folder you may write to with --out",
    errno.EPERM: "permission denied: choose a folder you may write to with --out",
    errno.EROFS: "the file system is read-only: choose another folder with --out",
}


class _ToStderr(logging.Handler):
    """Writes to whatever standard error is at the time of writing."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


def _rank() -> str:
    """The number of this process among several that were started at once; empty where alone."""
    several = os.environ.get("WORLD_SIZE", "1") not in ("", "1")
    return os.environ.get("RANK", "0") if several else ""


def set_up_logging(verbose: bool) -> None:
    """Lines on standard error: ours from INFO on (all with `verbose`), others' from ERROR on.

    Of several processes the first one speaks, and the others of errors alone.
    """
    handler = _ToStderr()
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s" if verbose else "%(message)s"
    handler.setFormatter(logging.Formatter(form))
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _ToStderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    quiet = _rank() not in ("", "0")
    log.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)
    logging.captureWarnings(True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING if verbose else logging.ERROR)


class _Commands(click.Group):
    """Turns what a user can cause into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  click says so
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except stopping.Stopped as stopped:
            if _rank() in ("", "0"):
                click.echo(stopped, err=True)
            ctx.exit(stopped.code)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(stopping.INTERRUPTED)
        except Exception as error:  # the one place that may: it is the border to the user
            if log.isEnabledFor(logging.DEBUG):
                log.debug("traceback of the error below", exc_info=error)
            text, code = _told(error)
            who = f"rank {_rank()}: " if _rank() else ""
            click.echo(f"{who}error: {text}", err=True)
            ctx.exit(code)


def _told(error: Exception) -> tuple[str, int]:
    """One message and the exit code of an error.

    Raises:
        BrokenPipeError: As it is: click ends quietly when the reader of our output has gone.
    """
    if isinstance(error, BrokenPipeError):
        raise error
    if isinstance(error, DiffsciError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno in _STORAGE:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{_STORAGE[error.errno]}", StorageError.exit_code
    what = " ".join(str(error).split()) or "no message"
    hint = "" if log.isEnabledFor(logging.DEBUG) else "; -v shows where"
    return f"unexpected {type(error).__name__}: {what}{hint}", DiffsciError.exit_code


def _verbose(command: Callable[..., None]) -> Callable[..., None]:
    """The option `-v`, before or after the command's name."""

    def switch(ctx: click.Context, _: click.Parameter, on: bool) -> None:
        if on or ctx.parent is None:
            set_up_logging(on)

    text = "More log lines, and tracebacks."
    option = click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=switch, help=text
    )
    return option(command)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--plugin",
    "plugins",
    metavar="MODULE",
    multiple=True,
    help="Import this module first: its class becomes a member named like the module.",
)
@_verbose
@click.version_option(__version__, prog_name="diffsci")
def main(plugins: tuple[str, ...]) -> None:
    """Probabilistic surrogates: gridded data in, a calibrated and scored ensemble out."""
    if plugins:
        # A module beside the user is found too, but never in place of an installed one.
        sys.path.append(str(Path.cwd()))
    for module in plugins:
        families.plugin(module)


@main.command()
@click.argument("pipeline", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder [runs/<name>].")
@click.option("--dry-run", is_flag=True, help="Build everything, stop before data is read.")
@click.option(
    "--allow",
    metavar="KEY",
    multiple=True,
    help="Go on though this key or section, `data` or `code` has changed; it is recorded.",
)
@click.option(
    "--point", "points", metavar="NAME", multiple=True, help="Only this point of a sweep."
)
@_verbose
def run(
    pipeline: Path,
    overrides: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    allow: tuple[str, ...],
    points: tuple[str, ...],
) -> None:
    """Run a pipeline file: train, sample, evaluate; goes on from what is already there.

    KEY=VALUE wins over the file, such as train.steps=100 or sample.sampler=ddim. A file with
    `sweep:` runs every point of it, and lays them side by side.
    """
    with stopping.listening(alone=not _rank()):
        folder = _run(pipeline, overrides, out, dry_run, points, allow)
    if _rank() in ("", "0"):
        click.echo(f"{pipeline}: valid" if dry_run else folder)


def _run(
    pipeline: Path,
    overrides: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    points: tuple[str, ...],
    allow: tuple[str, ...],
) -> Path:
    from diffsci import config

    loaded = config.load(pipeline, overrides)
    if loaded.points:
        if allow:
            raise click.UsageError("--allow is for single runs; give the point's own config.yaml")
        from diffsci import sweeping

        return sweeping.run(loaded, out, dry_run, points)
    if points:
        raise click.UsageError(f"--point is for sweeps; {pipeline} has no key `sweep`")
    from diffsci import pipeline as stages

    return stages.run(loaded, out, dry_run, allow=allow)


@main.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH... [KEY=VALUE]...")
@click.option("--json", "as_json", is_flag=True, help="A JSON list on standard output.")
@_verbose
def check(paths: tuple[str, ...], as_json: bool) -> None:
    """Look for faults in pipelines, catalog entries or data, and tell all of them.

    Of a pipeline without faults it tells what it costs here: weights, FLOP, memory. KEY=VALUE wins
    over the pipeline files, as in `run`.

    Exit code 0 if there are none, 2 if a pipeline file is faulty, 3 if data is.
    """
    import json

    from diffsci import checking

    overrides = [path for path in paths if "=" in path and not Path(path).exists()]
    places, costs = tuple(Path(path) for path in paths if path not in overrides), list[str]()
    if not places:
        raise click.UsageError(f"no PATH beside {' '.join(overrides)}")
    if as_json:
        problems = checking.check(places, overrides=overrides)
        click.echo(json.dumps([problem.to_dict() for problem in problems], indent=2))
    else:
        problems = checking.check(places, costs.append, overrides)
        for problem in problems:
            click.echo(f"{'warning' if problem.warning else 'fault'}: {problem}")
        for line in costs:
            click.echo(line)
    codes = [problem.code for problem in problems if not problem.warning]
    click.echo(f"{len(codes) or 'no'} fault{'' if len(codes) == 1 else 's'}", err=True)
    if codes:
        kind = ConfigError if "config" in codes else DataError
        click.get_current_context().exit(kind.exit_code)


@main.command("list")
@click.argument("family", required=False)
@_verbose
def list_members(family: str | None) -> None:
    """The words a pipeline file may use, by family."""
    shown = [family] if family else list(families.FAMILIES)
    for name in shown:
        words = families.names(name)
        if not family:
            click.echo(f"{name}:")
        for word in words:
            width = max(map(len, words))
            click.echo(f"{'' if family else '  '}{word:<{width}}  {families.summary(name, word)}")


@main.group()
def data() -> None:
    """Data sets of the catalog."""


@data.command("list")
@_verbose
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
@_verbose
def data_show(name: str) -> None:
    """What a data set holds: variables, units, sizes, licence, citation."""
    from diffsci.config import roots_of
    from diffsci.data import catalog, reader

    click.echo(reader.describe(catalog.load_entry(name, roots_of())))


@main.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--members", type=click.IntRange(min=1), help="Members per case.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the members' noise.")
@click.option("--out", type=click.Path(path_type=Path), help="Store to write.")
@_verbose
def sample(
    run: Path, overrides: tuple[str, ...], members: int | None, seed: int | None, out: Path | None
) -> None:
    """Draw an ensemble from the model of a run."""
    _folder(run)
    from diffsci import pipeline as stages

    with stopping.listening():
        store = stages.sample(run, members, seed, out, overrides)
    click.echo(store)


@main.command()
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUN RUN...", type=click.Path(path_type=Path)
)
@click.option("--out", type=click.Path(path_type=Path), help="Page to write [compare.html].")
@_verbose
def compare(runs: tuple[Path, ...], out: Path | None) -> None:
    """Scores of several runs side by side, on one page."""
    if len(runs) < 2:
        raise click.UsageError("compare needs two runs or more")
    for each in runs:
        _folder(each)
    from diffsci.evaluation import compare as comparison

    click.echo(comparison.compare(runs, out))


@main.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="A JSON list on standard output.")
@_verbose
def status(runs: tuple[Path, ...], as_json: bool) -> None:
    """How far runs are, who writes them, and what to do next; reads only."""
    import json

    for each in runs:
        _folder(each)
    from diffsci.stages.status import status_of

    found = [status_of(each) for each in runs]
    if as_json:
        click.echo(json.dumps([told.to_dict() for told in found], indent=2))
        return
    for line in (line for told in found for line in told.lines()):
        click.echo(line)


@main.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@_verbose
def sync(runs: tuple[Path, ...]) -> None:
    """Send to MLflow what it lacks of the journals of runs; no point is sent twice."""
    for each in runs:
        _folder(each)
    from diffsci.stages.syncing import sync as fill

    for each in runs:
        click.echo(f"{each}: {fill(each)} points sent")


def _folder(run: Path) -> None:
    """Refuse a run that is not there, with near names."""
    if run.is_dir():
        return
    from diffsci.messages import near_path

    problem = "is no run folder" if run.exists() else f"no such run{near_path(run, '*/')}"
    raise ConfigError(f"{run}: {problem}")


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@_verbose
def ui(port: int) -> None:
    """Browse tracked runs in the MLflow pages, on this machine alone."""
    from diffsci import tracking

    tracking.ui(port)


if __name__ == "__main__":
    main()
