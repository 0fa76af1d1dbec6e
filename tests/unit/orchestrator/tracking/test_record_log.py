"""The record log: what it holds while the storage is away, and what of a point is new."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.object_journal import JournalReader
from orchestrator.tracking.record_log import EVERY_STEP, RECORD, RecordLog
from orchestrator.tracking.recorded import Recorded, RunEnd, record
from orchestrator.tracking.run_names import (
    SWEEP_RUN,
    confirm_run,
    identity_of,
    run_of_tags,
    title_of,
    trial_run,
)
from prp_core.data.object_store import LocalStore, ObjectInfo
from prp_core.errors import StoreUnavailable

RUN = trial_run(7)


class AwayStore(LocalStore):
    """A folder that cannot be reached while `is_away`."""

    is_away = False

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        self._check()
        return super().list(prefix, after=after)

    def write(self, key: str, data: bytes | Path, **conditions: Any) -> ObjectInfo:
        self._check()
        return super().write(key, data, **conditions)

    def _check(self) -> None:
        if self.is_away:
            raise StoreUnavailable("no route to the store")


def log_over(store: LocalStore) -> RecordLog:
    return RecordLog(
        lambda: JournalWriter(store, "records/", epoch=1, holder="test"), gather_seconds=0.01
    )


def stored(folder: Path) -> list[dict[str, Any]]:
    return JournalReader(LocalStore(folder), "records/").read(RECORD)


def test_while_the_storage_is_away_records_wait_in_memory(tmp_path: Path) -> None:
    store = AwayStore(tmp_path)
    store.is_away = True
    log = log_over(store)
    log.add(record("start", RUN, params={}, tags={}))
    held = log.add_points(RUN, {"loss": 0.5}, 10)
    assert (held.holder, held.durable_step) == (log.holder, 9)
    assert not log.flush(0.5)
    assert (log.problem, log.num_waiting) == ("no route to the store", 2)
    store.is_away = False
    assert log.flush(30)
    assert log.held(RUN).durable_step == EVERY_STEP and log.num_waiting == 0
    store.is_away = True
    assert log.add_points(RUN, {"loss": 0.4}, 20).durable_step == 19
    assert not log.flush(0.5)
    store.is_away = False
    assert log.close(30)
    assert [(one["what"], one.get("step")) for one in stored(tmp_path)] == [
        ("start", None),
        ("points", 10),
        ("points", 20),
    ]


def test_the_next_log_knows_the_points_and_takes_no_second_value(tmp_path: Path) -> None:
    first = log_over(LocalStore(tmp_path))
    first.add_points(RUN, {"loss": 0.5, "rate": 1.0}, 10)
    first.add_points(RUN, {"loss": 0.3}, 30)
    first.add_points(RUN, {"bad": float("nan")}, 30)
    assert first.close(30)
    second = log_over(LocalStore(tmp_path))
    second.add_points(RUN, {"loss": 9.9, "rate": 9.9, "late": 1.0}, 10)
    second.add_points(RUN, {"loss": 0.4}, 20)
    second.add_points(RUN, {"bad": float("inf")}, 40)
    assert second.close(30)
    points = [(one["step"], one["metrics"]) for one in stored(tmp_path) if one["what"] == "points"]
    assert points[2:] == [(10, {"late": 1.0}), (20, {"loss": 0.4})]
    tags = [one["tags"] for one in stored(tmp_path) if one["what"] == "tags"]
    assert tags == [{"prp.nonfinite.bad": "nan at step 30"}]
    assert second.recorded.counters.as_metrics() == {
        "tracking/accepted_points": 2,
        "tracking/repeated_points": 2,
        "tracking/nonfinite_points": 1,
        "tracking/dropped_points": 0,
    }


def test_a_log_that_was_replaced_writes_nothing_more(tmp_path: Path) -> None:
    old = log_over(LocalStore(tmp_path))
    assert old.flush(30)
    new = log_over(LocalStore(tmp_path))
    assert new.flush(30)
    old.add_points(RUN, {"loss": 1.0}, 1)
    assert not old.flush(30)
    assert "may not append any more" in old.fenced
    assert stored(tmp_path) == []
    assert new.close(30)


def test_what_is_said_of_all_runs_ends_the_parent_as_said_and_calls_the_others_killed() -> None:
    recorded = Recorded()
    recorded.add(
        [
            record("start", SWEEP_RUN, params={}, tags={}),
            record("start", RUN, params={}, tags={}),
            record("start", trial_run(8), params={}, tags={}),
            record("end", trial_run(8), state="finished", reason=""),
            record("end_all", state="failed", reason="why"),
        ]
    )
    assert recorded.ends == {
        SWEEP_RUN: RunEnd("failed", "why"),
        RUN: RunEnd("killed", "why"),
        trial_run(8): RunEnd("finished", ""),
    }


@pytest.mark.parametrize(
    ("run", "title", "tags"),
    [
        (SWEEP_RUN, "demo-1", {"prp.role": "sweep"}),
        (RUN, "trial-0007", {"prp.role": "trial", "prp.trial": "7"}),
        (
            confirm_run(7, 633),
            "confirm-0007-seed-633",
            {"prp.role": "confirm", "prp.confirm_of": "7", "prp.seed": "633"},
        ),
    ],
)
def test_a_run_has_a_name_a_title_and_tags_to_find_it_by(
    run: str, title: str, tags: dict[str, str]
) -> None:
    assert title_of("demo-1", run) == title
    assert identity_of("demo-1", run) == {"prp.sweep_id": "demo-1", **tags}
    assert run_of_tags(tags) == run
