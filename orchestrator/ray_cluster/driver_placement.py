"""Placement of the processes that drive trials: beside the GPU and spot nodes, where there is room.

A driver only waits, with Ray Train's controller in it, and its trial starts again when it is lost.
So it belongs on a node that stays: the head, or a CPU node on demand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray._private.state import available_resources_per_node  # no public name

from cluster.prices import MARKET_LABELS

NODE_ID_LABEL = "ray.io/node-id"


def driver_labels(memory_bytes: float) -> dict[str, str]:
    """The label selector for a driver that asks for `memory_bytes` now; empty: any node.

    Nodes are named one by one, because labels say nothing of GPUs.
    """
    avoided = nodes_to_avoid(ray.nodes(), available_resources_per_node(), memory_bytes)
    return {NODE_ID_LABEL: f"!in({','.join(avoided)})"} if avoided else {}


def nodes_to_avoid(
    nodes: Sequence[Mapping[str, Any]],
    available: Mapping[str, Mapping[str, float]],
    memory_bytes: float,
) -> list[str]:
    """The ids of the `nodes` with GPUs and of those on spot; empty where no other node has so much
    memory `available` (by node id), so that a driver never waits for a better place.
    """
    alive = [node for node in nodes if node["Alive"]]
    avoided = [node["NodeID"] for node in alive if _may_go(node) or _trains(node)]
    others = {node["NodeID"] for node in alive} - set(avoided)
    has_room = any(available.get(one, {}).get("memory", 0.0) >= memory_bytes for one in others)
    return sorted(avoided) if has_room else []


def _trains(node: Mapping[str, Any]) -> bool:
    return bool(node["Resources"].get("GPU"))


def _may_go(node: Mapping[str, Any]) -> bool:
    labels = node.get("Labels", {})
    return any("spot" in labels.get(label, "") for label in MARKET_LABELS)
