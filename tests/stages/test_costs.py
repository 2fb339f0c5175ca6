"""What a pipeline costs is told by `check`, and what will not fit is a warning with its fix."""

from dataclasses import dataclass, replace

import pytest
from click.testing import CliRunner

from diffsci import checking, cli, config
from diffsci.stages import costs
from diffsci.stages.checks import faults
from diffsci.stages.costs import Costs
from diffsci.stages.prepare import prepare
from diffsci.training import memory
from diffsci.training.cost import of_sampling, of_training
from tests import tiny_runs
from tests.forecasting.local_network import Local

MIB = 2**20


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The pipeline file of the parameters' waves, and its data prepared."""
    file = tiny_runs.make(tmp_path_factory.mktemp("pde"), "pde")
    loaded = config.load(file)
    return file, prepare(loaded.pipeline, loaded.roots)


def loaded(made, *overrides):
    return config.load(made[0], overrides).pipeline


def local(section):
    """The same with a network of known reach."""
    return replace(section, model=replace(section.model, network=Local()))


def test_lines_tell_what_was_measured(made, monkeypatch):
    monkeypatch.setattr(memory, "free", lambda device: 64 * MIB)
    section, ports = loaded(made), made[1].ports
    found = Costs.of(section, ports)

    def build():
        return section.model.network.build(ports)

    train = of_training(build, ports, precision="fp32")
    sample = of_sampling(build, ports, precision="fp32")
    assert [part.cost for part in found.parts] == [train, sample]
    head, first, second = found.lines()
    assert head.startswith(f"tiny: {train.parameters:,} parameters; cpu (fp32")
    assert head.endswith("64 MiB free")
    assert first.startswith("  train   ") and second.startswith("  sample  ")
    fits = train.batch_that_fits(int(0.75 * 64 * MIB))
    assert f"for train.batch_size 4, up to {fits:,} would fit" in first
    assert "for sample.compute_batch 4, up to " in second
    assert list(found.warnings()) == []


def test_what_does_not_fit_is_told_with_the_numbers_that_would(made, monkeypatch):
    ports, section = made[1].ports, loaded(made)
    train, sample = (part.cost for part in Costs.of(section, ports).parts)
    # Room for three training examples: for more than four fields without autograd.
    room = int(train.bytes(3) / memory.SHARE) + 10
    assert sample.bytes(4) < memory.SHARE * room
    monkeypatch.setattr(memory, "free", lambda device: room)
    off = loaded(made, "runtime.checkpointing=false")
    (told,) = Costs.of(off, ports).warnings()
    assert told.startswith("train.batch_size: 4 hold ")
    advice = "runtime.checkpointing=true, train.accumulate, or a smaller network"
    assert told.endswith(f"; take 3 or fewer, or {advice}")
    # In two parts, two examples are held at once.
    halves = Costs.of(loaded(made, "runtime.checkpointing=false", "train.accumulate=2"), ports)
    assert list(halves.warnings()) == []
    assert "for train.batch_size 4 in 2 parts, up to 6 would fit" in next(
        line for line in halves.lines() if "train" in line
    )
    monkeypatch.setattr(memory, "free", lambda device: sample.fixed)
    first, second = Costs.of(off, ports).warnings()
    assert f"; not even 1 fits: {advice}" in first
    assert "sample.tiles, which compute a field in parts (for a unet whose outputs depend" in second
    first, second = Costs.of(local(off), ports).warnings()
    assert second.endswith("sample.tiles, which compute a field in parts")


def test_a_device_that_is_not_here_is_told_as_such(made, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = Costs.of(loaded(made, "runtime.device=cuda", "runtime.precision=auto"), made[1].ports)
    head, train, _ = found.lines()
    assert "; cuda (bf16" in head and head.endswith("not on this machine")
    assert "would fit" not in train
    assert list(found.warnings()) == []


def test_tiles_are_counted(made):
    tiled = local(loaded(made, "sample.tiles={cells: 14}"))
    whole = local(loaded(made))
    one, other = (Costs.of(each, made[1].ports).parts[1] for each in (whole, tiled))
    assert (one.tiles, other.tiles) == (1, 8)
    assert other.cost.each < one.cost.each
    assert "in 8 tiles)" in other.line(None)
    assert other.advice == "smaller sample.tiles.cells"


def test_tiles_that_cannot_be_are_faults(made):
    ports, names = made[1].ports, made[1].train.scalar_names

    def found(section):
        return [str(fault) for fault in faults(section, ports, names, 50)]

    for overrides, told in (
        (["sample.tiles={cells: 8}"], "sample.tiles.cells: got 8, expected 14 or more along x, or"),
        (["sample.tiles={cells: [8, 8]}"], "sample.tiles.cells: got [8, 8], expected one number,"),
    ):
        (fault,) = found(local(loaded(made, *overrides)))
        assert fault.startswith(told)
    (fault,) = found(loaded(made, "sample.tiles={cells: 14}"))
    assert fault.startswith("sample.tiles: got 'tiles', expected no tiles")
    # What the network itself refuses is told once.
    (fault,) = found(loaded(made, "sample.tiles={cells: 14}", "model.network.patch=99"))
    assert fault.startswith("model.network.patch: ")


def test_check_tells_costs_after_faults_and_warns(tmp_path, monkeypatch):
    """The list of problems stays a list of problems; the costs are lines of text."""
    monkeypatch.chdir(tmp_path)
    file, lines = tiny_runs.make(tmp_path, "pde"), []
    assert checking.check((file,), lines.append) == []
    assert [line.split()[0] for line in lines] == ["tiny:", "tiny:", "train", "sample"]
    done = CliRunner().invoke(cli.main, ["check", str(file)])
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "tiny:",
        "tiny:",
        "train",
        "sample",
    ]
    monkeypatch.setattr(memory, "free", lambda device: 1)
    lines.clear()
    one, two = checking.check((file,), lines.append)
    assert one.warning and two.warning
    assert (one.code, two.code) == ("memory", "memory")
    assert (one.file, one.value[:18]) == (str(file), "train.batch_size: ")
    assert one.fix.startswith("not even 1 fits: ")
    # A pipeline with faults is not measured.
    file.write_text(file.read_text().replace("warmup: 2", "warmup: 2, flip: [z]"))
    lines.clear()
    (fault,) = checking.check((file,), lines.append)
    assert fault.code == "config"
    # Windows and memory of its data are told all the same.
    assert [line.split()[1] for line in lines] == ["60"]


@dataclass(frozen=True, kw_only=True)
class Unmeasured(Local):
    """Cannot be measured."""

    def build(self, ports):
        net = super().build(ports)
        net.register_forward_pre_hook(lambda module, inputs: float(inputs[1].sum()))
        return net


def test_a_network_that_cannot_be_measured_is_said_to_be(made):
    section = loaded(made)
    section = replace(section, model=replace(section.model, network=Unmeasured()))
    lines = []
    assert list(costs.told(section, made[1].ports, lines.append)) == []
    (line,) = lines
    assert line.startswith("tiny: the network cannot be measured without computing (")


def test_a_short_overlap_is_a_warning_with_the_reach(made):
    section = local(loaded(made, "sample.tiles={cells: 14, overlap: 2}"))
    ((code, text),) = costs.told(section, made[1].ports, None)
    assert code == "tiles"
    assert text.startswith("sample.tiles.overlap: 2 cells are less than the network looks (6): ")
    exact = local(loaded(made, "sample.tiles={cells: 14}"))
    assert list(costs.told(exact, made[1].ports, None)) == []
