"""A group of Ray Train workers for one training: the trainer, what each worker asks of its node,
and what Ray would start for nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.config.run_config import RunConfig


def fit_workers(
    function: Any,
    work: Mapping[str, Any],
    config: RunConfig,
    *,
    state_dir: Path,
    name: str,
    max_failures: int,
) -> dict[str, Any]:
    """Run `function(work)` on the workers that `config` asks for; the first one's answer. Raises
    Ray Train's error when its retries are used up.

    Ray's own notes of the run lie below `state_dir` under `name` and a draw, so that no run is
    taken for an earlier one.
    """
    from ray.train import FailureConfig, ScalingConfig
    from ray.train import RunConfig as RayRunConfig

    resources = config.resources
    trainer = _trainer_class()(
        function,
        train_loop_config=dict(work),
        scaling_config=ScalingConfig(
            num_workers=resources.num_workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=worker_bundle(config),
        ),
        run_config=RayRunConfig(
            name=f"{name}-{uuid.uuid4().hex[:6]}",
            storage_path=str(state_dir / "ray-train"),
            failure_config=FailureConfig(max_failures=max_failures),
        ),
    )
    return trainer.fit().return_value


def worker_bundle(config: RunConfig) -> dict[str, float]:
    """What one training worker asks of its node."""
    bundle = {"CPU": config.resources.cpus_per_worker}
    if config.resources.gpus_per_worker:
        bundle["GPU"] = config.resources.gpus_per_worker
    return bundle


def _trainer_class() -> Any:
    """`TorchTrainer` without the process that hands out Ray Data sets, of which we have none: it
    costs five CPU-seconds a trial, for imports.
    """
    from ray.train.torch import TorchTrainer

    class OwnDataTrainer(TorchTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            return [
                callback
                for callback in super()._create_default_callbacks()
                if type(callback).__name__ != "DatasetsCallback"
            ]

    return OwnDataTrainer
