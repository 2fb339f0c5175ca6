"""What a pipeline costs on this machine: told by `diffsci check`, and by a run before it trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from diffsci import families
from diffsci.errors import FieldError
from diffsci.forecasting.tiles import Tiling
from diffsci.networks.base import Ports
from diffsci.runtime import Device
from diffsci.sections import Pipeline, Runtime
from diffsci.stages.checks import tiles_warning
from diffsci.training import memory
from diffsci.training.cost import Cost, NotMeasuredError, of_sampling, of_training


@dataclass(frozen=True, kw_only=True)
class Held:
    """What one stage costs.

    Args:
        stage: `train` or `sample`.
        key: Of the batch in the pipeline.
        batch: Fields at once.
        cost: Of them.
        tiles: Parts of a field that go through the network one after the other.
        parts: Of the batch, which are held one after the other.
        advice: What to do where it does not fit, beside a smaller batch.
    """

    stage: str
    key: str
    batch: int
    cost: Cost
    tiles: int = 1
    parts: int = 1
    advice: str = ""

    @property
    def bytes(self) -> int:
        """Held at once."""
        return self.cost.bytes(self.batch // self.parts)

    def line(self, free: int | None) -> str:
        """FLOP, bytes, and the batch that fits."""
        flop, size = self.cost.flop * self.tiles, self.bytes
        one, all_ = ("a step", "an example") if self.stage == "train" else ("a call", "a field")
        fits = "" if free is None else f", up to {self.most(free):,} would fit"
        tiles = f" in {self.tiles} tiles" if self.tiles > 1 else ""
        parts = f" in {self.parts} parts" if self.parts > 1 else ""
        return (
            f"{self.stage:<6}  {_flop(flop * self.batch)} {one} ({_flop(flop)} {all_}{tiles}), "
            f"{_bytes(size)} for {self.key} {self.batch}{parts}{fits}"
        )

    def most(self, free: int) -> int:
        """The largest batch that fits."""
        return self.parts * self.cost.batch_that_fits(int(memory.SHARE * free))

    def warning(self, free: int, device: Device) -> str | None:
        """What to say where it does not fit."""
        most = self.most(free)
        if self.batch <= most:
            return None
        less = f"take {most} or fewer, or " if most else "not even 1 fits: "
        return (
            f"{self.key}: {self.batch} hold {_bytes(self.bytes)} and "
            f"{_bytes(free)} are free on {device.name}, of which {memory.SHARE:.0%} are for it; "
            f"{less}{self.advice}"
        )


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a pipeline costs.

    Args:
        name: Of the pipeline.
        device: Where, and how.
        free: Bytes that are free there; none for a device that is not here.
        parts: Its stages that use the network.
    """

    name: str
    device: Device
    free: int | None
    parts: tuple[Held, ...]

    @classmethod
    def of(cls, pipeline: Pipeline, ports: Ports) -> Costs | None:
        """Measured in a second or two; none where the network is not used.

        Raises:
            NotMeasuredError: For a network that has to see values.
            FieldError: For tiles that cannot be.
        """
        if pipeline.model is None or pipeline.train is None:
            return None
        device, free = _device(pipeline.runtime)
        train, device = of_the_training(pipeline, ports, device)
        parts = [train]
        if pipeline.sample is not None:
            parts.append(_sampling(pipeline, ports, device))
        return cls(name=pipeline.name, device=device, free=free, parts=tuple(parts))

    def lines(self) -> Iterator[str]:
        """One for the network and the machine, one for each stage."""
        free = "not on this machine" if self.free is None else f"{_bytes(self.free)} free"
        parameters = self.parts[0].cost.parameters
        yield f"{self.name}: {parameters:,} parameters; {self.device}, {free}"
        for part in self.parts:
            yield f"  {part.line(self.free)}"

    def warnings(self) -> Iterator[str]:
        """What does not fit."""
        if self.free is None:
            return
        for part in self.parts:
            if (found := part.warning(self.free, self.device)) is not None:
                yield found


