"""The benchmark of the coordinator opens the sweep that it made and times every call."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from optuna.trial import TrialState

from benchmarks.coordinator.figures import measure
from benchmarks.coordinator.large_sweep import make_sweep, space
from orchestrator.cost.ledger import Ledger
from orchestrator.search.study import SweepStudy


def test_a_small_sweep_is_made_opened_and_timed(
    tmp_path: Path, empty_mlflow_database: Path
) -> None:
    setup = make_sweep(tmp_path / "sweep", num_trials=20, num_running=3, entries_per_trial=4)
    shutil.copy(empty_mlflow_database, tmp_path / "sweep" / "mlflow.db")
    url = setup.spec.database_url
    study = SweepStudy(url, setup.spec.sweep_id, space, seed=0, num_startup_trials=0)
    states = [trial.state for trial in study.trials()]
    assert states.count(TrialState.RUNNING) == 3 and len(states) == 23
    assert states.count(TrialState.PRUNED) > states.count(TrialState.COMPLETE) > 0
    assert len(Ledger(tmp_path / "sweep" / "state" / "ledger.jsonl")) == 23 * 4
    figures = measure(setup, num_running=3)
    assert all(math.isfinite(one.median) and one.line().count("|") == 6 for one in figures)
    assert {"ask, a new trial", "rung decision", "screen: cost line"} <= {
        one.what for one in figures
    }
    again = SweepStudy(url, setup.spec.sweep_id, space, seed=0, num_startup_trials=0)
    assert len(again.trials()) >= 23 + 5, "new trials were asked for"
    run = [trial for trial in again.trials() if "unfit" not in trial.user_attrs]
    assert all(1 in trial.intermediate_values for trial in run), "each was at its first rung"
