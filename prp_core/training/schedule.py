"""Learning-rate schedules: the learning rate of each step as a factor of the configured one.

The published schedule lowers the learning rate when the validation loss stops falling; its
validation clips are drawn anew each epoch, which makes that loss noisy. Here the plateau is one of
the mean *training* loss of an epoch: it is free, the same on every worker, and takes no video away
from training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

PLATEAU_FACTOR = 0.1
PLATEAU_THRESHOLD = 1e-4
MIN_LEARNING_RATE = 1e-7


@dataclass(frozen=True, kw_only=True)
class ScheduleTerms:
    """What a schedule depends on: steps after the warm-up, and the plateau's limits."""

    num_steps: int
    """Optimiser steps after the warm-up, at least 1."""

    patience_epochs: int
    """Epochs without a lower loss that a plateau waits for."""

    lowest_factor: float
    """The factor (0 to 1) below which a plateau does not fall."""


class Schedule(Protocol):
    """A learning-rate schedule after the warm-up."""

    def factor(self, step: int) -> float:
        """The factor for the step after `step` finished ones since the warm-up (0 or more)."""
        ...

    def end_epoch(self, loss: float) -> None:
        """Record an epoch's mean loss."""
        ...

    def state(self) -> dict[str, float]:
        """What `load_state` needs to continue."""
        ...

    def load_state(self, state: Mapping[str, float]) -> None:
        """Continue where `state` was taken."""
        ...


class Constant:
    """The configured learning rate throughout."""

    def __init__(self, terms: ScheduleTerms) -> None:
        self._num_steps = terms.num_steps

    def factor(self, step: int) -> float:
        """1."""
        return 1.0

    def end_epoch(self, loss: float) -> None:
        """The loss changes nothing."""

    def state(self) -> dict[str, float]:
        """Nothing: the factor depends on the step alone."""
        return {}

    def load_state(self, state: Mapping[str, float]) -> None:
        """Nothing to restore."""


class Cosine(Constant):
    """Half a cosine, from 1 at the first step down to 0 after the last."""

    def factor(self, step: int) -> float:
        """``(1 + cos(pi * step / num_steps)) / 2``."""
        return 0.5 * (1 + math.cos(math.pi * min(1.0, step / self._num_steps)))


class Plateau:
    """Reduce on plateau: x0.1 each time the epoch's loss has not fallen for more than the patience.

    A loss has fallen when it is lower than the best by a 10,000th of it.
    """

    def __init__(self, terms: ScheduleTerms) -> None:
        self._terms = terms
        self._factor = 1.0
        self._best_loss = math.inf
        self._bad_epochs = 0

    def factor(self, step: int) -> float:
        """1, or what the plateaus so far have left of it."""
        return self._factor

    def end_epoch(self, loss: float) -> None:
        """Count an epoch that did not improve, and lower the factor when there were too many."""
        best = self._best_loss
        if best == math.inf or loss < best - PLATEAU_THRESHOLD * abs(best):
            self._best_loss = loss
            self._bad_epochs = 0
            return
        self._bad_epochs += 1
        if self._bad_epochs > self._terms.patience_epochs:
            self._factor = max(self._factor * PLATEAU_FACTOR, self._terms.lowest_factor)
            self._bad_epochs = 0

    def state(self) -> dict[str, float]:
        """The factor, the best loss, and the epochs since."""
        return {
            "plateau_factor": self._factor,
            "best_loss": self._best_loss,
            "bad_epochs": self._bad_epochs,
        }

    def load_state(self, state: Mapping[str, float]) -> None:
        """Continue where `state` was taken."""
        self._factor = state["plateau_factor"]
        self._best_loss = state["best_loss"]
        self._bad_epochs = int(state["bad_epochs"])


SCHEDULES: dict[str, Callable[[ScheduleTerms], Schedule]] = {
    "plateau": Plateau,
    "cosine": Cosine,
    "constant": Constant,
}


class WarmUp:
    """A linear warm-up over the first `num_steps` steps, then `schedule`."""

    def __init__(self, schedule: Schedule, num_steps: int) -> None:
        self._schedule = schedule
        self._num_steps = num_steps

    def factor(self, step: int) -> float:
        """The factor for the step after `step` finished ones."""
        warmup = min(1.0, (step + 1) / self._num_steps) if self._num_steps else 1.0
        return warmup * self._schedule.factor(max(0, step - self._num_steps))

    def end_epoch(self, loss: float) -> None:
        """Record an epoch's mean loss."""
        self._schedule.end_epoch(loss)

    def state(self) -> dict[str, float]:
        """The schedule's."""
        return self._schedule.state()

    def load_state(self, state: Mapping[str, float]) -> None:
        """Continue where `state` was taken."""
        self._schedule.load_state(state)
