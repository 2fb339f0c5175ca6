"""The border to the user: log lines, and errors as one line and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from diffsci.errors import ConfigError, DiffsciError, StorageError
from diffsci.running import stopping

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
    errno.EFBIG: "larger than a file may be here (ulimit -f): raise that, or choose another --out",
    errno.EACCES: "permission denied: choose a folder you may write to with --out",
    errno.EPERM: "permission denied: choose a folder you may write to with --out",
    errno.EROFS: "the file system is read-only: choose another folder with --out",
}


class _ToStderr(logging.Handler):
    """Writes to whatever standard error is at the time of writing."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


def rank() -> str:
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
    quiet = rank() not in ("", "0")
    log.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)
    logging.captureWarnings(True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING if verbose else logging.ERROR)


class Commands(click.Group):
    """Turns what a user can cause into one line and an exit code."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  click says so
        """As click's; without a list of arguments this is a process of its own, which ends here.

        One that was stopped has nothing more to do. Python's own way out takes half a second, in
        which another Ctrl-C would end it by a traceback, or by the signal.
        """
        if args or "args" in kwargs:
            return super().__call__(*args, **kwargs)
        try:
            return self.main(**kwargs)
        except SystemExit as ended:
            if ended.code not in (stopping.RESUME_ME, stopping.INTERRUPTED):
                raise
            logging.shutdown()
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # its reader may have gone
                    stream.flush()
            os._exit(int(ended.code))

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  click says so
        """Run the command, and end with the exit code of what went wrong."""
        stopping.begun()
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except stopping.Stopped as stopped:
            if rank() in ("", "0"):
                click.echo(stopped, err=True)
            ctx.exit(stopped.code)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(stopping.INTERRUPTED)
        except Exception as error:  # the one place that may: it is the border to the user
            if log.isEnabledFor(logging.DEBUG):
                log.debug("traceback of the error below", exc_info=error)
            text, code = _told(error)
            who = f"rank {rank()}: " if rank() else ""
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


def verbose(command: Callable[..., None]) -> Callable[..., None]:
    """The option `-v`, before or after the command's name."""

    def switch(ctx: click.Context, _: click.Parameter, on: bool) -> None:
        if on or ctx.parent is None:
            set_up_logging(on)

    text = "More log lines, and tracebacks."
    option = click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=switch, help=text
    )
    return option(command)


def require_run(run: Path) -> None:
    """Refuse a run that is not there, with near names."""
    if run.is_dir():
        return
    from diffsci.messages import near_path

    hint = near_path(run, "*/") or "; expected a folder that `diffsci run` made, as runs/quickstart"
    problem = "is no run folder; give the folder that `diffsci run` made"
    raise ConfigError(f"{run}: {problem if run.exists() else f'no such run{hint}'}")
