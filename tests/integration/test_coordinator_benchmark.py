"""The benchmark of the coordinator opens the sweep that it made and times every call."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from optuna.trial import TrialState

from benchmarks.coordinator.figures import measure
from benchmarks.coordinator.large_sweep import make_sweep, space
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.cost.ledger import read_ledger
from orchestrator.journal.stored_sweep import open_journal, read_journal
from orchestrator.search.journal_backend import open_study_storage
from orchestrator.search.study import SweepStudy


def study_in(spec: SweepSpec) -> SweepStudy:
    """The study of the sweep of `spec`, opened."""
    storage = open_study_storage(open_journal(spec))
    return SweepStudy(storage, spec.sweep_id, space, seed=0, num_startup_trials=0)


def test_a_small_sweep_is_made_opened_and_timed(
    tmp_path: Path, empty_mlflow_database: Path
) -> None:
    setup = make_sweep(tmp_path / "sweep", num_trials=20, num_running=3, entries_per_trial=4)
    shutil.copy(empty_mlflow_database, tmp_path / "sweep" / "mlflow.db")
    study = study_in(setup.spec)
    states = [trial.state for trial in study.trials()]
    assert states.count(TrialState.RUNNING) == 3 and len(states) == 23
    assert states.count(TrialState.PRUNED) > states.count(TrialState.COMPLETE) > 0
    assert len(read_ledger(read_journal(setup.spec))) == 23 * 4
    figures = measure(setup, num_running=3)
    assert all(math.isfinite(one.median) and one.line().count("|") == 6 for one in figures)
    assert {"ask, a new trial", "rung decision", "screen: cost line"} <= {
        one.what for one in figures
    }
    again = study_in(setup.spec)
    assert len(again.trials()) >= 23 + 5, "new trials were asked for"
    run = [trial for trial in again.trials() if "unfit" not in trial.user_attrs]
    assert all(1 in trial.intermediate_values for trial in run), "each was at its first rung"
