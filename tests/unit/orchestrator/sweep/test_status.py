"""How a sweep stands, told without its driver: the lock, the state, what to do next."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from orchestrator.config.run_config import load_config, to_tree
from orchestrator.config.sweep_spec import SweepSpec, home_dir
from orchestrator.config.typed_command import installed, prp
from orchestrator.journal.lease import LeaseTiming, acquire
from orchestrator.journal.lease_record import LeaseRecord
from orchestrator.journal.lease_watch import LeaseWatch
from orchestrator.journal.process_identity import this_process
from orchestrator.sweep.status import (
    SweepPhase,
    SweepStatus,
    advice,
    summary_rows,
    sweep_phase,
    views_of,
)
from orchestrator.trial_state import TrialState
from prp_core.data.object_store import LocalStore
from tests.unit.orchestrator.report.test_findings import trial

SPEC = SweepSpec(
    sweep_id="rate-search-1",
    config=to_tree(load_config("demo")),
    storage_uri=str(home_dir()),
    tracking_uri="",
    data_uri="",
    manifest_uri="",
    tags={"prp.study": "sweeps/rate_search.py"},
)


@pytest.mark.parametrize(
    ("driver", "num_ended", "parent_state", "expected"),
    [
        ("12", 3, "running", "running"),
        ("12", 8, "running", "running"),  # the winner is being measured
        (None, 8, "finished", "ended"),
        (None, 8, "", "ended"),  # MLflow was not asked
        (None, 8, "killed", "stopped"),  # between the last trial and the winner
        (None, 8, "running", "stopped"),  # kill -9 there
        (None, 3, "killed", "stopped"),
        (None, 3, "finished", "stopped"),  # it was extended, and not started yet
        (None, 0, "", "stopped"),
    ],
)
def test_the_state_of_a_sweep(
    driver: str | None, num_ended: int, parent_state: str, expected: str
) -> None:
    assert (
        sweep_phase(driver=driver, num_ended=num_ended, num_trials=8, parent_state=parent_state)
        == expected
    )


def test_a_budget_ends_a_sweep_before_its_last_trial() -> None:
    states = {
        parent: sweep_phase(
            driver=None, num_ended=3, num_trials=8, parent_state=parent, has_budget=True
        )
        for parent in ("finished", "killed", "")
    }
    assert states == {"finished": "ended", "killed": "stopped", "": "stopped"}
    assert advice(SPEC, SweepPhase.ENDED, None, is_whole=False) == (
        f"its budget is spent; to continue with a larger one: {installed('python')} "
        "sweeps/rate_search.py --resume rate-search-1; "
        f"report: {prp('report rate-search-1')}"
    )


def test_a_driver_is_known_by_its_lease(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert LeaseWatch(store).holder() is None
    with acquire(store, "Sweep s"):
        holder = LeaseWatch(store).holder()
        assert holder is not None and holder.pid == os.getpid()
    assert LeaseWatch(store).holder() is None, "it was given up"


def test_a_driver_of_another_machine_is_alive_while_it_renews(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    process = dataclasses.replace(this_process(), machine="another", host="there")
    record = LeaseRecord(process, 1, "token", 0.0)
    store.write("lease.json", record.to_bytes())
    now = [0.0]
    renews = [True]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if renews[0]:
            there = dataclasses.replace(record, num_renewals=int(now[0] * 10))
            store.write("lease.json", there.to_bytes())

    timing = LeaseTiming(clock=lambda: now[0], sleep=sleep)
    watch = LeaseWatch(store, timing=timing)
    assert watch.holder() == process
    renews[0] = False
    now[0] += 11
    assert watch.holder() == process, "it may be late"
    now[0] += 12
    assert watch.holder() is None
    assert LeaseWatch(store, timing=timing).holder() is None, "the first look waits, in vain"


def test_what_to_do_next() -> None:
    assert advice(SPEC, SweepPhase.RUNNING, "me@here, process 4711") == (
        "driven by me@here, process 4711"
    )
    paused = advice(SPEC, SweepPhase.RUNNING, "me@here, process 4711", paused="paused by anna")
    assert paused.endswith(f"4711; paused by anna: {prp('continue rate-search-1')}")
    assert advice(SPEC, SweepPhase.ENDED, None) == f"report: {prp('report rate-search-1')}"
    asked = advice(SPEC, SweepPhase.ENDED, None, num_asked=2)
    assert asked == (
        f"2 requests wait for its next start: {installed('python')} sweeps/rate_search.py --resume "
        "rate-search-1"
    )
    resume = f"resume with: {installed('python')} sweeps/rate_search.py --resume rate-search-1"
    assert advice(SPEC, SweepPhase.STOPPED, None) == f"its driver is no longer running; {resume}"
    old = dataclasses.replace(SPEC, tags={})
    assert "sweeps/YOUR_STUDY.py --resume" in advice(old, SweepPhase.STOPPED, None)


def test_a_trial_that_nobody_drives_waits() -> None:
    status = SweepStatus(
        sweep_id="rate-search-1",
        phase=SweepPhase.STOPPED,
        driver=None,
        num_trials=8,
        objective="retrieval/recall_at_1",
        trials=(trial(0, "1-2", 0.5), trial(1, "1-4", 0.25, TrialState.RUNNING)),
        started=100.0,
        advice="resume",
        cost="cost 2 of 3 GPU-hours",
        protocol="1a2b3c4d5e6f",
    )
    assert [(view.state, view.epoch, view.objective) for view in views_of(status)] == [
        ("finished", 12, 0.5),
        ("waiting", 3, 0.25),
    ]
    assert summary_rows([status]) == [
        ["rate-search-1", "stopped", "1/8", "0.500 (1a2b3c4d5e6f)", "2 of 3 GPU-hours", "resume"]
    ]
    driven = dataclasses.replace(status, driver="12")
    assert [view.state for view in views_of(driven)] == ["finished", "running"]
