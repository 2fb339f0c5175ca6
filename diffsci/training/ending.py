"""What ends a run: its last step, validations that no longer improve, or the hours it was given.

A run that ended is complete: it is not gone on with, and the rate of its last step is that of the
schedule, which knows steps alone. The clock of a budget is the only one that decides anything in
training, and it decides at step boundaries: the numbers of the steps that are done do not depend
on it. Seconds since the last checkpoint before a kill are not counted, nor are their steps.
"""

from __future__ import annotations

from time import monotonic

from diffsci.sections import Train

STEPS, PATIENCE, HOURS = "steps", "patience", "hours"


class Ending:
    """When a run ends, and the seconds it has taken where they matter.

    Args:
        section: Steps, patience and hours.
    """

    def __init__(self, section: Train) -> None:
        self.section = section
        self.reason: str | None = None
        self._before, self._started = 0.0, monotonic()

    @property
    def timed(self) -> bool:
        """Whether there is a budget of time."""
        return self.section.hours is not None

    @property
    def seconds(self) -> float:
        """Of training over all restarts; 0 where nothing depends on them, so that states agree."""
        return self._before + monotonic() - self._started if self.timed else 0.0

    @property
    def is_over(self) -> bool:
        """Whether the time is used up, by the clock of this process."""
        return self.section.hours is not None and self.seconds >= 3600 * self.section.hours

    def go_on_from(self, seconds: float, reason: str | None) -> None:
        """Count from what a saved run had used; a complete one stays so."""
        self._before, self._started, self.reason = seconds, monotonic(), reason

    def after_step(self, step: int, over: bool) -> None:
        """Steps and time.

        Args:
            step: Steps done.
            over: Whether the time of any process is used up.
        """
        if step >= self.section.steps:
            self.reason = STEPS
        elif over:
            self.reason = HOURS

    def after_validation(self, since_best: int) -> None:
        """Patience."""
        patience = self.section.patience
        if self.reason is None and patience is not None and since_best >= patience:
            self.reason = PATIENCE
