"""A whole sweep whose study is in PostgreSQL, which is restarted and crashes in mid-sweep."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import optuna
import pytest

from orchestrator.search.database import open_database
from tests.e2e.disturbed_sweep import run_statuses
from tests.fixtures_postgres import PostgresServer
from tests.tools.study_process import TINY_PRESET, StudyProcess

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]
SECONDS_AWAY = 15.0


def test_a_sweep_goes_on_when_its_database_is_restarted_and_when_it_crashes(
    tmp_path: Path, tiny_videos: Path, postgres: PostgresServer
) -> None:
    words = ["--preset", str(TINY_PRESET), "--data", str(tiny_videos), "--trials", "1"]
    words += ["--sweep", "one", "--storage", str(tmp_path), "--database", postgres.url]
    words += ["--mlflow", f"sqlite:///{tmp_path / 'mlflow.db'}"]
    for setting in ("sweep.pruner=none", "showcase.num_trials=0", "sweep.sampler=random"):
        words += ["--set", setting]
    with StudyProcess(tmp_path / "home", words, {"PRP_TEST_SLOW": "1"}) as study:
        for epoch, how in ((1, signal.SIGINT), (4, signal.SIGQUIT)):
            study.wait_for(rf"trial 0 running at epoch {epoch}/24, retrieval")
            postgres.stop(how)
            time.sleep(SECONDS_AWAY)
            postgres.start()
            sys.stdout.write(f"{how.name}: away for {SECONDS_AWAY:.0f} s and back\n")
        assert study.wait() == 0, study.output[-4000:]
        assert study.left_behind() == []
        assert "Traceback" not in study.output
    trials = optuna.load_study(study_name="one", storage=open_database(postgres.url)).trials
    assert [trial.state.name for trial in trials if "unfit" not in trial.user_attrs] == ["COMPLETE"]
    rungs = [1, 2, 4, 8, 16, 24]
    assert all(sorted(trial.intermediate_values) == rungs for trial in trials if trial.values)
    assert set(run_statuses(tmp_path).values()) == {"FINISHED"}
