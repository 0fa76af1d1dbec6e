"""A group of Ray Train workers that runs one training, and the resources of each worker."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.config.run_config import RunConfig
from orchestrator.ray_cluster.named_groups import RAYS_CLEANER, group_prefix, remove_left_groups
from orchestrator.ray_cluster.train_controller import (
    NO_AUTOSCALER_VARIABLE,
    START_SECONDS,
    run_controller,
    scaling_policy,
    watching_callback,
)

MAX_START_FAILURES = 3  # tries to start a group on a cluster whose nodes come and go


def fit_workers(
    function: Any,
    work: Mapping[str, Any],
    config: RunConfig,
    *,
    state_dir: Path,
    name: str,
    max_failures: int,
    start_seconds: float = START_SECONDS,
) -> Any:
    """The value that rank 0 returns from `function(work)`, run on the workers of `config`.

    Ray's own state of the run lies below `state_dir` under `name` and a random suffix, so that no
    run is taken for an earlier one. Raises Ray Train's error when the workers were lost more than
    `max_failures` times; with 0, also when a node was taken away. What an earlier run under `name`
    still holds is taken from it first (`named_groups.py`). Workers that have a place and do not
    start within `start_seconds` are ended and started again, `MAX_START_FAILURES` times at most.
    Ctrl-C ends the workers before it is raised.
    """
    from ray.train import FailureConfig, ScalingConfig
    from ray.train import RunConfig as RayRunConfig

    from orchestrator.ray_cluster.process_group import ProcessGroupConfig

    resources = config.resources
    attempt = uuid.uuid4().hex[:6]
    remove_left_groups(name)
    prefix = f"{group_prefix(name)}{attempt}-"
    trainer = _trainer_class(prefix, start_seconds, [watching_callback()])(
        function,
        train_loop_config=dict(work),
        backend_config=ProcessGroupConfig("nccl" if resources.gpus_per_worker else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=resources.num_workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=worker_bundle(config),
        ),
        run_config=RayRunConfig(
            name=f"{name}-{attempt}",
            storage_path=str(state_dir / "ray-train"),
            failure_config=FailureConfig(
                max_failures=max_failures,
                max_preemption_failures=-1 if max_failures else 0,
                controller_failure_limit=MAX_START_FAILURES,
            ),
        ),
    )
    return trainer.fit().return_value


def worker_bundle(config: RunConfig) -> dict[str, float]:
    """The resources that one training worker requests from its node."""
    bundle = {"CPU": config.resources.cpus_per_worker}
    if config.resources.gpus_per_worker:
        bundle["GPU"] = config.resources.gpus_per_worker
    return bundle


def _trainer_class(prefix: str, start_seconds: float, own_callbacks: list[Any]) -> Any:
    """A trainer that imports no torch here, runs its controller in this process
    (`train_controller.py`), and starts no process for Ray Data (we have no datasets there, and it
    costs five CPU-seconds a trial, for imports), none to remove placement groups, whose names begin
    with `prefix` instead, and on a local cluster none that asks an autoscaler for nodes.
    """
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    class OwnTrainer(DataParallelTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            kept = [
                callback
                for callback in super()._create_default_callbacks()
                if type(callback).__name__ not in ("DatasetsCallback", RAYS_CLEANER)
            ]
            return [*kept, *own_callbacks]

        def _initialize_and_run_controller(self, **settings: Any) -> Any:
            if os.environ.get(NO_AUTOSCALER_VARIABLE):
                settings["scaling_policy"] = scaling_policy(self.scaling_config)
            return run_controller(settings, prefix, start_seconds)

    return OwnTrainer
