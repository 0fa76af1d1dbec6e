"""The rounds of trials of a sweep: run until none is left, or until no other will end.

A round is a run of Ray Tune. It ends when no trial is left to be started, and also when drivers of
trials died: their trials are handed out again in the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from orchestrator.cost.budget import Admission, Gate


class TrialCounts(Protocol):
    """What the coordinator says between two rounds."""

    def num_over(self) -> int:
        """How many trials have ended."""
        ...

    def gate(self) -> Gate:
        """Whether a new trial may start."""
        ...

    def release_all(self) -> None:
        """No trial has a driver any more."""
        ...

    def close_trials(self, *, is_forced: bool) -> int:
        """How many trials are still to be started; where none is, or `is_forced`, none will be."""
        ...


def run_rounds(counts: TrialCounts, run_round: Callable[[], None]) -> tuple[int, Gate]:
    """Run rounds until no trial is left, the budget lets no other start, or none of a round ends.

    How many trials are left, and the gate that held them: where it is open, they are missing for no
    reason that is known.
    """
    num_before = -1
    while True:
        num_over = counts.num_over()
        gate = counts.gate()
        is_last = num_over == num_before or gate.admission == Admission.STOP
        num_left = counts.close_trials(is_forced=is_last)
        if is_last or not num_left:
            return num_left, gate
        num_before = num_over
        run_round()
        counts.release_all()
