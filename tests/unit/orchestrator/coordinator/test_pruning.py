"""Pruning decisions by the rule and by the budget, over a real study and a real account."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.run_config import RunConfig, with_values
from orchestrator.coordinator.outcome_checks import checked
from orchestrator.coordinator.pruning import Pruning
from orchestrator.cost.account import SweepAccount, trial_owner
from orchestrator.search.pruner import PruningRule
from orchestrator.search.space import Fit
from orchestrator.search.study import SweepStudy
from orchestrator.trial.messages import TrialOutcome
from orchestrator.trial_state import TrialState
from prp_core.evaluation.time_panel import SHARE_NEEDING_TIME, TimePanel
from tests.journals import journal_in

NO_BUDGET: dict[str, float] = {}
ONE_RUNG = {"budget.cpu_hours": 2 / 3600}  # of one CPU: an epoch takes a second below


def _space(trial: Any) -> None:
    trial.suggest_float("pretext.playback_rate.loss_weight", 0.01, 10.0, log=True)


def pruning_of(
    folder: Path, scores: list[float], budget: dict[str, float]
) -> tuple[Pruning, SweepStudy]:
    """One running trial for each of `scores`, its value after the first of four epochs; the last of
    them has taken a second.
    """
    config = with_values(
        RunConfig(), {"training.num_epochs": 4, "training.first_rung_epochs": 1, **budget}
    )
    study = SweepStudy(None, "sweep", _space, seed=1, num_startup_trials=4)
    now = [0.0]
    account = SweepAccount(journal_in(folder), config, None, lambda number: config, lambda: now[0])
    for value in scores:
        number = study.ask(lambda values: Fit(True, "")).number
        study.report(number, 1, value)
    account.on_requested(trial_owner(number), config)
    account.on_started(trial_owner(number))
    now[0] = 1.0
    account.on_rung(trial_owner(number), 1)
    return Pruning(study, account, PruningRule("asha", 2)), study


@pytest.mark.parametrize(
    ("last", "budget", "goes_on", "words"),
    [
        (0.5, NO_BUDGET, True, "0.5000 >= 0.5000"),
        (0.2, NO_BUDGET, False, "0.2000 < 0.4000"),
        (0.5, ONE_RUNG, False, "budget: "),
        (0.2, ONE_RUNG, False, "0.2000 < 0.4000"),
    ],
    ids=["best", "worse", "best but unpaid", "worse and unpaid"],
)
def test_a_trial_goes_on_when_the_rule_and_the_budget_let_it(
    tmp_path: Path, last: float, budget: dict[str, float], goes_on: bool, words: str
) -> None:
    pruning, study = pruning_of(tmp_path, [0.4, last], budget)
    decision = pruning.decide(1, 1, 4)
    assert (decision.go_on, words in decision.reason) == (goes_on, True), decision.reason
    assert study.pruned_at(1) == (None if goes_on else 1)
    assert pruning.decide(1, 1, 4) == decision, "the same when asked again"


FINISHED, FAILED, PRUNED = TrialState.FINISHED, TrialState.FAILED, TrialState.PRUNED


@pytest.mark.parametrize(
    ("state", "metrics", "expected"),
    [
        (FINISHED, {"recall": 0.5}, (FINISHED, "")),
        (FINISHED, {"recall": math.inf}, (FAILED, "recall is inf at the end of the trial")),
        (FINISHED, {}, (FAILED, "recall is nan at the end of the trial")),
        (PRUNED, {}, (PRUNED, "")),
    ],
)
def test_a_trial_without_a_finite_objective_has_failed(
    state: TrialState, metrics: dict[str, float], expected: tuple[TrialState, str]
) -> None:
    outcome = checked(TrialOutcome(state, "", metrics), "recall", None)
    assert (outcome.state, outcome.reason) == expected
    assert outcome.metrics == metrics


@pytest.mark.parametrize(
    ("share", "state", "reason"),
    [
        (0.31, FINISHED, ""),
        (
            0.29,
            PRUNED,
            "0.290 of its recall needs time, less than the 0.3 of "
            "evaluation.time_panel.least_share",
        ),
        (None, FINISHED, ""),
    ],
)
def test_a_trial_whose_recall_does_not_need_time_cannot_win(
    share: float | None, state: TrialState, reason: str
) -> None:
    metrics = {"recall": 0.5} | ({} if share is None else {SHARE_NEEDING_TIME: share})
    panel = TimePanel(least_share=0.3)
    outcome = checked(TrialOutcome(FINISHED, "", metrics), "recall", panel)
    assert (outcome.state, outcome.reason) == (state, reason)
