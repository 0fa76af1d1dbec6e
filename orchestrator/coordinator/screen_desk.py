"""The screen desk: what the live screen shows, asked twice a second while trials run."""

from __future__ import annotations

from orchestrator.coordinator.steering_notes import PAUSED
from orchestrator.coordinator.sweep_state import SweepState
from orchestrator.trial.messages import TrialView


class ScreenDesk:
    """Reads and changes nothing."""

    def __init__(self, state: SweepState) -> None:
        self._table = state.table
        self._account = state.account
        self._study = state.study

    def views(self) -> list[TrialView]:
        """Every trial that fitted this corpus, by number."""
        return self._table.views()

    def status_line(self) -> str:
        """What was spent so far, and who paused the sweep, if anybody did."""
        paused = self._study.sweep_note(PAUSED)
        return " · ".join(filter(None, [self.cost_line(), paused]))

    def cost_line(self, *, is_over: bool = False) -> str:
        """What was spent, of what budget, in one phrase; `is_over`: nothing is kept for the end."""
        return self._account.cost_line(is_over=is_over)
