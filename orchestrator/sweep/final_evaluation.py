"""Cluster tasks of the final evaluation: baselines, encoder, recognition, the test part."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray

from orchestrator.config.run_config import RunConfig, parse_config, to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.coordinator.coordinator import CoordinatorHandle
from orchestrator.cost.account import TaskCost
from orchestrator.cost.meter import Held
from orchestrator.data.open_data import open_data
from orchestrator.journal.sweep_folder import ENCODER
from orchestrator.ray_cluster.worker_group import worker_bundle
from orchestrator.storage.open_store import open_store
from orchestrator.tracking.encoder_file import EncoderCard, pack
from orchestrator.trial.worker import checkpoint_folder
from prp_core.errors import UserError
from prp_core.evaluation.baselines import evaluate_baselines
from prp_core.evaluation.downstream import EvaluationVideos, evaluate_encoder
from prp_core.evaluation.recognition import fine_tune
from prp_core.reporting import MemoryReporter
from prp_core.training.checkpoint import Checkpoint, CheckpointFolder
from prp_core.training.encoder_export import checkpoint_encoder_weights, rebuild_encoder
from prp_core.world import World, best_device, use_threads


@dataclass(frozen=True)
class Evaluated:
    """The result of a task: metrics by name, files by name, and when it held its resources, in
    seconds since 1970.
    """

    metrics: dict[str, float]
    files: dict[str, bytes] = field(default_factory=dict)
    started: float = 0.0
    ended: float = 0.0


def measure_baselines(spec: SweepSpec) -> Any:
    """Start measuring random initialisation and pixels alone on the sweep's own parts.

    A future of `Evaluated`, as of all the tasks here.
    """
    config = parse_config(spec.config)
    return on_cluster(config, _baselines).remote(spec)


def export_winner(spec: SweepSpec, number: int, tree: Mapping[str, Any]) -> Any:
    """Start writing trial `number`'s encoder into the sweep's folder, under `encoder_key`."""
    return on_cluster(parse_config(tree), _export).remote(spec, number, dict(tree))


def measure_recognition(spec: SweepSpec, number: int, tree: Mapping[str, Any]) -> Any:
    """Start fine-tuning trial `number`'s encoder for recognition."""
    return on_cluster(parse_config(tree), _recognition).remote(spec, number, dict(tree))


def measure_test(spec: SweepSpec, number: int, tree: Mapping[str, Any]) -> Any:
    """Start measuring trial `number`'s encoder, and the baselines, on the test part.

    A sweep measures it once and keeps the result. Names start with ``test/``.
    """
    return on_cluster(parse_config(tree), _test).remote(spec, number, dict(tree))


def on_cluster(config: RunConfig, function: Callable[..., Evaluated]) -> Any:
    """`function` as a Ray task with the resources of one worker; its result says when it held them.

    A task whose node is lost is run again.
    """
    bundle = worker_bundle(config)
    return ray.remote(_timed(function)).options(
        num_cpus=bundle["CPU"], num_gpus=bundle.get("GPU", 0), max_retries=2
    )


def _timed(function: Callable[..., Evaluated]) -> Callable[..., Evaluated]:
    @functools.wraps(function)
    def timed(*arguments: Any) -> Evaluated:
        started = time.time()
        return dataclasses.replace(function(*arguments), started=started, ended=time.time())

    return timed


def _baselines(spec: SweepSpec) -> Evaluated:
    config = parse_config(spec.config)
    use_threads(int(config.resources.cpus_per_worker))
    world = World.alone(best_device())
    with open_data(spec, config, world) as data:
        metrics = evaluate_baselines(config, data.validation, world, is_final=True)
    return Evaluated({f"baseline/{name}": value for name, value in metrics.items()})


def _export(spec: SweepSpec, number: int, tree: dict[str, Any]) -> Evaluated:
    config = parse_config(tree)
    card = EncoderCard(
        encoder=config.encoder.name,
        config=to_tree(config),
        dataset_hash=spec.tags["prp.dataset_hash"],
        protocol_hash=spec.tags["prp.protocol_hash"],
        provenance=spec.tags,
    )
    store = open_store(spec.folder_uri, config.store, check=False)
    for name, data in pack(trial_weights(spec, config, number), card).items():
        store.write(f"{encoder_key(number)}/{name}", data)
    return Evaluated({})


def _recognition(spec: SweepSpec, number: int, tree: dict[str, Any]) -> Evaluated:
    config = parse_config(tree)
    use_threads(int(config.resources.cpus_per_worker))
    world = World.alone(best_device())
    with open_data(spec, config, world) as data:
        encoder = rebuild_encoder(config.encoder.name, trial_weights(spec, config, number))
        metrics = fine_tune(encoder, config, data.validation, world, MemoryReporter())
    return Evaluated(metrics)


def _test(spec: SweepSpec, number: int, tree: dict[str, Any]) -> Evaluated:
    """The published protocol: queries of the test part, gallery and fine-tuning on all the rest."""
    config = parse_config(tree)
    use_threads(int(config.resources.cpus_per_worker))
    encoder = rebuild_encoder(config.encoder.name, trial_weights(spec, config, number))
    world = World.alone(best_device())
    encoder = encoder.to(world.device)
    with open_data(spec, config) as data:
        known = (*data.parts.train, *data.parts.val)
        videos = EvaluationVideos(known, data.parts.test, data.source)
        metrics = evaluate_encoder(encoder, config, videos, world, is_final=True)
        baselines = evaluate_baselines(config, videos, world, is_final=True)
        metrics.update({f"baseline/{name}": value for name, value in baselines.items()})
        if config.evaluation.recognition is not None:
            metrics.update(fine_tune(encoder, config, videos, world, MemoryReporter()))
    return Evaluated({f"test/{name}": value for name, value in metrics.items()})


def encoder_key(number: int) -> str:
    """The folder, below the sweep's, with the encoder of trial `number`; `load_encoder` reads it
    without MLflow.
    """
    return f"{ENCODER}{number:04d}"


def trial_weights(spec: SweepSpec, config: RunConfig, number: int) -> dict[str, Any]:
    """The encoder's weights in the newest checkpoint. Raises `UserError` when there is none."""
    return checkpoint_encoder_weights(*newest_checkpoint(spec, config, number))


def newest_checkpoint(
    spec: SweepSpec, config: RunConfig, number: int
) -> tuple[CheckpointFolder, Checkpoint]:
    """The folder of trial `number` and its newest checkpoint. Raises `UserError` without one."""
    folder = checkpoint_folder(spec, config, number)
    checkpoint = folder.latest_committed()
    if checkpoint is None:
        raise UserError(
            f"Trial {number} has no checkpoint under {folder.uri}; was the folder emptied?"
        )
    return folder, checkpoint


def record_cost(
    config: RunConfig, coordinator: CoordinatorHandle, kind: str, number: int, found: Evaluated
) -> None:
    """Write the resources that a task held into the ledger; `number` -1: of no trial."""
    bundle = worker_bundle(config)
    task = TaskCost(
        kind=kind,
        trial=number,
        started=found.started,
        ended=found.ended,
        held=Held(bundle.get("GPU", 0.0), bundle["CPU"]),
    )
    ray.get(coordinator.recorder.book_task.remote(task))
