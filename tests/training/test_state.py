"""The state is whole: each live attribute is in it or derived, and dropping any part shows."""

import dataclasses

import pytest
import torch

from diffsci.errors import ConfigError
from diffsci.runtime import Device
from diffsci.training import checkpoint, gradient, loop
from diffsci.training import live as live_room
from diffsci.training.ema import Ema
from diffsci.training.ending import Ending
from diffsci.training.finite import Skipped
from diffsci.training.power import Powers
from diffsci.training.scaler import Scaler
from diffsci.training.spikes import Recent
from diffsci.training.state import RunState, restore
from diffsci.training.validation import Validations
from tests.training.tiny import (
    TinyExamples,
    clone,
    digest,
    tiny_denoiser,
    tiny_section,
    tiny_train,
    told,
)

IN_THE_STATE = {
    "step": ("step",),
    "denoiser": ("weights",),
    "ema": ("ema", "ema_others", "ema_updates"),
    "powers": ("powers",),
    "optimiser": ("optimiser",),
    "scaler": ("scaler",),
    "skipped": ("skipped", "skipped_in_row"),
    "validations": ("validations", "best_step", "best_loss", "ema_losses", "scores"),
    "by_level": ("by_level",),
    "recent": ("recent",),
    "losses": ("losses",),
    "ending": ("seconds", "ended"),
    "settings": ("settings",),
}

DERIVED = {
    "examples": "given",
    "valid": "given",
    "section": "given",
    "grid": "given",
    "seed": "given",
    "way": "given",
    "wish": "given",
    "denoiser": "that of the live ones",
    "names": "given",
    "errors": "of the last step",
    "workers": "given",
    "order": "of the seed, the section and the ranks",
    "judge": "given",
    "stop": "the wish in the last step",
    "device": "of the denoiser",
    "ranks": "of the environment",
    "rows": "of the ranks",
    "loss": "the denoiser and the objective",
    "gradient": "of the loss; made anew in each step",
    "parameters": "of the denoiser",
    "buffers": "copies that live for one step",
    "by_levels": "of the objective",
}

PARTS = {
    Ema: {"all", "updates"} | {"decays", "_module", "_live", "_rest", "_averages", "_sources"},
    Ending: {"reason", "_before", "_started"} | {"section"},
    Recent: {"losses"} | {"_sorted"},
    Skipped: {"total", "in_row"},
    Validations: {"rows", "best_step", "best_loss", "last", "scores"},
    Powers: {"all"} | {"_module", "_powers", "_sources"},
    Scaler: {"scale", "clean", "overflows"} | {"every"},
}
"""Saved ones, then derived ones, of the objects that a run owns."""


def live(monkeypatch, section, **changes):
    """The running object behind the generator."""
    made = []
    begin = loop._Run.__init__

    def remembered(self, *given):
        made.append(self)
        begin(self, *given)

    monkeypatch.setattr(loop._Run, "__init__", remembered)
    tiny_train(tiny_denoiser(), TinyExamples(), section, valid=TinyExamples(5, 1), **changes)
    return made[0]


def test_every_attribute_of_a_run_is_in_its_state_or_derived(monkeypatch):
    run = live(monkeypatch, tiny_section(), device=Device(precision="fp16"))
    assert set(vars(run)) == DERIVED.keys() | {"live"}
    assert set(vars(run.live)) == IN_THE_STATE.keys() | {"_sharded"}
    fields = {f.name for f in dataclasses.fields(RunState)}
    assert fields == {name for names in IN_THE_STATE.values() for name in names}
    for kind, attributes in PARTS.items():
        (part,) = [value for value in vars(run.live).values() if isinstance(value, kind)]
        assert set(vars(part)) == attributes, kind


def uninterrupted(section, device):
    found, states = [], []
    for step in tiny_train(
        tiny_denoiser(), TinyExamples(), section, valid=TinyExamples(5, 1), device=device
    ):
        found.append(told(step))
        states.append(clone(step.state()))
    return found, states


def gone_on_with(saved, section, device):
    """What the rest told, and its digest; nothing where the state was refused."""
    try:
        steps = list(
            tiny_train(
                tiny_denoiser(seed=9),
                TinyExamples(),
                section,
                valid=TinyExamples(5, 1),
                device=device,
                resume=saved,
            )
        )
    except (ConfigError, ValueError):
        return None
    return [told(step) for step in steps], steps and digest(steps[-1].state())


