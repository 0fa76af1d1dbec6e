"""The points that a worker keeps until the storage has them: lost answers, restarted holders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.tracking.record_log import EVERY_STEP, PointsHeld
from orchestrator.trial.pending_points import NOBODY, OUTDATED, PendingPoints, Poll
from prp_core.reporting import Points


@dataclass
class Calls:
    """The calls of a `PendingPoints`: the points of each, and its answer, which the test gives."""

    sent: list[Points] = field(default_factory=list)
    answers: dict[int, PointsHeld] = field(default_factory=dict)

    def pending(self) -> PendingPoints:
        return PendingPoints(self._send, self._send_again)

    def _send(self, metrics: Mapping[str, float], step: int) -> Poll:
        return self._send_again([(step, dict(metrics))])

    def _send_again(self, points: Points) -> Poll:
        number = len(self.sent)
        self.sent.append(points)
        return lambda: self.answers.get(number)


def steps(points: Points) -> list[int]:
    return [step for step, _ in points]


def test_points_stay_until_the_storage_is_said_to_have_them() -> None:
    calls = Calls()
    pending = calls.pending()
    for step in (10, 20, 30):
        pending.add({"loss": 0.5}, step)
    assert steps(pending.as_points()) == [10, 20, 30], "no answer came yet"
    calls.answers[0] = PointsHeld("a", 9)
    calls.answers[1] = PointsHeld("a", 10)
    assert steps(pending.as_points()) == [20, 30]
    pending.add({"rate": 1}, 30)
    calls.answers[2] = PointsHeld("a", 29)
    assert pending.as_points() == [(30, {"loss": 0.5}), (30, {"rate": 1.0})]
    calls.answers[3] = PointsHeld("a", EVERY_STEP)
    assert pending.as_points() == []
    assert [steps(one) for one in calls.sent] == [[10], [20], [30], [30]], "nothing twice"


def test_an_answer_says_nothing_of_what_was_sent_after_its_question() -> None:
    calls = Calls()
    pending = calls.pending()
    pending.add({"loss": 1.0}, 10)
    pending.add({"late": 1.0}, 10)
    calls.answers[0] = PointsHeld("a", EVERY_STEP)
    assert pending.as_points() == [(10, {"late": 1.0})]


def test_a_lost_call_is_repeated() -> None:
    calls = Calls()
    pending = calls.pending()
    pending.add({"loss": 1.0}, 10)
    calls.answers[0] = NOBODY
    pending.add({"loss": 0.9}, 20)
    assert [steps(one) for one in calls.sent] == [[10], [10], [20]]
    calls.answers[1] = calls.answers[2] = PointsHeld("a", EVERY_STEP)
    assert pending.as_points() == []


def test_what_a_holder_had_in_memory_is_sent_to_the_one_that_replaced_it() -> None:
    calls = Calls()
    pending = calls.pending()
    pending.add({"loss": 1.0}, 10)
    pending.add({"loss": 0.9}, 20)
    calls.answers = {0: PointsHeld("a", 9), 1: PointsHeld("a", 9)}
    pending.add({"loss": 0.8}, 30)
    calls.answers[2] = PointsHeld("b", EVERY_STEP)
    assert steps(pending.as_points()) == [10, 20], "b has what it was given, not what a was given"
    assert steps(calls.sent[-1]) == [10, 20]
    calls.answers[3] = PointsHeld("b", EVERY_STEP)
    assert pending.flush(10)


def test_a_resumed_run_sends_what_its_checkpoint_carried() -> None:
    calls = Calls()
    pending = calls.pending()
    pending.add_again([(10, {"loss": 1.0}), (20, {"loss": 0.9})])
    assert steps(calls.sent[0]) == [10, 20]
    assert steps(pending.as_points()) == [10, 20]
    calls.answers[0] = PointsHeld("a", 9)
    calls.answers[1] = PointsHeld("a", EVERY_STEP)
    assert pending.flush(10), "asks once more what became of them"
    assert calls.sent[1] == []


def test_an_outdated_attempt_keeps_its_points_for_its_last_checkpoint() -> None:
    calls = Calls()
    pending = calls.pending()
    pending.add({"loss": 1.0}, 10)
    pending.add({"loss": 0.9}, 20)
    calls.answers = {0: PointsHeld("a", 10), 1: OUTDATED}
    assert steps(pending.as_points()) == [20], "who goes on from step 20 has to log it"
    pending.add({"loss": 0.8}, 30)
    calls.answers[2] = OUTDATED
    assert steps(pending.as_points()) == [20, 30]
    assert not pending.flush(10), "at once"
    assert [steps(one) for one in calls.sent] == [[10], [20], [30]], "nothing is sent in vain"
