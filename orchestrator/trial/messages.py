"""The values that cross processes for a trial: its task, its rungs, its outcome and its view."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from orchestrator.trial_state import TrialState


@dataclass(frozen=True)
class TrialTask:
    """What the driver of trial `number` needs to run it.

    `config` is the trial's config as a plain tree. `is_resumed`: it ran before and continues from
    its newest checkpoint. `evaluator` says who evaluates its rungs, ``worker`` or ``task``.
    """

    number: int
    run_id: str
    config: dict[str, Any]
    is_resumed: bool
    evaluator: str = "worker"


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
    run_id: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    started: float = 0.0
    ended: float = 0.0
