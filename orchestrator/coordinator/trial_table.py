"""The table of a sweep's trials in the coordinator's memory, rebuilt from the study at a start."""

from __future__ import annotations

import math
import time

from orchestrator.config.run_config import RunConfig
from orchestrator.search.record import StudyTrial, study_trial
from orchestrator.search.space import apply_space
from orchestrator.search.study import Proposal, SweepStudy
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState


class TrialTable:
    """What is known of every trial that fitted the corpus.

    The study decides and this table follows: nothing in it outlives the process.
    """

    def __init__(self, study: SweepStudy, base: RunConfig) -> None:
        self._base = base
        self._views: dict[int, TrialView] = {}
        for frozen in study.trials():
            trial = study_trial(frozen)
            if not trial.unfit and trial.is_drawn:
                self._views[trial.number] = view_of(trial, apply_space(base, trial.values))

    def views(self) -> list[TrialView]:
        """Every trial, by number."""
        return [self._views[number] for number in sorted(self._views)]

    def view(self, number: int) -> TrialView:
        """Trial `number`; what is changed in it is changed in the table."""
        return self._views[number]

    def find(self, number: int) -> TrialView | None:
        """Trial `number`; None where there is none."""
        return self._views.get(number)

    def in_state(self, state: TrialState) -> list[TrialView]:
        """The trials in `state`, by number."""
        return [view for view in self.views() if view.state == state]

    def is_running(self, number: int) -> bool:
        """Whether trial `number` has not ended."""
        return self._views[number].state == TrialState.RUNNING

    def config_of(self, number: int) -> RunConfig:
        """The config of trial `number`: the sweep's, with the values that the trial sampled."""
        return apply_space(self._base, self._views[number].values)

    def open(self, proposal: Proposal, num_epochs: int) -> TrialView:
        """Add the trial of `proposal` as running; one that is resumed keeps its rungs."""
        view = self._views.get(proposal.number) or TrialView(proposal.number, proposal.values)
        view.state = TrialState.RUNNING
        view.started = view.started or time.time()
        view.num_epochs = num_epochs
        self._views[proposal.number] = view
        return view


def view_of(trial: StudyTrial, config: RunConfig) -> TrialView:
    """The view of `trial`, which has `config`, as far as the study knows it."""
    epoch = max(trial.rungs, default=0)
    value = trial.value if trial.value is not None else trial.rungs.get(epoch, math.nan)
    return TrialView(
        number=trial.number,
        values=dict(trial.values),
        state=trial.state,
        epoch=epoch,
        num_epochs=config.training.num_epochs,
        objective=value,
        rungs=dict(trial.rungs),
        reason=trial.reason,
        metrics=dict(trial.metrics),
        started=trial.started,
        ended=trial.ended,
    )
