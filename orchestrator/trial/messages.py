"""The values that cross processes for a trial: its task, its rungs, its outcome and its view."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.trial_state import TrialState


@dataclass(frozen=True)
class Sender:
    """The attempt that sends a message: number `attempt` of trial `number`, in the epoch `epoch` of
    the sweep's drivers. A message of an outdated attempt changes nothing.
    """

    number: int
    epoch: int
    attempt: int


@dataclass(frozen=True)
class ConfirmSender:
    """As `Sender`, of the confirming run that trains the config of trial `number` with `seed`."""

    number: int
    seed: int
    epoch: int
    attempt: int


class Answer(StrEnum):
    """The coordinator's answer to a driver or a worker of a trial."""

    GO_ON = "go on"
    """The trial goes on."""
    STOP = "stop"
    """The trial is pruned: its workers leave together."""
    LEAVE = "leave"
    """The sender is outdated, another attempt has the trial: leave, and tell nothing."""


@dataclass(frozen=True)
class Failure:
    """Why an attempt ended without an outcome: `cause` in one line; `is_nodes` where its node was
    lost or taken away, which is no fault of the trial.
    """

    cause: str
    is_nodes: bool = False


@dataclass(frozen=True)
class Attempt:
    """The coordinator's answer to a driver that wants to start the workers of its trial.

    `sender` is the new attempt. None: there is none, because the driver is outdated (`failure` is
    empty) or because the trial has failed too often since its last checkpoint (`failure` says why).
    """

    sender: Sender | None
    failure: str = ""


@dataclass(frozen=True)
class ConfirmAttempt:
    """As `Attempt`, of a confirming run."""

    sender: ConfirmSender | None
    failure: str = ""


@dataclass(frozen=True)
class TrialTask:
    """What the driver of trial `number` needs to run it.

    `config` is the trial's config as a plain tree. `is_resumed`: it ran before and continues from
    its newest checkpoint. `evaluator` says who evaluates its rungs, ``worker`` or ``task``. `epoch`
    and `attempt` are those of the hand-out. `continues`: the trial from whose newest checkpoint it
    starts (None: it starts anew).
    """

    number: int
    config: dict[str, Any]
    is_resumed: bool
    evaluator: str = "worker"
    epoch: int = 0
    attempt: int = 0
    continues: int | None = None

    @property
    def sender(self) -> Sender:
        """What the driver's messages carry until its first workers start."""
        return Sender(self.number, self.epoch, self.attempt)


@dataclass(frozen=True)
class Rung:
    """A rung that a task evaluates: trial `number` after `epoch` epochs and `step` optimiser steps.

    Its encoder's weights lie under `key` of the sweep's folder. `submitted_at` is in seconds since
    1970.
    """

    number: int
    epoch: int
    step: int
    key: str
    is_last: bool
    submitted_at: float = 0.0


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended: `state` is one that is over, `reason` is for a person."""

    state: TrialState
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class TrialView:
    """What the screen and the leaderboard show of a trial.

    `objective` is its final value, or that of its newest rung (nan: none yet); `rungs` is epoch ->
    objective, `metrics` the newest value of each. Times are seconds since 1970, 0: not yet.
    """

    number: int
    values: dict[str, Any]
    state: TrialState = TrialState.RUNNING
    epoch: int = 0
    num_epochs: int = 0
    step: int = 0
    objective: float = math.nan
    rungs: dict[int, float] = field(default_factory=dict)
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    started: float = 0.0
    ended: float = 0.0
