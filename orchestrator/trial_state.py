"""The states of a trial, as the study, the report and the screen name them."""

from __future__ import annotations

from enum import StrEnum


class TrialState(StrEnum):
    """The state of a trial.

    The values are stored: in the study, in MLflow's tag ``prp.state`` and in reports.
    """

    RUNNING = "running"
    """Asked for and not told yet: it is training, or its workers are being started."""

    WAITING = "waiting"
    """Not told yet, and no driver is running; `--resume` continues it from its checkpoint."""

    FINISHED = "finished"
    """Trained to its last epoch and evaluated there."""

    PRUNED = "pruned"
    """Stopped at a rung by a pruning decision or by the budget; the rung's value is its result."""

    FAILED = "failed"
    """Ended without a result; the reason says why."""

    @property
    def is_over(self) -> bool:
        """Whether the trial has ended, whichever way."""
        return self in ENDED


ENDED = (TrialState.FINISHED, TrialState.PRUNED, TrialState.FAILED)
