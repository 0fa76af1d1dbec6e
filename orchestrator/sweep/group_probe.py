"""The probe of a trial's workers as a group: an all-reduce among them, the time of a step.

The workers take the places of a trial for some seconds, where those are free.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from orchestrator.config.run_config import RunConfig, parse_config, to_tree
from orchestrator.ray_cluster.task_cancellation import cancel_task
from orchestrator.ray_cluster.worker_group import worker_bundle
from orchestrator.sweep.finding import Finding, Level

PLACE_SECONDS = 10.0
ANSWER_SECONDS = 60.0
JOIN_SECONDS = 20
THOUSAND = 1000


def group_findings(config: RunConfig) -> list[Finding]:
    """What the workers of a trial find together; takes some `ANSWER_SECONDS` at most.

    Where no place is free now, a warning says that it was not tried.
    """
    num_workers = config.resources.num_workers
    group = placement_group([worker_bundle(config)] * num_workers)
    try:
        if not group.wait(PLACE_SECONDS):
            text = "no place for a trial's workers is free now: not tried, and no step was timed"
            advice = "look again when the cluster is idle, or its nodes are up"
            return [Finding("all-reduce", Level.WARNING, text, advice, "workers")]
        findings = findings_of(_answers(config, group), config)
    finally:
        remove_placement_group(group)
    return [replace(finding, where="workers") for finding in findings]


def findings_of(answers: list[Any] | str, config: RunConfig) -> list[Finding]:
    """The findings of what the workers answered, by rank; of a reason where they failed."""
    num_workers = config.resources.num_workers
    backend = backend_of(config)
    if isinstance(answers, str):
        text = f"{backend}: {answers}"
        return [Finding("all-reduce", Level.FAILURE, text, group_advice(backend))]
    if not all(answer.is_right_for(num_workers) for answer in answers):
        sums = ", ".join(f"{answer.total:g}" for answer in answers)
        text = f"{backend}: the workers' sums are wrong: {sums}"
        return [Finding("all-reduce", Level.FAILURE, text, group_advice(backend))]
    words = f"{num_workers} workers sum over {backend}" if num_workers > 1 else "1 worker: no need"
    slowest = max(answer.step_seconds for answer in answers)
    return [Finding("all-reduce", Level.OK, words), step_finding(slowest, config)]


def step_finding(seconds: float, config: RunConfig) -> Finding:
    """What a training step of `seconds` means for an epoch and for the plan."""
    batch, epochs = config.training.batch_size, config.training.num_epochs
    epoch = seconds * THOUSAND / batch
    text = (
        f"a step of {batch} clips takes {seconds:.3g} s, an epoch of 1,000 videos "
        f"{duration(epoch)} and a trial of {epochs} epochs {duration(epoch * epochs)}, by the base "
        "config and without waiting for videos, which is not known yet"
    )
    return Finding("time", Level.OK, text)


def duration(seconds: float) -> str:
    """``53 s``, ``12 min``, ``3.4 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def backend_of(config: RunConfig) -> str:
    """The library by which a trial's workers exchange gradients."""
    return "nccl" if config.resources.gpus_per_worker else "gloo"


def group_advice(backend: str) -> str:
    """What to do where workers do not reach each other."""
    return (
        "let the nodes reach each other on every TCP port (one security group), and name the "
        f"network interface that they share: {backend.upper()}_SOCKET_IFNAME in the environment of "
        f"`ray start`" + ("; NCCL_DEBUG=INFO says more" if backend == "nccl" else "")
    )


def _answers(config: RunConfig, group: Any) -> list[Any] | str:
    """Each worker's `StepProbe` by rank, or why there are none."""
    bundle = worker_bundle(config)

    def task(function: Any, rank: int) -> Any:
        strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
        return ray.remote(max_retries=0)(function).options(
            num_cpus=bundle["CPU"], num_gpus=bundle.get("GPU", 0), scheduling_strategy=strategy
        )

    num_workers = config.resources.num_workers
    waiting: list[Any] = []
    try:
        address = ray.get(task(_address, 0).remote(), timeout=ANSWER_SECONDS)
        waiting = [
            task(_probe, rank).remote(to_tree(config), rank, num_workers, address)
            for rank in range(num_workers)
        ]
        found: list[Any] = ray.get(waiting, timeout=ANSWER_SECONDS)
    except ray.exceptions.GetTimeoutError:
        return f"no answer within {ANSWER_SECONDS:.0f} s"
    except ray.exceptions.RayError as error:
        lines = str(getattr(error, "cause", None) or error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {lines[-1][:300]}"
    finally:
        for one in waiting:
            cancel_task(one)
    return found


# What follows runs on the workers.


def _address() -> str:
    """An address of this node at which the others reach it."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return f"{ray.util.get_node_ip_address()}:{probe.getsockname()[1]}"


def _probe(tree: dict[str, Any], rank: int, size: int, address: str) -> Any:
    """What the worker `rank` of `size` finds."""
    from ray.train.torch.config import _setup_torch_process_group, _shutdown_torch

    from prp_core.training.step_probe import probe_step
    from prp_core.world import World, use_threads

    config = parse_config(tree)
    use_threads(max(1, int(config.resources.cpus_per_worker)))
    device = "cuda" if config.resources.gpus_per_worker else "cpu"
    if size == 1:
        return probe_step(config, World.alone(device))
    _setup_torch_process_group(
        backend=backend_of(config),
        world_rank=rank,
        world_size=size,
        init_method=f"tcp://{address}",
        timeout_s=JOIN_SECONDS,
    )
    try:
        return probe_step(config, World.of_process_group(device))
    finally:
        _shutdown_torch(destroy_process_group=True)
