"""Baselines are measured while the last trials train, once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray

from orchestrator.cost.budget import Admission, Gate
from orchestrator.sweep import early_baselines
from orchestrator.sweep.early_baselines import BASELINES, EarlyBaselines
from orchestrator.sweep.end_parts import EndParts
from orchestrator.trial.run_trials import CoordinatorSearcher


def remote(function: Any) -> Any:
    """An actor's method that answers at once."""
    return SimpleNamespace(remote=function)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> EndParts:
    notes: dict[str, str] = {}

    def note(name: str, text: str | None = None) -> str | None:
        if text is not None:
            notes[name] = text
        return notes.get(name)

    monkeypatch.setattr("ray.get", lambda answer, **_: answer)
    recorder: Any = SimpleNamespace(note=remote(note))
    return EndParts(recorder, print)


@pytest.fixture
def early(parts: EndParts, monkeypatch: pytest.MonkeyPatch) -> EarlyBaselines:
    tasks = iter(("the first task", "the second task"))
    monkeypatch.setattr(early_baselines, "measure_baselines", lambda spec: next(tasks))
    spec: Any = None
    return EarlyBaselines(spec, parts)


def test_one_task_is_started_however_often_the_last_trials_leave_room(
    early: EarlyBaselines,
) -> None:
    early.begin()
    early.begin()
    assert early.future() == early.future() == "the first task"


def test_a_task_that_was_lost_is_started_again_at_the_end(
    early: EarlyBaselines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(future: Any, **_: Any) -> Any:
        raise ray.exceptions.WorkerCrashedError

    def under_way(future: Any, **_: Any) -> Any:
        raise ray.exceptions.GetTimeoutError

    early.begin()
    monkeypatch.setattr("ray.get", under_way)
    assert early.future() == "the first task"
    monkeypatch.setattr("ray.get", lost)
    assert early.future() == "the second task"


def test_none_is_started_early_where_the_result_is_kept(
    early: EarlyBaselines, parts: EndParts
) -> None:
    parts.keep(BASELINES, {"baseline/random_init/retrieval/recall_at_1": 0.2})
    early.begin()
    parts.keep(BASELINES, None)  # the result is lost: the end of the sweep starts the task
    assert early.future() == "the first task"


def test_idle_is_a_place_for_one_more_trial_and_no_trial_that_waits_for_it(
    early: EarlyBaselines,
) -> None:
    to_start = [1, 0, 0, 0]
    idle: list[int] = []
    desk: Any = SimpleNamespace(
        num_waiting=remote(lambda: 0),
        num_to_start=remote(lambda: to_start[0]),
        num_left=remote(lambda: len(to_start) - 1),
        gate=remote(lambda: Gate(Admission.START)),
        choose=remote(lambda slot: True),
        ask=remote(lambda slot: "a task"),
    )
    limits = iter((2, 1, 2, 2))
    clock = iter(range(100))
    searcher = CoordinatorSearcher(
        desk, lambda: next(limits), lambda: idle.append(len(to_start)), lambda: next(clock)
    )
    assert searcher.suggest("a") == {"task": "a task"} and not idle
    to_start.pop(0)
    assert searcher.suggest("b") is None and not idle, "the cluster is full"
    assert searcher.suggest("b") is None and idle == [3]
    searcher.on_trial_complete("a")
    del to_start[1:]
    assert searcher.suggest("b") == CoordinatorSearcher.FINISHED and idle == [3]
