"""The attempts at trials: which driver has a trial, whose messages count, when a trial has failed.

A trial is handed out to a slot, its driver starts workers, attempt after attempt, and the newest
attempt alone is heard. What is decided here is stored in the study before it is answered, so a
coordinator that dies in between is asked again and answers the same.
"""

from __future__ import annotations

from orchestrator.search.study import SweepStudy
from orchestrator.trial.messages import Attempt, Failure, Sender

DRIVER_DIED = "the process that drove the trial died, see Ray's logs"


class Attempts:
    """Over `study`; a trial whose workers failed more than `max_failures` times since its newest
    checkpoint is not tried again.
    """

    def __init__(self, study: SweepStudy, max_failures: int) -> None:
        self._study = study
        self._max_failures = max_failures

    def is_newest(self, sender: Sender) -> bool:
        """Whether no other attempt has the trial of `sender`."""
        hand_out = self._study.hand_out(sender.number)
        return self._is_of_this_epoch(sender) and sender.attempt == hand_out.attempt

    def begin(self, sender: Sender, step: int) -> Attempt:
        """The next attempt of the driver that sends `sender`; its workers continue after `step`
        steps.

        Asked again because the answer was lost, it is one attempt more, which nobody else has.
        """
        hand_out = self._study.hand_out(sender.number)
        if not self._is_of_this_epoch(sender) or sender.attempt < hand_out.first_attempt:
            return Attempt(None)
        begun = hand_out.begun(step)
        if begun.num_failures > self._max_failures:
            return Attempt(None, failed_too_often(begun.num_failures, begun.cause))
        self._study.set_hand_out(sender.number, begun)
        return Attempt(Sender(sender.number, begun.epoch, begun.attempt))

    def fail(self, number: int, failure: Failure) -> None:
        """The newest attempt at trial `number` ended without an outcome; told twice, it counts
        once.
        """
        failed = self._study.hand_out(number).failed(failure.cause, is_counted=not failure.is_nodes)
        self._study.set_hand_out(number, failed)

    def lose_driver(self, slot: str) -> int | None:
        """The number of the trial that `slot` has and that waits for another driver from now on;
        None where it has none, or where the trial has ended.
        """
        number = self._study.trial_of(slot)
        if number is not None:
            failed = self._study.hand_out(number).failed(DRIVER_DIED, is_counted=True)
            self._study.set_hand_out(number, failed.free())
        return number

    def release_all(self) -> list[int]:
        """The trials that were handed out and wait for another driver from now on: no driver of
        theirs is left.
        """
        numbers = self._study.handed_out()
        for number in numbers:
            self._study.set_hand_out(number, self._study.hand_out(number).free())
        return numbers

    def _is_of_this_epoch(self, sender: Sender) -> bool:
        return sender.epoch == self._study.epoch == self._study.hand_out(sender.number).epoch


def failed_too_often(num_failures: int, cause: str) -> str:
    """Why a trial is not tried again."""
    return f"{num_failures} failures in a row without a new checkpoint; the last one: {cause}"
