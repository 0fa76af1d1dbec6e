"""A sweep's driver killed with SIGKILL at random times and resumed until the sweep ends.

Run it with ``uv run pytest -s -m campaign tests/campaigns/test_kill_driver.py``. ``PRP_NUM_KILLS=3
PRP_NUM_TRIALS=2 PRP_TEST_SLOW=`` makes a short one of it, ``PRP_KILL_SEED=5`` another.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.cost.ledger import total, total_of_trial
from tests.journals import ledger_of
from tests.tools.study_process import TINY_PRESET, StudyProcess, rung_rows, trial_rows

NUM_KILLS = int(os.environ.get("PRP_NUM_KILLS", "20"))
SEED = int(os.environ.get("PRP_KILL_SEED", "0"))
NUM_TRIALS = int(os.environ.get("PRP_NUM_TRIALS", "14"))
# Drivers live this long: from a process that has hardly begun to one that is in the middle of its
# trials.
SHORTEST_SECONDS, LONGEST_SECONDS = 2.0, 90.0
SLOW = {"PRP_TEST_SLOW": os.environ.get("PRP_TEST_SLOW", "1000")}
RUNGS = [1, 2, 4, 8, 16, 24] if SLOW["PRP_TEST_SLOW"] else [1, 2, 4]

MLFLOW_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED"}


def runs_by_trial(home: Path) -> tuple[list[Run], dict[int, list[Run]]]:
    """MLflow's parent runs, and the runs of each trial."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    parents: list[Run] = []
    trials: dict[int, list[Run]] = {}
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        if "prp.trial" in run.data.tags:
            trials.setdefault(int(run.data.tags["prp.trial"]), []).append(run)
        elif run.data.tags["prp.role"] == "sweep":
            parents.append(run)
    return parents, trials


def ended_trials(home: Path, sweep_id: str) -> dict[int, tuple[str, float | None]]:
    """State and value of the trials that have ended; empty while there is no database to speak
    of.
    """
    try:
        return {
            number: (state, value)
            for number, state, value in trial_rows(home, sweep_id)
            if state != "RUNNING"
        }
    except sqlite3.OperationalError:
        return {}


@pytest.mark.campaign
@pytest.mark.timeout(6 * 3600)
def test_a_driver_that_is_killed_again_and_again(tmp_path: Path, tiny_videos: Path) -> None:
    draw = random.Random(SEED)
    first_words = [
        "--preset",
        str(TINY_PRESET),
        "--data",
        str(tiny_videos),
        "--trials",
        str(NUM_TRIALS),
    ]
    sweep_id, num_kills, ended = "", 0, dict[int, tuple[str, float | None]]()
    while True:
        words = ["--resume", sweep_id] if sweep_id else first_words
        with StudyProcess(tmp_path, words, SLOW) as study:
            if not sweep_id:
                study.wait_for("trial 0 running")
                sweep_id = study.sweep_id
            lifetime = draw.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)
            deadline = time.monotonic() + lifetime
            while (
                num_kills < NUM_KILLS
                and time.monotonic() < deadline
                and study.process.poll() is None
            ):
                time.sleep(0.05)
            if num_kills >= NUM_KILLS or study.process.poll() is not None:
                assert study.wait(3 * 3600) == 0, study.output[-4000:]
                assert study.left_behind() == []
                break
            study.kill()
            num_kills += 1
            assert study.left_behind() == [], "what a killed driver started ends by itself"
        now = ended_trials(tmp_path, sweep_id)
        sys.stdout.write(
            f"kill {num_kills} of {NUM_KILLS} after {lifetime:.1f} s; ended so far: {sorted(now)}\n"
        )
        assert ended.items() <= now.items(), (
            "a trial that has ended stays as it ended, and is not run again"
        )
        ended = now
    sys.stdout.write(f"the sweep ended after {num_kills} kills\n")
    _check_the_end(tmp_path, sweep_id)


def _check_the_end(home: Path, sweep_id: str) -> None:
    rows = trial_rows(home, sweep_id)
    assert len(rows) == NUM_TRIALS, "no trial is lost and none is added"
    states = {number: state for number, state, _ in rows}
    assert set(states.values()) <= {"COMPLETE", "PRUNED"}, states
    rungs = Counter((number, epoch) for number, epoch, _ in rung_rows(home, sweep_id))
    assert set(rungs.values()) == {1}
    for number, state in states.items():
        if state == "COMPLETE":
            assert [epoch for trial, epoch in sorted(rungs) if trial == number] == RUNGS
    parents, runs = runs_by_trial(home)
    assert [run.info.status for run in parents] == ["FINISHED"]
    assert {number: len(found) for number, found in runs.items()} == dict.fromkeys(states, 1), (
        "one MLflow run for each trial"
    )
    assert {number: found[0].info.status for number, found in runs.items()} == {
        number: MLFLOW_STATUS[state] for number, state in states.items()
    }
    for number, state, value in rows:
        if state == "COMPLETE":
            assert runs[number][0].data.metrics["retrieval/recall_at_1"] == pytest.approx(value)
    entries = ledger_of(home, sweep_id)
    assert {entry.trial for entry in entries if entry.kind == "train"} == set(states), (
        "the ledger knows every trial"
    )
    for number in states:
        slices = sorted(
            (entry.started, entry.ended)
            for entry in entries
            if entry.owner == ("train", number, None)
        )
        assert all(one[1] <= two[0] for one, two in pairwise(slices)), "no second is counted twice"
        assert runs[number][0].data.metrics["cost/cpu_hours"] == pytest.approx(
            total_of_trial(entries, number).cpu_hours
        )
    assert parents[0].data.metrics["cost/cpu_hours"] == pytest.approx(total(entries).cpu_hours)
