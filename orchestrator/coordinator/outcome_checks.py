"""Checks of how a trial says that it ended, before the study is told: its value, its constraint."""

from __future__ import annotations

import math

from orchestrator.trial.messages import TrialOutcome
from orchestrator.trial_state import TrialState
from prp_core.evaluation.time_panel import TimePanel


def checked(outcome: TrialOutcome, objective: str, panel: TimePanel | None) -> TrialOutcome:
    """`outcome`, or what stands in its place for a finished trial that may not be one.

    Without a finite `objective` it failed; where it violates the constraint of `panel` it was
    pruned at its last rung, so that it cannot win.
    """
    if outcome.state != TrialState.FINISHED:
        return outcome
    value = outcome.metrics.get(objective, math.nan)
    if not math.isfinite(value):
        reason = f"{objective} is {value} at the end of the trial"
        return TrialOutcome(TrialState.FAILED, reason, outcome.metrics)
    violation = "" if panel is None else panel.violation(outcome.metrics)
    if violation:
        return TrialOutcome(TrialState.PRUNED, violation, outcome.metrics)
    return outcome
