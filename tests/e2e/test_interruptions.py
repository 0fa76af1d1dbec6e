"""A sweep that is interrupted, killed and driven twice loses nothing and repeats nothing."""

from __future__ import annotations

from collections import Counter

import pytest

from orchestrator.report.record import BASELINE_TITLES
from tests.e2e.disturbed_sweep import RUNGS_OF_FIRST, Swept, name_of, runs_at
from tests.tools.study_process import rung_rows, trial_rows

pytestmark = pytest.mark.timeout(1800)  # the first test runs the sweep


def test_ctrl_c_closes_the_runs_and_says_how_to_go_on(swept: Swept) -> None:
    seen = swept.interrupted
    assert seen.exit_code == 130, seen.output[-3000:]
    assert f"--resume {swept.sweep_id}" in seen.output
    assert seen.left_behind == []
    assert (seen.statuses["parent"], seen.statuses["0"]) == ("KILLED", "KILLED")
    assert set(seen.statuses.values()) <= {"KILLED", "FAILED"}, "one of the trials diverges"
    assert seen.states[0] == "RUNNING", "an interrupted trial is still to be finished"
    assert set(seen.states.values()) <= {"RUNNING", "FAIL"}
    assert [epoch for number, epoch, _ in seen.rungs if number == 0][:1] == [1]


def test_a_second_driver_is_refused_and_told_of_the_first(swept: Swept) -> None:
    assert swept.rival.exit_code == 3
    assert f"Sweep {swept.sweep_id} has a driver: " in swept.rival.output
    assert f"process {swept.rival.driver}, since" in swept.rival.output


def test_nothing_is_lost_and_nothing_runs_twice(swept: Swept) -> None:
    rows = trial_rows(swept.home, swept.sweep_id)
    assert len(rows) == 4, "the three and one more"
    assert rows[0][:2] == (0, "COMPLETE"), "the interrupted one"
    finished = rung_rows(swept.home, swept.sweep_id)
    assert set(swept.interrupted.rungs) <= set(finished), (
        "what was reported before the interruptions stands"
    )
    assert set(Counter((number, epoch) for number, epoch, _ in finished).values()) == {1}
    assert [epoch for number, epoch, _ in finished if number == 0] == RUNGS_OF_FIRST


def test_each_trial_has_one_run_and_none_is_left_running(swept: Swept) -> None:
    """Also though the coordinator and the driver of a trial were killed."""
    _, runs = runs_at(swept.home)
    names = sorted(name_of(run) for run in runs)
    assert names == sorted(["0", "1", "2", "3", "parent", *BASELINE_TITLES])
    assert {run.info.status for run in runs} == {"FINISHED", "FAILED"}, "one trial diverges"
    assert "missing" not in swept.output


def test_no_process_outlives_its_driver(swept: Swept) -> None:
    assert swept.left_behind == {"ended": [], "killed": []}, "Ray's agents stay for a minute"


def test_no_process_beside_the_workers_loads_torch(swept: Swept) -> None:
    assert swept.with_torch == [], "it costs each of them some 300 MB"


def test_workers_are_forked_also_after_their_server_was_killed(swept: Swept) -> None:
    killed, then = swept.fork_servers
    assert len(killed) == len(then) == 1 and killed != then
