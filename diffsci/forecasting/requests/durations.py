"""Lead times as users write them: `10d`, `6h`, `PT6H`, `12` steps, `2.5 s` of a simulation."""

from __future__ import annotations

import re

from diffsci.errors import ConfigError
from diffsci.forecasting.surrogate import Surrogate

_SECONDS = {
    "s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hr": 3600, "hour": 3600,
    "d": 86_400, "day": 86_400, "w": 604_800, "week": 604_800,
}  # fmt: skip
_MONTHS = {"mo": 1, "month": 1, "y": 12, "yr": 12, "year": 12}

_ISO = re.compile(
    r"P(?:(?P<year>\d+)Y)?(?:(?P<month>\d+)M)?(?:(?P<week>\d+)W)?(?:(?P<day>\d+)D)?"
    r"(?:T(?:(?P<hour>\d+)H)?(?:(?P<min>\d+)M)?(?:(?P<s>\d+)S)?)?"
)

_MONTH_NS = 30.436875 * 86_400e9
"""A mean month; those of other calendars differ by less than 2 %."""

_NUMBER = r"([0-9]+\.?[0-9]*|\.[0-9]+)"

MOST_LEADS = 200_000
"""Steps that a duration may be: 136 years of 6 h. Cases hold every one of their leads."""


class TooManyLeads(ConfigError):
    """A duration of more steps than `MOST_LEADS`."""


def leads_of(text: str, model: Surrogate) -> int:
    """How many forecast steps a duration is.

    Raises:
        ConfigError: When it is not understood, or is no whole number of the model's steps.
        TooManyLeads: When it is more of them than `MOST_LEADS`.
    """
    task = model.pipeline.data.task
    if not task.has_leads:
        raise ConfigError(f"--lead {text}: this model does not forecast, leave it out")
    if re.fullmatch(r"[0-9]+", text.strip()):
        return _counted(text, float(text), "1")
    step = (model.step or 0.0) * task.step
    if step == 0.0:
        raise ConfigError(f"--lead {text}: this model knows no step; give a number of steps")
    if model.time_unit:
        return _counted(text, _in_unit(text, model.time_unit) / step, f"{step:g} {model.time_unit}")
    months, seconds = _parsed(text)
    every = round(step / _MONTH_NS) if step >= 27 * 86_400e9 else 0
    if every:
        if seconds or not months:
            raise ConfigError(
                f"--lead {text}: this model's step is {every} month{'s' * (every > 1)}; give "
                f"months, such as {2 * every}mo"
            )
        return _counted(text, months / every, f"{every}mo")
    if months:
        raise ConfigError(f"--lead {text}: months have no fixed length; give days, such as 30d")
    hours = step / 3.6e12
    return _counted(text, seconds * 1e9 / step, f"{hours:g}h" if hours < 48 else f"{hours / 24:g}d")


def _counted(text: str, steps: float, step: str) -> int:
    if steps > MOST_LEADS:  # Infinity too, which long numbers become.
        short = text if len(text) <= 40 else f"{text[:40]}..."
        raise TooManyLeads(
            f"--lead {short}: is {steps:.4g} steps of this model; at most {MOST_LEADS:,} can be "
            "asked for"
        )
    count = round(steps)
    if count < 1 or abs(steps - count) > 1e-6 * max(1.0, steps):
        near = "" if steps < 1 else f" (it is {steps:.4g} of them)"
        raise ConfigError(
            f"--lead {text}: expected one or more whole steps of {step}, which is this model's "
            f"step{near}"
        )
    return count


def _in_unit(text: str, unit: str) -> float:
    match = re.fullmatch(rf"\s*{_NUMBER}\s*(.+?)\s*", text)
    known = {unit, "time units", "time unit"}
    if match is None or match[2] not in known:
        raise ConfigError(
            f"--lead {text}: expected a number of steps, such as 12, or of this model's time, such "
            f"as '12 {unit if unit != '1' else 'time units'}'"
        )
    return float(match[1])


def _parsed(text: str) -> tuple[float, float]:
    """Months and seconds of a duration."""
    iso = _ISO.fullmatch(text.strip())
    if iso is not None and any(iso.groups()):
        parts = {name: float(value) for name, value in iso.groupdict().items() if value}
        months = 12 * parts.pop("year", 0.0) + parts.pop("month", 0.0)
        return months, sum((_SECONDS[name] * value for name, value in parts.items()), 0.0)
    match = re.fullmatch(rf"\s*{_NUMBER}\s*([a-z]+)\s*", text.lower())
    if match is not None:
        number, word = float(match[1]), match[2]
        for table, place in ((_MONTHS, 0), (_SECONDS, 1)):
            for name in (word, word.removesuffix("s")):
                if name in table:
                    value = number * table[name]
                    return (value, 0.0) if place == 0 else (0.0, value)
    raise ConfigError(
        f"--lead {text}: expected a duration such as 6h, 10d or PT6H, or a number of steps"
    )
