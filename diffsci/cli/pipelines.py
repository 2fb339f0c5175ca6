"""Commands on pipeline files: run, check; and the words such a file may use."""

from __future__ import annotations

from pathlib import Path

import click

from diffsci import families
from diffsci.cli.border import rank, verbose
from diffsci.errors import ConfigError, DataError
from diffsci.running import stopping


@click.command()
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
@click.option(
    "--jobs",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    metavar="N",
    help="Points of a sweep at once, each in a process of its own.",
)
@verbose
def run(
    pipeline: Path,
    overrides: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    allow: tuple[str, ...],
    points: tuple[str, ...],
    jobs: int,
) -> None:
    """Run a pipeline file: train, sample, evaluate; goes on from what is already there.

    KEY=VALUE wins over the file, such as train.steps=100 or sample.sampler=ddim. A file with
    `sweep:` runs every point of it, and lays them side by side.
    """
    with stopping.listening(alone=not rank()):
        folder = _run(pipeline, overrides, out, dry_run, points, allow, jobs)
    if rank() in ("", "0"):
        click.echo(f"{pipeline}: valid" if dry_run else folder)


def _run(
    pipeline: Path,
    overrides: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    points: tuple[str, ...],
    allow: tuple[str, ...],
    jobs: int,
) -> Path:
    from diffsci import config

    loaded = config.load(pipeline, overrides)
    if loaded.points:
        from diffsci.sweeps import sweeping

        if jobs > 1 and rank():
            raise ConfigError(f"--jobs: got {jobs}, expected 1: torchrun shares out each point")

        def one(folder: Path, name: str) -> list[str]:
            """Python's arguments for a point of this sweep."""
            plugins = [word for module in families.plugged() for word in ("--plugin", module)]
            words = ["-m", "diffsci", *plugins, "run", str(pipeline), *overrides]
            words += ["--out", str(folder), "--point", name]
            return [*words, *(word for key in allow for word in ("--allow", key))]

        return sweeping.run(loaded, out, dry_run, points, allow, jobs, one)
    if points or jobs > 1:
        word = "--point" if points else "--jobs"
        raise ConfigError(f"{word}: is for sweeps, and {pipeline} has no key `sweep`; leave it out")
    from diffsci import pipeline as stages

    return stages.run(loaded, out, dry_run, allow=allow)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH... [KEY=VALUE]...")
@click.option("--json", "as_json", is_flag=True, help="A JSON list on standard output.")
@click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write small pictures of a few fields there.",
)
@verbose
def check(paths: tuple[str, ...], as_json: bool, figures: Path | None) -> None:
    """Look for faults in pipelines, catalog entries or data, and tell all of them.

    Of a pipeline without faults it tells what it costs here: weights, FLOP, memory. KEY=VALUE wins
    over the pipeline files, as in `run`.

    Exit code 0 if there are none, 2 if a pipeline file is faulty, 3 if data is.
    """
    import json

    from diffsci import checking

    # An address stays as it is: as a path it would lose a slash, and `=` is often part of it.
    overrides = [path for path in paths if _is_override(path)]
    places, costs = tuple(path for path in paths if path not in overrides), list[str]()
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
    if figures is not None:
        for picture in checking.pictures(places, figures, overrides):
            click.echo(picture, err=as_json)
    codes = [problem.code for problem in problems if not problem.warning]
    click.echo(f"{len(codes) or 'no'} fault{'' if len(codes) == 1 else 's'}", err=True)
    if codes:
        kind = ConfigError if "config" in codes else DataError
        click.get_current_context().exit(kind.exit_code)


def _is_override(text: str) -> bool:
    from diffsci.data import addresses

    return "=" in text and not addresses.is_address(text) and not Path(text).exists()


@click.command("list")
@click.argument("family", required=False)
@verbose
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


COMMANDS = (run, check, list_members)