def shifted(function, by):
    """A function of seed and step that begins anew where the run went on."""
    return lambda seed, step, *rest: function(seed, step - by, *rest)


class ShiftedDraws(gradient.Draws):
    """Draws as if they were not those of the step."""

    def __init__(self, seed, step, **rest):
        super().__init__(seed, step - 5, **rest)


def forgetting(what):
    """`restore` that leaves one thing as it was at the beginning."""

    def changed(state, module, ema, optimiser):
        fresh = [{n: v.clone() for n, v in weights.items()} for weights in ema.all]
        restore(state, module, ema, optimiser)
        if what == "ema":
            ema.restore(fresh, state.ema_updates)
        elif what == "counter":
            ema.updates = 0
        elif what == "optimiser":
            optimiser.state.clear()

    return changed


STOP = 5
MUTANTS = {
    "RNG": ("Draws", ShiftedDraws),
    "dropout": ("seed_dropout", lambda device, *words: torch.manual_seed(0)),
    "order": ("examples_of_step", shifted(loop.examples_of_step, STOP)),
    "rate": ("learning_rate", lambda step, section: _rate(step - STOP, section)),
    "average": ("restore", forgetting("ema")),
    "counter": ("restore", forgetting("counter")),
    "optimiser": ("restore", forgetting("optimiser")),
    "scaler": ("Scaler", lambda: Scaler(scale=2.0**9)),
    "step": ("step", 0),
}
_rate = loop.learning_rate


@pytest.fixture(scope="module")
def whole():
    """A run in float16 whose scale doubles every three steps, so that dropping it shows."""
    device, section = Device(precision="fp16"), tiny_section(log_every=1)
    patch = pytest.MonkeyPatch()
    patch.setattr(live_room, "Scaler", lambda: Scaler(scale=2.0**8, every=3))
    found, states = uninterrupted(section, device)
    patch.undo()
    return device, section, found, states


def test_going_on_leaves_the_saved_state_alone(whole):
    """Else a second attempt from it would begin elsewhere."""
    device, section, _, states = whole
    saved, before = states[STOP - 1], digest(states[STOP - 1])
    gone_on_with(saved, section, device)
    assert digest(saved) == before


def test_a_state_that_is_whole_is_gone_on_with_bitwise(whole, tmp_path):
    device, section, found, states = whole
    checkpoint.save(tmp_path, states[STOP - 1], keep=1)
    saved = checkpoint.newest(tmp_path, pytest.fail)
    assert gone_on_with(saved, section, device) == (found[STOP:], digest(states[-1]))


@pytest.mark.parametrize("what", MUTANTS)
def test_a_mutant_that_drops_a_part_is_noticed(whole, what, monkeypatch):
    """The comparison of the test above fails for each."""
    device, section, found, states = whole
    saved = states[STOP - 1]
    name, change = MUTANTS[what]
    rooms = {"RNG": gradient, "dropout": gradient, "order": loop, "rate": loop}
    room = rooms.get(what, live_room)
    if what == "step":
        saved = dataclasses.replace(saved, step=change)
    elif what == "scaler":
        saved = dataclasses.replace(saved, scaler=None)
        monkeypatch.setattr(live_room, "Scaler", change)
    else:
        monkeypatch.setattr(room, name, change)
    assert gone_on_with(saved, section, device) != (found[STOP:], digest(states[-1]))


# These move no later number here: the tests of endings, averages and skipping hold them.
TOLD = {"best_step", "best_loss", "ema_losses", "seconds", "ended", "ema_others", "skipped_in_row"}
TOLD |= {"powers", "scores"}


@pytest.mark.parametrize("field", sorted({f.name for f in dataclasses.fields(RunState)} - TOLD))
def test_a_checkpoint_without_a_field_is_noticed(field, whole, monkeypatch):
    """Each field of a saved state put back to what it is before the first step, or another's."""
    device, section, found, states = whole
    if field == "skipped":
        fresh = 1
    elif field == "settings":
        fresh = states[0].settings | {"seed": 4}
    elif field in ("weights", "ema", "optimiser", "by_level"):
        fresh = getattr(states[0], field)
    else:
        fresh = {"scaler": Scaler(scale=2.0**3), "step": 0, "ema_updates": 0}.get(field, ())
    saved = dataclasses.replace(states[STOP - 1], **{field: fresh})
    assert gone_on_with(saved, section, device) != (found[STOP:], digest(states[-1]))
