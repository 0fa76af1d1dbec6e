"""The sweep coordinator: a Ray actor that owns the study, makes pruning decisions, logs to MLflow.

It runs in one process on the driver's node and is the only writer of the study's database, the
ledger and the tracker, so there is nothing to lock. What it answers is what the database says, so
a coordinator that Ray restarts continues where the last one stopped, and calls that were under way
are made again: trials that train go on and are heard. It is composed of one object for
each of its callers, a desk; a caller holds the handle of its desk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.coordinator.confirm_desk import ConfirmDesk
from orchestrator.coordinator.publishing import DeadSweeps
from orchestrator.coordinator.screen_desk import ScreenDesk
from orchestrator.coordinator.steering_desk import SteeringDesk
from orchestrator.coordinator.sweep_state import CoordinatorSetup, SweepState
from orchestrator.coordinator.trial_desk import TrialDesk
from orchestrator.ray_cluster.composed_actor import ComposedActor, PartHandle
from prp_core.errors import UserError

WITHOUT_LIMIT = -1


class Coordinator(ComposedActor):
    """The desks of one sweep over one `SweepState`."""

    PARTS = ("trials", "confirming", "recorder", "screen", "steering", "dead_sweeps")

    def __init__(self, setup: CoordinatorSetup) -> None:
        state = SweepState.open(setup)
        self.trials = TrialDesk(state, setup)
        self.confirming = ConfirmDesk(state)
        self.recorder = state.recorder
        self.screen = ScreenDesk(state)
        self.dead_sweeps = DeadSweeps(setup.spec)
        self.steering = SteeringDesk(state, setup, self.trials.num_to_start)
        self.steering.start()


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
    handle = CoordinatorHandle(actor.remote(setup))
    try:
        ray.get(handle.recorder.sweep_run_id.remote())
    except ray.exceptions.RayActorError as error:
        raise UserError(
            f"The sweep's coordinator did not start: {str(error).strip().splitlines()[-1]}"
        ) from None
    return handle