def told(
    pipeline: Pipeline, ports: Ports, tell: Callable[[str], None] | None
) -> Iterator[tuple[str, str]]:
    """Warnings of what will not fit, or not be exact, each after its code.

    Args:
        pipeline: Without faults.
        ports: Channels and grid of its data.
        tell: Called with each line of what it costs.
    """
    if (text := tiles_warning(pipeline, ports)) is not None:
        yield "tiles", text
    try:
        costs = Costs.of(pipeline, ports)
    except NotMeasuredError as error:
        if tell is not None:
            tell(f"{pipeline.name}: {error}")
        return
    if costs is None:
        return
    if tell is not None:
        for line in costs.lines():
            tell(line)
    for text in costs.warnings():
        yield "memory", text


def _device(runtime: Runtime) -> tuple[Device, int | None]:
    """The device and what is free on it; a stand-in without it for one that is not here."""
    # Whether torch can compile takes seconds to find out; costs are of the network as written.
    section = replace(runtime, compile=False)
    try:
        device = Device.of(section)
    except FieldError:
        found = Device.of(replace(section, device="cpu"))
        precision = "bf16" if runtime.precision == "auto" else runtime.precision
        return replace(found, name=runtime.device, precision=precision), None
    return device, memory.free(device.name)


def of_the_training(pipeline: Pipeline, ports: Ports, device: Device) -> tuple[Held, Device]:
    """A training step, and the device with nothing left `auto`: by its work and its memory.

    Raises:
        NotMeasuredError: For a network that has to see values.
    """
    assert pipeline.model is not None
    assert pipeline.train is not None
    network, batch = pipeline.model.network, pipeline.train.batch_size
    # Members of an example go through the network side by side, forecast steps after each other.
    leads = 1 if pipeline.train.rollout is None else pipeline.train.rollout.longest
    count = pipeline.train.objective.count * leads

    def measured(checkpointing: bool) -> Cost:
        found = of_training(
            lambda: network.build(ports),
            ports,
            precision=device.precision,
            device=device.name,
            checkpointing=checkpointing,
        )
        return replace(found, flop=count * found.flop, each=count * found.each)

    cost = measured(False)
    device = device.compiled_for(float(cost.flop) * batch * pipeline.train.steps)
    parts = pipeline.train.accumulate
    device = _decided(device, cost.bytes(batch // parts))
    if device.checkpointing is True:
        cost = measured(True)
    advice = "train.accumulate, or a smaller network"
    if device.checkpointing is not True:
        advice = f"runtime.checkpointing=true, {advice}"
    part = Held(
        stage="train",
        key="train.batch_size",
        batch=batch,
        cost=cost,
        parts=parts,
        advice=advice,
    )
    return part, device


def _decided(device: Device, needed: int) -> Device:
    """A device that is not here decides as one with memory enough."""
    try:
        return device.checkpointing_for(needed)
    except (RuntimeError, AssertionError):  # torch's words for a device that it does not see
        return replace(device, checkpointing=False)


def _sampling(pipeline: Pipeline, ports: Ports, device: Device) -> Held:
    """One call of the network."""
    assert pipeline.model is not None
    assert pipeline.sample is not None
    network, section = pipeline.model.network, pipeline.sample
    tiling = None if section.tiles is None else Tiling.of(section.tiles, network, ports)
    cost = of_sampling(
        lambda: network.build(ports),
        ports,
        precision=device.precision,
        device=device.name,
        tile=None if tiling is None else tiling.cells,
    )
    advice = "smaller sample.tiles.cells"
    if tiling is None:
        advice = "sample.tiles, which compute a field in parts"
        if network.reach(ports) is None:
            word = families.name_of(network)
            advice += f" (for a {word} whose outputs depend on a part of the field alone)"
    return Held(
        stage="sample",
        key="sample.compute_batch",
        batch=section.compute_batch,
        cost=cost,
        tiles=1 if tiling is None else tiling.count,
        advice=advice,
    )


def _flop(count: int) -> str:
    number = float(count)
    for unit in ("FLOP", "kFLOP", "MFLOP", "GFLOP"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TFLOP" if number < 1000 else f"{number / 1000:.3g} PFLOP"


def _bytes(count: int) -> str:
    number = float(count)
    for unit in ("B", "KiB", "MiB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} GiB"
