"""Start of the final evaluation's cluster tasks: baselines, encoder, recognition, the test part.

The tasks themselves are in `final_tasks`, whose torch is imported where they run: the driver, which
starts them, does without.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import ray

from orchestrator.config.run_config import RunConfig, parse_config
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.coordinator.coordinator import CoordinatorHandle
from orchestrator.cost.account import TaskCost
from orchestrator.cost.meter import Held
from orchestrator.ray_cluster.worker_group import worker_bundle
from prp_core.reporting import Points

HITS = "hits.json"


@dataclass(frozen=True)
class Evaluated:
    """The result of a task: metrics by name, files by name, points of a curve, and when it held its
    resources, in seconds since 1970.
    """

    metrics: dict[str, float]
    files: dict[str, bytes] = field(default_factory=dict)
    points: Points = field(default_factory=list)
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


def export_encoders(spec: SweepSpec, trees: Mapping[int, Mapping[str, Any]]) -> Any:
    """Start writing the encoders of several trials, by number, in one task."""
    plain = {number: dict(tree) for number, tree in trees.items()}
    return on_cluster(parse_config(spec.config), _export_all).remote(spec, plain)


def measure_recognition(spec: SweepSpec, number: int, tree: Mapping[str, Any]) -> Any:
    """Start fine-tuning trial `number`'s encoder for recognition."""
    return on_cluster(parse_config(tree), _recognition).remote(spec, number, dict(tree))


def measure_time_panel(spec: SweepSpec, number: int, tree: Mapping[str, Any]) -> Any:
    """Start measuring whether the retrieval of trial `number`'s encoder needs time."""
    return on_cluster(parse_config(tree), _time_panel).remote(spec, number, dict(tree))


def measure_test(
    spec: SweepSpec, number: int, tree: Mapping[str, Any], seeds: Sequence[int]
) -> Any:
    """Start measuring trial `number`'s encoder, and the baselines, on the test part.

    A sweep measures it once and keeps the result. Names start with ``test/``. The file `HITS` has
    the hits of its confirming runs with `seeds` and of the baselines, query by query.
    """
    return on_cluster(parse_config(tree), _test).remote(spec, number, dict(tree), list(seeds))


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
    from orchestrator.sweep.final_tasks import baselines

    return Evaluated(baselines(spec))


def _export(spec: SweepSpec, number: int, tree: dict[str, Any]) -> Evaluated:
    from orchestrator.sweep.final_tasks import export

    export(spec, number, tree)
    return Evaluated({})


def _export_all(spec: SweepSpec, trees: dict[int, dict[str, Any]]) -> Evaluated:
    from orchestrator.sweep.final_tasks import export

    for number, tree in trees.items():
        export(spec, number, tree)
    return Evaluated({})


def _recognition(spec: SweepSpec, number: int, tree: dict[str, Any]) -> Evaluated:
    from orchestrator.sweep.final_tasks import recognition

    metrics, points = recognition(spec, number, tree)
    return Evaluated(metrics, points=points)


def _time_panel(spec: SweepSpec, number: int, tree: dict[str, Any]) -> Evaluated:
    from orchestrator.sweep.final_tasks import panel_of_time

    return Evaluated(panel_of_time(spec, number, tree))


def _test(spec: SweepSpec, number: int, tree: dict[str, Any], seeds: list[int]) -> Evaluated:
    from orchestrator.sweep.final_tasks import test_hits, test_part

    hits = json.dumps([asdict(run) for run in test_hits(spec, number, tree, seeds)])
    return Evaluated(test_part(spec, number, tree), {HITS: hits.encode()})


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
