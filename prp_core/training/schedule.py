"""The learning rate of each step, as a factor of the configured one.

The published schedule lowers the rate when the validation loss stops falling; its validation clips
are drawn anew each epoch, which makes that loss a noisy judge. Here the plateau is one of the mean
*training* loss of an epoch: it is free, the same on every worker, and takes no video away from
training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from prp_core.training.training_config import TrainingConfig

PLATEAU_FACTOR = 0.1
PLATEAU_THRESHOLD = 1e-4
MIN_LEARNING_RATE = 1e-7


class LearningRateSchedule:
    """`factor(step)` for a step that is about to be taken; `end_epoch(loss)` moves the plateau.

    constant: 1. cosine: from 1 down to 0 over all steps after the warm-up. plateau: 1, then x0.1
    each time the epoch's loss has not fallen by a 10,000th for more than `plateau_patience_epochs`
    epochs, and never below a rate of 1e-7. All three climb linearly over the first `warmup_epochs`.
    """

    def __init__(self, training: TrainingConfig, steps_per_epoch: int) -> None:
        self._training = training
        self._warmup_steps = training.warmup_epochs * steps_per_epoch
        self._num_steps = training.num_epochs * steps_per_epoch
        self._lowest_factor = min(1.0, MIN_LEARNING_RATE / training.learning_rate)
        self._plateau_factor = 1.0
        self._best_loss = math.inf
        self._bad_epochs = 0

    def factor(self, step: int) -> float:
        """The factor for the step after `step` finished ones."""
        warmup = min(1.0, (step + 1) / self._warmup_steps) if self._warmup_steps else 1.0
        return warmup * self._after_warmup(step)

    def _after_warmup(self, step: int) -> float:
        if self._training.schedule == "cosine":
            done = max(0, step - self._warmup_steps) / max(1, self._num_steps - self._warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return self._plateau_factor

    def end_epoch(self, loss: float) -> None:
        """Take note of an epoch's mean loss."""
        if self._training.schedule != "plateau":
            return
        if (
            loss < self._best_loss - PLATEAU_THRESHOLD * abs(self._best_loss)
            or self._best_loss == math.inf
        ):
            self._best_loss = loss
            self._bad_epochs = 0
            return
        self._bad_epochs += 1
        if self._bad_epochs > self._training.plateau_patience_epochs:
            self._plateau_factor = max(self._plateau_factor * PLATEAU_FACTOR, self._lowest_factor)
            self._bad_epochs = 0

    def state(self) -> dict[str, float]:
        """All that `end_epoch` has learnt."""
        return {
            "plateau_factor": self._plateau_factor,
            "best_loss": self._best_loss,
            "bad_epochs": self._bad_epochs,
        }

    def load_state(self, state: Mapping[str, float]) -> None:
        """Continue where `state` was taken."""
        self._plateau_factor = state["plateau_factor"]
        self._best_loss = state["best_loss"]
        self._bad_epochs = int(state["bad_epochs"])
