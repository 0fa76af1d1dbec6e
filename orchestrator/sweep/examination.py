"""The examination of a cluster before a sweep: probes on the driver and on each kind of node."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.capacity import Capacity
from orchestrator.config.run_config import RunConfig
from orchestrator.cost.pricing import find_price, money_line
from orchestrator.ray_cluster.concurrency import plan_concurrency
from orchestrator.ray_cluster.task_cancellation import cancel_task
from orchestrator.sweep.finding import Finding, Level
from orchestrator.sweep.probes import Examination, clock_finding, examine
from prp_core.errors import UserError

ANSWER_SECONDS = 45.0


def placement_findings(config: RunConfig) -> list[Finding]:
    """Whether a trial can be placed, now or by the autoscaler, and what it costs."""
    findings = []
    try:
        capacity = plan_concurrency(config).capacity
    except UserError as error:
        advice = "lower resources.*_per_worker or num_workers, or add nodes that are large enough"
        findings.append(Finding("placement", Level.FAILURE, f"never: {error}", advice, "cluster"))
    else:
        findings.append(placed_finding(capacity))
    try:
        line = money_line(config, find_price(config))
    except UserError as error:
        advice = "give a price, or no budget in dollars"
        findings.append(Finding("price", Level.FAILURE, str(error), advice, "cluster"))
    else:
        epochs = config.sweep.num_trials * config.training.num_epochs
        text = f"{line}; at most {epochs} epochs of {config.sweep.num_trials} trials"
        findings.append(Finding("price", Level.OK, text, where="cluster"))
    return findings


def placed_finding(capacity: Capacity) -> Finding:
    """Whether a trial can be placed now, or only when the autoscaler has added nodes."""
    if capacity.now:
        return Finding("placement", Level.OK, capacity.reason, where="cluster")
    advice = "the first trial waits until the autoscaler has added nodes, which may take minutes"
    return Finding("placement", Level.WARNING, capacity.reason, advice, "cluster")


def node_findings(examination: Examination, config: RunConfig) -> list[Finding]:
    """What a worker finds on one node of each kind that a worker fits on.

    Takes `ANSWER_SECONDS` at most. The tasks ask for no CPU, so that a busy cluster answers, too.
    """
    kinds = dict(_kinds(ray.nodes(), config))
    if not kinds:
        advice = "the autoscaler's nodes can be examined when they are up"
        text = "no node that is up has room for a worker"
        return [Finding("nodes", Level.WARNING, text, advice, "cluster")]
    task = ray.remote(num_cpus=0, max_retries=0)(_on_node)
    sent = time.time()
    waiting = {
        task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(examination): kind
        for kind, node in kinds.items()
    }
    findings = []
    ready, late = ray.wait(list(waiting), num_returns=len(waiting), timeout=ANSWER_SECONDS)
    received = time.time()
    for answer in ready:
        findings += _answers(answer, waiting[answer], sent, received)
    for answer in late:
        cancel_task(answer)
        text = f"no answer within {ANSWER_SECONDS:.0f} s"
        advice = "see `ray status` and the node's logs: it starts no worker, or a probe hangs"
        findings.append(Finding("worker", Level.FAILURE, text, advice, waiting[answer]))
    return findings


def _answers(answer: Any, kind: str, sent: float, received: float) -> list[Finding]:
    try:
        there, found = ray.get(answer)
    # whatever kept a worker from answering is what is found
    except Exception as error:  # noqa: BLE001
        lines = str(getattr(error, "cause", None) or error).strip().splitlines() or [""]
        text = f"a worker does not start: {type(error).__name__}: {lines[-1][:300]}"
        return [
            Finding(
                "worker",
                Level.FAILURE,
                text,
                "install the same Python and packages there as here (one image, `uv sync`)",
                kind,
            )
        ]
    return [
        replace(finding, where=kind) for finding in (clock_finding(sent, there, received), *found)
    ]


def _on_node(examination: Examination) -> tuple[float, list[Finding]]:
    """The time on the node on which this runs, and what its probes find."""
    return time.time(), examine(examination)


def _kinds(
    nodes: list[dict[str, Any]], config: RunConfig
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A name for each kind of node on which a worker fits, and one node of it."""
    seen = set()
    for node in nodes:
        resources = node.get("Resources", {})
        cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
        needed = config.resources
        if not node["Alive"] or cpus < needed.cpus_per_worker or gpus < needed.gpus_per_worker:
            continue
        group = node.get("Labels", {}).get("ray.io/node-group", "")
        kind = f"{group or 'node'} ({cpus:g} CPU, {gpus:g} GPU)"
        if kind not in seen:
            seen.add(kind)
            yield kind, node
