"""A guidance with a field of every kind the loader knows; tests load it as a plugin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from diffsci.diffusion.guidance.base import ConditionalDenoise, Guidance
from diffsci.errors import require
from diffsci.members import member, members

if TYPE_CHECKING:
    from diffsci.diffusion.schedules.base import Schedule


@dataclass(frozen=True, kw_only=True)
class Inner:
    weight: float
    word: Literal["near", "far"] = "near"

    def __post_init__(self) -> None:
        require(self.weight >= 0, "weight", self.weight, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Toy(Guidance):
    """Leaves the denoiser as it is."""

    whole: int = 1
    number: float = 0.5
    switch: bool = False
    text: str = "a"
    perhaps: int | None = None
    either: int | str = 3
    pair: tuple[int, float] = (1, 2.0)
    many: tuple[str, ...] = ()
    table: dict[str, float] | None = None
    choice: Literal[1, 2, "auto"] = "auto"
    inner: Inner | None = None
    inners: tuple[Inner, ...] = ()
    loose: Any = None
    schedule: Schedule = member("schedules", "linear")
    schedules: tuple[Schedule, ...] = members("schedules")

    @property
    def calls_per_step(self) -> int:
        return 1

    def __call__(self, denoise: ConditionalDenoise) -> ConditionalDenoise:
        return denoise
