"""The trials that a study has handed out: who has which, kept as a note of each trial.

A base class of `SweepStudy`, which says what trials and notes there are.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict

from optuna.trial import FrozenTrial, TrialState

from orchestrator.search.hand_out import NOT_HANDED_OUT, HandOut

HAND_OUT = "hand_out"  # the note of a trial with its `HandOut`
DRIVER = "driver"  # the note of the sweep with its present driver, and the driver's epoch
VALUES = "values"  # the note of a trial with the config's values, once it has them


class HandedOutTrials(ABC):
    """The trials that run, and the drivers that run them."""

    epoch: int
    """The epoch of the driver that opened the study."""
    num_at_opening: int
    """How many trials there were then."""

    @abstractmethod
    def trials(self) -> list[FrozenTrial]:
        """Every trial by number."""

    @abstractmethod
    def set_note(self, number: int, name: str, value: str | float) -> None:
        """A note kept with a trial; what has ended takes no more notes."""

    @abstractmethod
    def sweep_note(self, name: str) -> str | None:
        """The sweep's note called `name`, None where there is none."""

    @abstractmethod
    def set_sweep_note(self, name: str, value: str) -> None:
        """A note kept with the sweep."""

    def running(self) -> list[int]:
        """The trials that have not ended, by number."""
        return [trial.number for trial in self.trials() if trial.state == TrialState.RUNNING]

    def handed_out(self) -> list[int]:
        """The trials that have not ended and that somebody runs in this epoch."""
        return [number for number in self.running() if self._is_handed_out(number)]

    def trial_of(self, slot: str) -> int | None:
        """The trial that was handed out to `slot` in this epoch and has not ended."""
        handed = (number for number in self.handed_out() if self.hand_out(number).slot == slot)
        return next(handed, None)

    def hand_out(self, number: int) -> HandOut:
        """Who has trial `number`, and how often it was tried."""
        note = self.trials()[number].user_attrs.get(HAND_OUT)
        return NOT_HANDED_OUT if note is None else HandOut(**json.loads(note))

    def set_hand_out(self, number: int, hand_out: HandOut) -> None:
        """Store who has trial `number`; of one that has ended it stays as it was."""
        self.set_note(number, HAND_OUT, json.dumps(asdict(hand_out)))

    def free(self) -> Iterator[int]:
        """The trials that have not ended and that nobody runs. One that lacks its values is being
        chosen, unless it did so when the study was opened: its coordinator died over it.
        """
        for number in self.running():
            is_whole = VALUES in self.trials()[number].user_attrs
            if not self._is_handed_out(number) and (is_whole or number < self.num_at_opening):
                yield number

    def _is_handed_out(self, number: int) -> bool:
        hand_out = self.hand_out(number)
        return bool(hand_out.slot) and hand_out.epoch == self.epoch

    def enter(self, driver: str) -> tuple[bool, int]:
        """Whether `driver` has opened the study before, and its epoch."""
        last = json.loads(self.sweep_note(DRIVER) or '{"name": "", "epoch": 0}')
        if last["name"] == driver:
            return True, last["epoch"]
        epoch = last["epoch"] + 1
        self.set_sweep_note(DRIVER, json.dumps({"name": driver, "epoch": epoch}))
        return False, epoch
