"""Capacity: how many trials a cluster can run at once, with the nodes that may still be added.

`plan_capacity` is arithmetic on values; `read_cluster` asks a connected Ray for its nodes, and what
its autoscaler may add. A trial
is a group of equal workers; they may lie on different nodes, but each must fit on one. When not
even one trial fits, the reason holds both numbers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path
from typing import Any

NODES_VARIABLE = "PRP_AUTOSCALED_NODES"
CONFIG_VARIABLE = "PRP_AUTOSCALING_CONFIG"
ALIVE_ONLY = "the nodes that are alive"
MOST_CHARACTERS = 1 << 16
_UNBOUNDED = 1 << 20
# What reading raises where a document has another form than it should.
MISFORMED = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
_EPSILON = 1e-9  # 0.3 / 0.1 is 2.9999999999999996


@dataclass(frozen=True)
class TrialBundle:
    """The resources that one trial requests: those of a worker, `num_workers` times.

    Fractions are allowed.
    """

    num_workers: int
    cpus_per_worker: float
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        if (
            self.num_workers < 1
            or min(self.cpus_per_worker, self.gpus_per_worker) < 0
            or self.cpus_per_worker + self.gpus_per_worker == 0
        ):
            raise ValueError(
                f"{self}: a trial needs at least 1 worker, and each worker some CPU or GPU"
            )

    def __str__(self) -> str:
        gpus = f", {self.gpus_per_worker:g} GPU" if self.gpus_per_worker else ""
        return (
            f"{self.num_workers} worker{'s' if self.num_workers > 1 else ''} x "
            f"{self.cpus_per_worker:g} CPU{gpus}"
        )


@dataclass(frozen=True)
class NodeShape:
    """Nodes of one kind: the CPUs and GPUs of each, and how many there are and may be.

    `alive` nodes are up; the autoscaler may bring them to `limit`.
    """

    cpus: float
    gpus: float
    alive: int
    limit: int
    name: str = ""

    def __post_init__(self) -> None:
        if self.limit < self.alive or min(self.cpus, self.gpus, self.alive) < 0:
            raise ValueError(f"{self!r}: needs 0 <= alive <= limit, and no negative CPUs or GPUs")

    def workers_per_node(self, bundle: TrialBundle) -> int:
        """How many of the bundle's workers fit on one such node.

        A worker's share of a GPU lies on one GPU: two GPUs hold four workers of 0.4, not five.
        """
        fitting = []
        if bundle.cpus_per_worker:
            fitting.append(floor(self.cpus / bundle.cpus_per_worker + _EPSILON))
        if bundle.gpus_per_worker:
            on_one = max(1.0, bundle.gpus_per_worker)
            fitting.append(
                floor(self.gpus / on_one + _EPSILON)
                * floor(on_one / bundle.gpus_per_worker + _EPSILON)
            )
        return min(fitting)

    def __str__(self) -> str:
        count = (
            f"{self.alive}" if self.alive == self.limit else f"{self.alive} (up to {self.limit})"
        )
        return (
            f"{count} x {f'{self.name} ' if self.name else ''}({self.cpus:g} CPU, "
            f"{self.gpus:g} GPU)"
        )


@dataclass(frozen=True)
class Capacity:
    """How many trials fit at once: `max_concurrent_trials` after autoscaling, `now` on the nodes
    that are alive; `reason` is for a person.
    """

    max_concurrent_trials: int
    now: int
    reason: str


@dataclass(frozen=True)
class ClusterShape:
    """The nodes of a cluster, alive and possible.

    `max_autoscaled_nodes` bounds the nodes of all growing kinds together (None: no common bound);
    `source` says where the limits are from.
    """

    nodes: tuple[NodeShape, ...]
    max_autoscaled_nodes: int | None = None
    source: str = ""


def plan_capacity(
    bundle: TrialBundle,
    cluster: ClusterShape | Sequence[NodeShape],
    reserved_cpus: int = 0,
    reserved_gpus: float = 0.0,
) -> Capacity:
    """How many trials of `bundle` fit on the cluster (or on bare nodes) at once.

    `reserved_cpus` single CPUs and `reserved_gpus` (shares of) GPUs are held by something else (a
    driver, an evaluation), where they cost least, so the answer is an upper bound. When no trial
    fits, the reason says where the limits of the `ClusterShape` are from, and how to widen them.
    """
    shape = cluster if isinstance(cluster, ClusterShape) else ClusterShape(tuple(cluster))
    now = (
        _workers(bundle, [(node, node.alive) for node in shape.nodes], reserved_cpus, reserved_gpus)
        // bundle.num_workers
    )
    most = _workers(
        bundle,
        _grown(bundle, shape.nodes, shape.max_autoscaled_nodes),
        reserved_cpus,
        reserved_gpus,
    )
    trials = most // bundle.num_workers
    if trials:
        return Capacity(
            trials,
            now,
            f"room for {trials} trials of {bundle} at once, {now} of them on the nodes that are up",
        )
    have = ", ".join(str(node) for node in shape.nodes if node.limit) or "none"
    parts = [f"{reserved_cpus} CPU"] * bool(reserved_cpus) + [f"{reserved_gpus:g} GPU"] * bool(
        reserved_gpus
    )
    held = f", {', '.join(parts)} held for others" if parts else ""
    known = (
        (
            f" (known from {shape.source}; if it can grow further, say so in "
            f"{NODES_VARIABLE}: docs/clusters.md)"
        )
        if shape.source
        else ""
    )
    workers = f"{most} such worker{'' if most == 1 else 's'}"
    return Capacity(
        0,
        0,
        f"one trial needs {bundle}; the cluster can give at most {workers}: nodes "
        f"{have}{held}{known}",
    )


def _grown(
    bundle: TrialBundle, nodes: Sequence[NodeShape], max_autoscaled_nodes: int | None
) -> list[tuple[NodeShape, int]]:
    """The counts that the autoscaler can reach.

    The shapes that hold most workers grow first, until the common bound.
    """
    growing = sorted(
        (node for node in nodes if node.limit > node.alive),
        key=lambda node: -node.workers_per_node(bundle),
    )
    growable = {id(node) for node in growing}
    already = sum(node.alive for node in nodes if id(node) in growable)
    room = (
        sum(node.limit for node in growing)
        if max_autoscaled_nodes is None
        else max(0, max_autoscaled_nodes - already)
    )
    counts = [(node, node.alive) for node in nodes if id(node) not in growable]
    for node in growing:
        added = min(room, node.limit - node.alive)
        room -= added
        counts.append((node, node.alive + added))
    return counts


def _workers(
    bundle: TrialBundle,
    counts: Sequence[tuple[NodeShape, int]],
    reserved_cpus: int,
    reserved_gpus: float = 0.0,
) -> int:
    """How many workers fit beside the reserved resources.

    CPUs and GPUs that no worker can use are reserved first, then those of workers.
    """
    workers = sum(count * node.workers_per_node(bundle) for node, count in counts)
    spare_cpus = sum(
        count * floor(node.cpus - node.workers_per_node(bundle) * bundle.cpus_per_worker + _EPSILON)
        for node, count in counts
    )
    spare_gpus = sum(
        count * (node.gpus - node.workers_per_node(bundle) * bundle.gpus_per_worker)
        for node, count in counts
    )
    given_way = [0]
    if bundle.cpus_per_worker:
        given_way.append(
            ceil(
                max(0, reserved_cpus - spare_cpus)
                / max(1, floor(bundle.cpus_per_worker + _EPSILON))
            )
        )
    if bundle.gpus_per_worker:
        given_way.append(
            ceil(max(0.0, reserved_gpus - spare_gpus) / bundle.gpus_per_worker - _EPSILON)
        )
    return max(0, workers - max(given_way))


def read_cluster(environ: Mapping[str, str] = os.environ) -> ClusterShape:
    """The cluster to which Ray is connected: its alive nodes, and those that may be added.

    Ray has no public interface for the latter. Looked for in this order: ``PRP_AUTOSCALED_NODES``
    (JSON: a list of ``{"name", "cpus", "gpus", "max_count"}``), ``PRP_AUTOSCALING_CONFIG`` (path of
    the `ray up` file that the head was started with), the cluster configuration in Ray's GCS (which
    only hosted autoscalers fill in 2.60). Raises `ValueError` for a variable it cannot read.
    """
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    if environ.get(NODES_VARIABLE):
        return merge_nodes(alive, _parse_nodes(environ[NODES_VARIABLE]), None, NODES_VARIABLE)
    if environ.get(CONFIG_VARIABLE):
        path = Path(environ[CONFIG_VARIABLE]).expanduser()
        types, bound = _parse_config(path)
        return merge_nodes(alive, types, bound, f"{CONFIG_VARIABLE}={path}")
    types = _types_in_gcs()
    return merge_nodes(alive, types, None, "Ray's cluster configuration" if types else ALIVE_ONLY)


def merge_nodes(
    alive: Sequence[Mapping[str, Any]], types: Sequence[NodeShape], bound: int | None, source: str
) -> ClusterShape:
    """The cluster of `alive` nodes, as `ray.nodes()` gives them, and the autoscaler's `types`.

    A node is of a type by its name, else by equal resources.
    """
    counts = [0] * len(types)
    others: dict[tuple[float, float], int] = {}
    for node in alive:
        shape = (float(node["Resources"].get("CPU", 0)), float(node["Resources"].get("GPU", 0)))
        name = node.get("Labels", {}).get("ray.io/node-group", "")
        is_head = "node:__internal_head__" in node["Resources"]
        places = [index for index, one in enumerate(types) if name == one.name] if name else []
        places = places or [
            index
            for index, one in enumerate(types)
            if not is_head and (one.cpus, one.gpus) == shape and counts[index] < one.limit
        ]
        if places:
            counts[places[0]] += 1
        else:
            others[shape] = others.get(shape, 0) + 1
    grown = [
        NodeShape(one.cpus, one.gpus, count, max(one.limit, count), one.name)
        for one, count in zip(types, counts, strict=True)
    ]
    fixed = [
        NodeShape(cpus, gpus, count, count)
        for (cpus, gpus), count in sorted(others.items(), reverse=True)
    ]
    return ClusterShape((*fixed, *grown), bound, source)


def _parse_nodes(text: str) -> list[NodeShape]:
    try:
        return [
            _type_of(str(one.get("name", "")), one["cpus"], one.get("gpus", 0), one["max_count"])
            for one in json.loads(text)
        ]
    except MISFORMED as error:
        raise ValueError(
            f'{NODES_VARIABLE} = {text!r}: needs a JSON list of {{"name", "cpus", '
            f'"gpus", "max_count"}} ({error!r})'
        ) from error


def _parse_config(path: Path) -> tuple[list[NodeShape], int]:
    import yaml  # a dependency of Ray's own

    try:
        config = yaml.safe_load(text_of_config(path))
        bound = int(config["max_workers"])
        workers = {
            name: one
            for name, one in config["available_node_types"].items()
            if name != config["head_node_type"]
        }
        return [
            _type_of(name, _cpus(one), _gpus(one), one.get("max_workers", bound))
            for name, one in workers.items()
        ], bound
    except (OSError, yaml.YAMLError, *MISFORMED) as error:
        raise ValueError(
            f"{CONFIG_VARIABLE} = {str(path)!r}: not a readable `ray up` file "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        ) from error


def text_of_config(path: Path) -> str:
    """The text of a `ray up` file, which is small; the parser takes minutes for others."""
    with path.open(encoding="utf-8") as file:
        text = file.read(MOST_CHARACTERS + 1)
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has more than {MOST_CHARACTERS} characters")
    return text


def _cpus(node_type: Mapping[str, Any]) -> float:
    return float(node_type["resources"].get("CPU", 0))


def _gpus(node_type: Mapping[str, Any]) -> float:
    return float(node_type["resources"].get("GPU", 0))


def _types_in_gcs() -> list[NodeShape]:
    """The node types in Ray's GCS; none if Ray has none there, or has moved this private API."""
    try:
        from ray._private.state import state

        config = state.get_cluster_config()
    except (ImportError, AttributeError):
        return []
    groups = config.node_group_configs if config is not None else []
    return [
        _type_of(one.name, one.resources.get("CPU", 0), one.resources.get("GPU", 0), one.max_count)
        for one in groups
    ]


def _type_of(name: str, cpus: float, gpus: float, max_count: int) -> NodeShape:
    """A type of which no node is alive yet; Ray writes -1 for "as many as you like"."""
    return NodeShape(
        float(cpus), float(gpus), 0, int(max_count) if int(max_count) >= 0 else _UNBOUNDED, name
    )
