"""The Ray task that evaluates one rung of a trial while the trial trains on."""

from __future__ import annotations

import time
from typing import Any

import ray

from orchestrator.config.run_config import parse_config
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.search.pruner import PRUNERS
from orchestrator.trial.messages import Rung


def start_evaluation(spec: SweepSpec, rung: Rung, config: dict[str, Any]) -> Any:
    """Start the task that evaluates `rung` of the trial with `config` (a tree); a Ray future of
    what `evaluate_rung` returns.
    """
    resources = parse_config(config).resources
    options = {
        "num_cpus": resources.evaluator_cpus,
        "num_gpus": resources.evaluator_gpus,
        "max_retries": 2,
    }
    return ray.remote(evaluate_rung).options(**options).remote(spec, rung, config)


def evaluate_rung(
    spec: SweepSpec, rung: Rung, tree: dict[str, Any]
) -> tuple[dict[str, float], dict[str, bool]]:
    """The metrics of the encoder of `rung` on the validation part, as a worker would find them; at
    the last rung with what is evaluated at the end only. And whether it hit each query, by key,
    where the sweep's pruner compares them (`hits_of`).
    """
    # Imported here: the coordinator, which starts this task, does without torch.
    from orchestrator.data.open_data import open_data
    from orchestrator.storage.open_store import open_store
    from prp_core.evaluation.downstream import measure_encoder
    from prp_core.training.encoder_export import rebuild_encoder
    from prp_core.training.rung_weights import read_rung
    from prp_core.world import World, best_device, use_threads

    started = time.perf_counter()
    config = parse_config(tree)
    use_threads(max(1, int(config.resources.evaluator_cpus)))
    world = World.alone(best_device() if config.resources.evaluator_gpus else "cpu")
    encoder = rebuild_encoder(
        config.encoder.name,
        read_rung(open_store(spec.folder_uri, config.store, check=False), rung.key),
    )
    with open_data(spec, config) as data:
        measured = measure_encoder(
            encoder.to(world.device),
            config,
            data.validation,
            world,
            is_final=rung.is_last,
            hits_of=hits_of(spec),
        )
    seconds = time.perf_counter() - started
    return {**measured.metrics, "time/evaluation_seconds": seconds}, measured.hits


def hits_of(spec: SweepSpec) -> str:
    """The metric of which a rung tells the coordinator each query's hit: the objective, where the
    sweep's pruner compares queries; else empty.
    """
    sweep = parse_config(spec.config).sweep
    return sweep.objective if PRUNERS[sweep.pruner].compares_queries else ""
