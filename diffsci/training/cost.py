"""What a network costs, measured without computing: parameters, FLOP, and the bytes at the peak.

A forward and a backward pass are run on fake tensors, which have shapes and dtypes but no values.
Each tensor that an operation makes is counted from when it is made until autograd and Python let
go of it, so that the peak is the real one: what is saved for the way back, what checkpointing
drops, and what is held for a moment. The batch is a prime that divides nothing else, so one run
tells the bytes that grow with it from those that do not. A process then needs about a quarter more.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from diffsci.errors import DiffsciError
from diffsci.networks.base import Module, Ports

FIELDS = 8
"""Fields of the target that a run holds beside what the network does: x_0, noise, x_t, the
estimate and its residual in training; x_t, estimates of earlier steps and noise in sampling."""

_TRAINED = 5
"""Numbers for each weight in training: itself, its gradient, two moments of AdamW, its average."""

SPACE = 1.25
"""Memory of a process for each byte that is counted: measured on a CPU, 0.8 to 1.4. An allocator
keeps what it may need again, and operations have work space of their own."""

_PRIMES = (31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)


class NotMeasuredError(DiffsciError):
    """A network has to see values before it can say what it computes."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of training a network, or of sampling with it.

    Args:
        parameters: Numbers that are trained.
        flop: One multiplication and one addition are two. In training of one example, forward and
            back; in sampling of one call for one field.
        fixed: Bytes that do not depend on the batch.
        each: Bytes for each example of the batch.
    """

    parameters: int
    flop: int
    fixed: int
    each: int

    def bytes(self, batch: int) -> int:
        """Held at the peak."""
        return self.fixed + batch * self.each

    def batch_that_fits(self, available: int) -> int:
        """The largest batch for so many bytes; 0 where one example does not fit."""
        return max(0, (available - self.fixed) // self.each)


def of_training(
    build: Callable[[], Module],
    ports: Ports,
    *,
    precision: str,
    device: str = "cpu",
    checkpointing: bool = False,
) -> Cost:
    """Of a training step: forward, back, AdamW and the average of the weights.

    Args:
        build: Makes the network.
        ports: What goes in and out.
        precision: `bf16` runs the network under autocast.
        device: Where it will run.
        checkpointing: Whether blocks are computed again on the way back.

    Raises:
        NotMeasuredError: For a network that has to see values.
    """

    def step(network: Module, inputs: Sequence[Tensor | None]) -> None:
        network.train()
        network.checkpointing = checkpointing
        _call(network, inputs).float().square().sum().backward()  # type: ignore[no-untyped-call]

    return _measured(build, ports, ports.grid.sizes, precision, device, step, copies=_TRAINED)


def of_sampling(
    build: Callable[[], Module],
    ports: Ports,
    *,
    precision: str,
    device: str = "cpu",
    tile: tuple[int, ...] | None = None,
) -> Cost:
    """Of a network call without autograd, with the fields that a sampler holds.

    Args:
        build: Makes the network.
        ports: What goes in and out.
        precision: `bf16` runs the network under autocast.
        device: Where it will run.
        tile: Cells that go through the network at once; none takes the whole grid. `flop` is then
            that of a tile.

    Raises:
        NotMeasuredError: For a network that has to see values.
    """

    def call(network: Module, inputs: Sequence[Tensor | None]) -> None:
        network.eval()
        with torch.no_grad():
            _call(network, inputs)

    return _measured(build, ports, tile or ports.grid.sizes, precision, device, call, copies=1)


def _measured(
    build: Callable[[], Module],
    ports: Ports,
    sizes: tuple[int, ...],
    precision: str,
    device: str,
    run: Callable[[Module, Sequence[Tensor | None]], None],
    *,
    copies: int,
) -> Cost:
    """One run on fake tensors; they need no device, but follow its rules where it is there."""
    kind = "cuda" if device.startswith("cuda") and torch.cuda.is_available() else "cpu"
    with ExitStack() as stack:
        stack.enter_context(_told())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(torch.device(kind))
        network = build()
        parameters = [p for p in network.parameters() if p.requires_grad]
        # Gradients of the last step are there while the next one goes forward.
        for parameter in parameters:
            parameter.grad = torch.empty_like(parameter)
        held = [*network.parameters(), *network.buffers()]
        # Of rows shared out among networks, what is held of a share grows with the batch too.
        share = _batch(ports, sizes, held)
        batch = share * network.shares
        live = _Live(
            batch, [*held, *(p.grad for p in parameters if p.grad is not None)], share=share
        )
        inputs = _inputs(ports, sizes, batch)
        stack.enter_context(torch.autocast(kind, dtype=torch.bfloat16, enabled=precision == "bf16"))
        stack.enter_context(live)
        run(network, inputs)
    weights = sum(tensor.nbytes for tensor in held)
    whole = 4 * math.prod(ports.grid.sizes) * (FIELDS * ports.target + ports.condition)
    return Cost(
        parameters=sum(p.numel() for p in parameters),
        flop=live.flop // batch,
        fixed=copies * weights + live.peak_fixed,
        each=whole + round(SPACE * live.peak_each),
    )


@contextmanager
def _told() -> Iterator[None]:
    """What a network raises on fake tensors, of whatever kind, as an error of ours."""
    try:
        yield
    except DiffsciError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise NotMeasuredError(
            f"the network cannot be measured without computing ({type(error).__name__}: "
            f"{first[:200]}); runtime.compile and runtime.checkpointing are false where they are "
            "auto"
        ) from error


def _batch(ports: Ports, sizes: tuple[int, ...], held: Sequence[Tensor]) -> int:
    """A prime that divides the size of nothing that does not grow with the batch."""
    counts = {math.prod(sizes), math.prod(ports.grid.sizes), *(t.numel() for t in held)}
    fits = [prime for prime in _PRIMES if all(count % prime for count in counts)]
    return (fits or [_PRIMES[-1]])[0]


def _inputs(ports: Ports, sizes: tuple[int, ...], batch: int) -> tuple[Tensor | None, ...]:
    """Arguments of `Module.forward`, in its order."""
    return (
        torch.empty(batch, ports.target, *sizes),
        torch.empty(batch),
        torch.empty(batch, ports.condition, *sizes) if ports.condition else None,
        torch.empty(batch, ports.scalars) if ports.scalars else None,
        torch.empty(batch, ports.noise) if ports.noise else None,
    )


def _call(network: Module, inputs: Sequence[Tensor | None]) -> Tensor:
    out: Tensor = network(*inputs)
    return out


class _Live(TorchDispatchMode):
    """FLOP, and bytes of all storages that operations have made and nobody has let go of.

    torch's own counter of FLOP follows modules by hooks, which hold on to what they see.

    A convolution is taken to hold another copy of what goes in and comes out while it computes:
    libraries lay fields out in their own way.

    Args:
        batch: Rows that go through the network.
        elsewhere: These are counted elsewhere; they must outlive this mode.
        share: Storages of a multiple of so many bytes grow with the batch.
    """

    def __init__(self, batch: int, elsewhere: Iterable[Tensor], *, share: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.batch, self.share = batch, share
        self.flop = self.peak_each = self.peak_fixed = 0
        self._each = self._fixed = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in elsewhere}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - torch's protocol
        """Do it, and count what came out."""
        named = kwargs or {}
        out = func(*args, **named)
        count = flop_registry.get(getattr(func, "overloadpacket", None))
        if count is not None:
            self.flop += int(count(*args, **named, out_val=out))
        found = [value for value in tree_leaves(out) if isinstance(value, Tensor)]
        for value in found:
            self._count(value.untyped_storage())
        work = []
        if func in _CONVOLUTIONS:
            work = [value for value in args if isinstance(value, Tensor)] + found
        each = sum(value.nbytes for value in work if value.nbytes % self.share == 0)
        rest = sum(value.nbytes for value in work) - each
        self.peak_each = max(self.peak_each, (self._each + each) // self.batch)
        self.peak_fixed = max(self.peak_fixed, self._fixed + rest)
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self._add(size)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._add(-size)

    def _add(self, size: int) -> None:
        if size % self.share == 0:
            self._each += size
        else:
            self._fixed += size


_CONVOLUTIONS = (torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default)
