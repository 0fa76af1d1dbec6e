"""The sweep coordinator: a Ray actor that owns the study, makes pruning decisions, logs to MLflow.

It runs in one process on the driver's node and is the only writer of the study's database, the
ledger and the tracker, so there is nothing to lock. What it answers is what the database says, so
a coordinator that Ray restarts continues where the last one stopped, and calls that were under way
are made again: trials that train go on and are heard. It is composed of one object for
each of its callers, a desk; a caller holds the handle of its desk.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.config.redaction import redact_logs
from orchestrator.coordinator.confirm_desk import ConfirmDesk
from orchestrator.coordinator.publishing import DeadSweeps
from orchestrator.coordinator.recorder import Recorder
from orchestrator.coordinator.screen_desk import ScreenDesk
from orchestrator.coordinator.steering_desk import SteeringDesk
from orchestrator.coordinator.sweep_state import CoordinatorSetup, SweepState
from orchestrator.coordinator.trial_desk import TrialDesk
from orchestrator.ray_cluster.composed_actor import ComposedActor, PartHandle
from prp_core.errors import UserError

_LOGGER = logging.getLogger(__name__)

WITHOUT_LIMIT = -1
LOST_ITS_RECORDS = 1  # the exit code of such a process
FENCE_SECONDS = 1.0  # between two looks


class Coordinator(ComposedActor):
    """The desks of one sweep over one `SweepState`."""

    PARTS = ("trials", "confirming", "recorder", "screen", "steering", "dead_sweeps")

    def __init__(self, setup: CoordinatorSetup, *, is_actor: bool = False) -> None:
        """`is_actor`: Ray starts this process again when it ends, which it does when another one
        has opened its records.
        """
        if is_actor:
            redact_logs()
        state = SweepState.open(setup)
        self.trials = TrialDesk(state, setup)
        self.confirming = ConfirmDesk(state)
        self.recorder = state.recorder
        self.screen = ScreenDesk(state)
        self.dead_sweeps = DeadSweeps(setup.spec)
        self.steering = SteeringDesk(state, setup, self.trials.num_to_start)
        self.steering.start()
        if is_actor:
            end = partial(os._exit, LOST_ITS_RECORDS)
            watch = partial(end_when_fenced, state.recorder, end)
            threading.Thread(target=watch, name="fence", daemon=True).start()


def end_when_fenced(
    recorder: Recorder, end: Callable[[], None], sleep: Callable[[float], None] = time.sleep
) -> None:
    """Call `end` once another process has opened the sweep's records.

    The coordinator that Ray starts then opens them anew, and who publishes is fenced in turn; where
    a later driver has the sweep, it does not start. What the old one had in memory alone is sent
    again by those who said it.
    """
    while not recorder.fenced:
        sleep(FENCE_SECONDS)
    _LOGGER.warning("the coordinator ends, to be started again: %s", recorder.fenced)
    end()


@dataclass(frozen=True)
class CoordinatorHandle:
    """The coordinator as other processes call it; ``handle.trials.ask.remote()`` and so on.

    `trials` is a `TrialDesk` there, `confirming` a `ConfirmDesk`, `recorder` a `Recorder`, `screen`
    a `ScreenDesk`, `steering` a `SteeringDesk` and `dead_sweeps` a `DeadSweeps`. A trial or a
    confirming run is given its own desk and no other.
    """

    actor: Any

    @property
    def trials(self) -> PartHandle:
        """For the searcher, and for drivers and workers of trials."""
        return PartHandle(self.actor, "trials")

    @property
    def confirming(self) -> PartHandle:
        """For the confirmation of the best trials."""
        return PartHandle(self.actor, "confirming")

    @property
    def recorder(self) -> PartHandle:
        """For the driver, when it measures the winner and ends the sweep."""
        return PartHandle(self.actor, "recorder")

    @property
    def screen(self) -> PartHandle:
        """For whoever shows the sweep."""
        return PartHandle(self.actor, "screen")

    @property
    def dead_sweeps(self) -> PartHandle:
        """For the driver, when it starts."""
        return PartHandle(self.actor, "dead_sweeps")

    @property
    def steering(self) -> PartHandle:
        """For the driver, which lets it do what people asked of the sweep."""
        return PartHandle(self.actor, "steering")


def start_coordinator(setup: CoordinatorSetup) -> CoordinatorHandle:
    """Start the coordinator in an actor on this node; it ends with this process.

    Raises `UserError` with the last line of what went wrong when it does not start.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(Coordinator).options(
        num_cpus=0,
        scheduling_strategy=here,
        max_restarts=WITHOUT_LIMIT,
        max_task_retries=WITHOUT_LIMIT,
    )
    handle = CoordinatorHandle(actor.remote(setup, is_actor=True))
    try:
        ray.get(handle.recorder.sweep_run_id.remote())
    except ray.exceptions.RayActorError as error:
        raise UserError(
            f"The sweep's coordinator did not start: {str(error).strip().splitlines()[-1]}"
        ) from None
    return handle
