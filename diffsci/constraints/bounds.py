"""A least and a largest value, as of a concentration."""

from __future__ import annotations

from dataclasses import dataclass

from diffsci.constraints.base import Interval, Names, Setting, check_names, numbers_of
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class Bounds(Interval):
    """A least and a largest value; beside a mean the others make up for what is cut off.

    Args:
        minimum: In physical units; null for none.
        maximum: In physical units; null for none.
        channels: Names of those that it holds for; empty for all.
    """

    minimum: float | None = None
    maximum: float | None = None
    channels: Names = ()

    def __post_init__(self) -> None:
        check_names(self.channels)
        some = self.minimum is not None or self.maximum is not None
        require(some, "minimum", self.minimum, "a number here, in `maximum`, or in both")
        if self.minimum is not None and self.maximum is not None:
            fits = self.minimum < self.maximum
            require(fits, "maximum", self.maximum, f"more than minimum, which is {self.minimum}")

    def check(self, setting: Setting) -> None:
        """Needs channels of these names."""
        self.limits(setting.channels)

    def limits(self, channels: tuple[str, ...]) -> tuple[tuple[float | None, float | None], ...]:
        """Of each channel."""
        bounded = numbers_of(self.channels, channels)
        own, none = (self.minimum, self.maximum), (None, None)
        return tuple(own if number in bounded else none for number in range(len(channels)))
