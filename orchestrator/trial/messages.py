"""The values that cross processes for a trial: its task, its outcome, its view, its rungs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from orchestrator.trial_state import TrialState


@dataclass(frozen=True)
class Rung:
    """Trial `number` after `epoch` epochs and `step` steps; its encoder's weights lie under `key`
    of the sweep's folder.
    """

    number: int
    epoch: int
    step: int
    key: str
    is_last: bool
    submitted_at: float = 0.0


@dataclass(frozen=True)
class TrialTask:
    """What a trial's driver needs to run it; crosses processes. `evaluator` says who evaluates
    its rungs, ``worker`` or ``task``.
    """

    number: int
    run_id: str
    config: dict[str, Any]
    is_resumed: bool
    evaluator: str = "worker"


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended: `state` is one that is over; `reason` is for a person."""

    state: TrialState
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class TrialView:
    """What the screen and the leaderboard show of a trial; ``waiting``: its driver has gone, and a
    resume takes it up again.
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
