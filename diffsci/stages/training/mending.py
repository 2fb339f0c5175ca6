"""A finished model whose files were damaged: told, and made again from the end of its training.

The last checkpoint holds all that the model was made from, so that it comes back bit for bit and
what was sampled from it stays. An earlier one would have to be trained from: that is for the user.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from diffsci.errors import StorageError
from diffsci.files import sha256_of
from diffsci.forecasting.model_sums import DESCRIPTION, MANIFEST, broken
from diffsci.running.folder import RunFolder
from diffsci.training.damage import newest_whole, numbers_of

log = logging.getLogger(__name__)


def is_whole(folder: RunFolder, digest: str) -> bool:
    """Whether a model that was trained is whole; so is one that was not yet."""
    return not folder.done("train", digest) or broken(folder.path / "model") is None


def tell_damage(run: Path) -> None:
    """Warn of damaged checkpoints of a finished run: nothing of it needs them."""
    newest, damaged = newest_whole(run / "checkpoints")
    then = "none is whole" if newest is None else f"training further would begin at {newest.name}"
    for text in damaged:
        log.warning("%s: %s; the model is whole, and %s", run / "checkpoints", text, then)


def make_way(folder: RunFolder, digest: str) -> None:
    """Where a trained model is damaged, have the training stage make it again from its end.

    Args:
        folder: Of the run, whose lock is held.
        digest: What the stage is asked for now.

    Raises:
        StorageError: When it would not be the same model: no checkpoint of the end is whole.
    """
    model, places = folder.path / "model", folder.path / "checkpoints"
    wrong = broken(model) if folder.done("train", digest) else None
    if wrong is None:
        return
    newest, damaged = newest_whole(places)
    ended = None if newest is None else numbers_of(newest).get("ended")
    if newest is None or ended is None:
        left = f"no checkpoint in {places} is whole" if newest is None else f"{newest} is earlier"
        also = f" ({'; '.join(damaged)})" if damaged else ""
        way = "trains it again" if newest is None else f"goes on with training from {newest.name}"
        at_first = f" and {places}" if newest is None and damaged else ""
        raise StorageError(
            f"{wrong}. No checkpoint of the end of training is there to make it from: {left}{also}."
            f" Restore {model} from a copy, or remove it{at_first}: the same command then {way}"
        )
    log.warning("%s: it is made again from %s", wrong, newest)
    _drop_description(model)
    folder.record["stages"]["train"]["status"] = "stopped"


def _drop_description(model: Path) -> None:
    """Remove a damaged description, of which the new model would keep what `tune` chose."""
    file = model / DESCRIPTION
    try:
        sums = json.loads((model / MANIFEST).read_text(encoding="utf-8"))
        whole = sha256_of(file) == sums[DESCRIPTION]
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        file.unlink(missing_ok=True)
