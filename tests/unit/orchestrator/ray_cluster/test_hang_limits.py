"""What a worker that hangs costs before it is ended: the limits of PRP and of Ray Train add up."""

from __future__ import annotations

import inspect

from orchestrator.ray_cluster.connect import TRAIN_ENVIRONMENT
from orchestrator.ray_cluster.process_group import SHUTDOWN_SECONDS
from prp_core.training.training_config import TrainingConfig

GOAL_SECONDS = 90.0  # from the last step before a hang to the first one after it
RESTART_SECONDS = 20.0  # of the workers, on two cores


def test_the_limits_of_a_hang_leave_time_for_a_restart() -> None:
    # Here: at the top, each test process would import it, a CPU-second each.
    from ray.train.v2._internal.execution.worker_group import state

    stopped = float(TRAIN_ENVIRONMENT["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"])
    found = max(stopped, TrainingConfig().step_timeout_seconds)
    patience = inspect.signature(state._shutdown_workers).parameters["patience_s"].default
    assert found + SHUTDOWN_SECONDS + patience + RESTART_SECONDS <= GOAL_SECONDS
