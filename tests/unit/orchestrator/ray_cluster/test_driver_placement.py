"""Where the processes that drive trials may run, as a table of clusters."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.ray_cluster.driver_placement import nodes_to_avoid

GIB = 1 << 30


def node(name: str, *, gpus: float = 0, market: str = "", alive: bool = True) -> dict[str, Any]:
    """A node as `ray.nodes()` lists it."""
    labels = {"ray.io/market-type": market} if market else {}
    return {"NodeID": name, "Alive": alive, "Resources": {"GPU": gpus}, "Labels": labels}


@pytest.mark.parametrize(
    ("nodes", "free_gib", "avoided"),
    [
        ([node("head"), node("gpu", gpus=1)], {"head": 4, "gpu": 60}, ["gpu"]),
        ([node("head"), node("gpu", gpus=1)], {"head": 0.2, "gpu": 60}, []),
        ([node("box", gpus=8)], {"box": 500}, []),
        ([node("one"), node("two")], {"one": 4, "two": 4}, []),
        ([node("head"), node("cpu", market="spot")], {"head": 4, "cpu": 60}, ["cpu"]),
        ([node("head", alive=False), node("gpu", gpus=1)], {"head": 4, "gpu": 60}, []),
        (
            [node("head"), node("cpu"), node("b", gpus=1), node("a", gpus=1, market="spot")],
            {"head": 0, "cpu": 4, "a": 60, "b": 60},
            ["a", "b"],
        ),
    ],
    ids=["head", "head is full", "one box", "CPUs alone", "CPU spot", "head is gone", "CPU node"],
)
def test_drivers_run_beside_gpu_and_spot_nodes_where_there_is_room(
    nodes: list[dict[str, Any]], free_gib: dict[str, float], avoided: list[str]
) -> None:
    available = {name: {"memory": free * GIB} for name, free in free_gib.items()}
    assert nodes_to_avoid(nodes, available, 0.35 * GIB) == avoided
