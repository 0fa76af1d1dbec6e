"""Asynchronous evaluation: which rungs are started when."""

from __future__ import annotations

import pytest

from orchestrator.coordinator.evaluation_queue import EvaluationQueue, next_rungs
from orchestrator.trial.messages import Rung


def rung(number: int, epoch: int, at: float = 0.0) -> Rung:
    return Rung(number, epoch, 10 * epoch, f"trials/{number}/rungs/{epoch}.pt", epoch == 4, at)


@pytest.mark.parametrize(
    ("what", "waiting", "running", "limit", "started"),
    [
        ("first come, first served", [rung(2, 1, 5.0), rung(1, 1, 3.0)], [], 1, [(1, 1)]),
        ("as many as may", [rung(2, 1, 5.0), rung(1, 1, 3.0)], [], 4, [(1, 1), (2, 1)]),
        (
            "of one trial the lower rung first, alone",
            [rung(1, 2, 1.0), rung(1, 1, 2.0)],
            [],
            4,
            [(1, 1)],
        ),
        ("one of a trial at a time", [rung(1, 2, 1.0), rung(2, 1, 2.0)], [rung(1, 1)], 4, [(2, 1)]),
        ("the places are taken", [rung(2, 1)], [rung(1, 1)], 1, []),
        ("nothing waits", [], [rung(1, 1)], 4, []),
    ],
)
def test_what_is_started(
    what: str, waiting: list[Rung], running: list[Rung], limit: int, started: list[tuple[int, int]]
) -> None:
    assert [(one.number, one.epoch) for one in next_rungs(waiting, running, limit)] == started, what


def test_a_queue_without_work_does_nothing() -> None:
    queue = EvaluationQueue(lambda one: pytest.fail("nothing is there to start"), 1)
    queue.start_next()
    assert queue.collect() == []
