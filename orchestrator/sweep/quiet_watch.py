"""The watch over a sweep in which nothing changes: after a minute it says why, as far as it can."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.sweep.trial_rows import is_starting, minutes
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState

QUIET_SECONDS = 60.0


class QuietWatch:
    """Sees the trials again and again; `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: object = None
        self._changed_at: float | None = None

    def look(self, views: Sequence[TrialView] | None) -> str:
        """Why nothing has changed, in one line; empty while something has, within a minute. None
        for `views`: the coordinator did not answer.
        """
        now = self._clock()
        seen = None if views is None else [(one.state, one.step, len(one.rungs)) for one in views]
        if self._changed_at is None or (seen is not None and seen != self._seen):
            self._seen = seen
            self._changed_at = now
        quiet = now - self._changed_at
        if quiet < QUIET_SECONDS:
            return ""
        return f"nothing new for {minutes(quiet)}: {reason_of(views)}"


def reason_of(views: Sequence[TrialView] | None) -> str:
    """What a sweep with these trials waits for."""
    if views is None:
        return "the sweep's coordinator does not answer; Ray starts it again where it died"
    running = [view for view in views if view.state == TrialState.RUNNING]
    starting = [view for view in running if is_starting(view)]
    trained = [view for view in running if view.num_epochs and view.epoch >= view.num_epochs]
    training = [view for view in running if view not in starting and view not in trained]
    if training:
        view = training[0]
        steps = f"after {view.step} steps, in epoch {view.epoch + 1} of {view.num_epochs}"
        return f"{_trials(training)}; trial {view.number} reported last {steps}"
    if trained:
        return f"{_trials(trained, 'trained to the end')}: a last evaluation is under way"
    if starting:
        return (
            f"{_trials(starting, 'starting')}: workers wait for a place or for a new node; "
            "`ray status` shows what is missing"
        )
    if any(view.state == TrialState.WAITING for view in views):
        return "trials wait for a place; `ray status` shows what is missing"
    return "no trial runs; the next one is being chosen"


def _trials(views: Sequence[TrialView], doing: str = "training") -> str:
    numbers = ", ".join(str(view.number) for view in views[:4])
    more = f" and {len(views) - 4} more" if len(views) > 4 else ""
    return f"trial{'s' if len(views) > 1 else ''} {numbers}{more} {doing}"
