"""Capacity as a table of values, and the refusal's text."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.capacity import (
    ALIVE_ONLY,
    Capacity,
    ClusterShape,
    NodeShape,
    TrialBundle,
    merge_nodes,
    plan_capacity,
)

LAPTOP = [NodeShape(cpus=2, gpus=0, alive=1, limit=1)]
HEAD_AND_SPOT = [NodeShape(8, 0, 1, 1, "head"), NodeShape(8, 1, 0, 4, "spot")]
TWO_GPU_KINDS = [NodeShape(8, 1, 1, 3, "small"), NodeShape(32, 4, 0, 2, "big")]


@pytest.mark.parametrize(
    ("bundle", "nodes", "reserved", "bound", "expected"),
    [
        (TrialBundle(1, 1), LAPTOP, 0, None, (2, 2)),
        (TrialBundle(2, 1), LAPTOP, 0, None, (1, 1)),
        (TrialBundle(1, 1), LAPTOP, 1, None, (1, 1)),
        (TrialBundle(1, 1), LAPTOP, 2, None, (0, 0)),
        (TrialBundle(1, 0.5), LAPTOP, 0, None, (4, 4)),
        (
            TrialBundle(1, 0.1),
            [NodeShape(0.3, 0, 1, 1)],
            0,
            None,
            (3, 3),
        ),  # 0.3 / 0.1 < 3 in floating point
        (TrialBundle(3, 1), LAPTOP, 0, None, (0, 0)),
        (
            TrialBundle(1, 3),
            [*LAPTOP, *LAPTOP],
            0,
            None,
            (0, 0),
        ),  # 4 CPUs in all, but no node holds 3
        (
            TrialBundle(3, 1),
            [*LAPTOP, *LAPTOP],
            0,
            None,
            (1, 1),
        ),  # the workers of one trial spread over nodes
        (
            TrialBundle(2, 4, 1),
            HEAD_AND_SPOT,
            0,
            None,
            (2, 0),
        ),  # scaled to zero: none now, two later
        (
            TrialBundle(2, 4, 1),
            HEAD_AND_SPOT,
            0,
            3,
            (1, 0),
        ),  # max_workers of the whole cluster binds
        (TrialBundle(2, 4, 1), HEAD_AND_SPOT, 8, None, (2, 0)),  # the head holds what is reserved
        (TrialBundle(1, 8, 1), TWO_GPU_KINDS, 0, None, (11, 1)),
        (TrialBundle(1, 8, 1), TWO_GPU_KINDS, 0, 2, (5, 1)),  # one node more: the big one
        (
            TrialBundle(1, 0, 0.5),
            TWO_GPU_KINDS,
            40,
            2,
            (10, 2),
        ),  # workers without CPUs lose nothing to reserved CPUs
        (
            TrialBundle(1, 4),
            [NodeShape(10, 0, 2, 2)],
            4,
            None,
            (4, 4),
        ),  # 2 CPUs of each node are of no use to a worker
        (TrialBundle(1, 4), [NodeShape(10, 0, 2, 2)], 5, None, (3, 3)),
        (
            TrialBundle(1, 1, 0.4),
            [NodeShape(48, 2, 1, 1)],
            0,
            None,
            (4, 4),
        ),  # two on each GPU; no worker lies on halves of two
        (TrialBundle(1, 1, 2), [NodeShape(48, 3, 1, 1)], 0, None, (1, 1)),
        (TrialBundle(1, 1), [], 0, None, (0, 0)),
    ],
)
def test_capacity_table(
    bundle: TrialBundle,
    nodes: list[NodeShape],
    reserved: int,
    bound: int | None,
    expected: tuple[int, int],
) -> None:
    plan = plan_capacity(bundle, ClusterShape(tuple(nodes), bound), reserved)
    assert (plan.max_concurrent_trials, plan.now) == expected, plan.reason


@pytest.mark.parametrize(
    ("bundle", "nodes", "gpus", "expected"),
    [
        (
            TrialBundle(1, 6, 1),
            [NodeShape(48, 8, 1, 1)],
            0.5,
            7,
        ),  # a share of a GPU takes a whole one from the trials
        (TrialBundle(1, 6, 1), [NodeShape(48, 8, 1, 1)], 2.0, 6),
        (
            TrialBundle(1, 6, 0.75),
            [NodeShape(48, 1, 1, 1)],
            0.25,
            1,
        ),  # what is left of the GPU is enough
        (TrialBundle(1, 1, 0), [NodeShape(4, 1, 1, 1)], 1.0, 4),  # trials without GPUs lose nothing
    ],
)
def test_what_evaluations_need_of_gpus_is_taken_off(
    bundle: TrialBundle, nodes: list[NodeShape], gpus: float, expected: int
) -> None:
    assert plan_capacity(bundle, nodes, reserved_gpus=gpus).max_concurrent_trials == expected


def test_a_refusal_holds_both_numbers_and_where_they_come_from() -> None:
    nodes = (NodeShape(2, 0, 1, 1), NodeShape(8, 1, 0, 1, "gpu_spot"))
    plan = plan_capacity(TrialBundle(2, 4, 1), nodes, reserved_cpus=2)
    assert plan == Capacity(
        0, 0,
        "one trial needs 2 workers x 4 CPU, 1 GPU; the cluster can give at most 1 such worker: "
        "nodes 1 x (2 CPU, 0 GPU), 0 (up to 1) x gpu_spot (8 CPU, 1 GPU), 2 CPU held for others",
    )  # fmt: skip
    reason = plan_capacity(TrialBundle(2, 4, 1), ClusterShape(nodes, source=ALIVE_ONLY)).reason
    assert "known from the nodes that are alive" in reason
    assert "PRP_AUTOSCALED_NODES" in reason


def test_what_fits_says_so() -> None:
    plan = plan_capacity(TrialBundle(2, 4, 1), HEAD_AND_SPOT)
    assert plan.reason == (
        "room for 2 trials of 2 workers x 4 CPU, 1 GPU at once, 0 of them on the nodes that are up"
    )


@pytest.mark.parametrize("numbers", [(0, 1, 0), (1, 0, 0), (1, -1, 1)])
def test_an_empty_bundle_is_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1 worker"):
        TrialBundle(*numbers)


def node(cpus: float, gpus: float = 0, *, head: bool = False, group: str = "") -> dict[str, Any]:
    """A node as `ray.nodes()` writes it."""
    resources = {
        "CPU": cpus,
        **({"GPU": gpus} if gpus else {}),
        **({"node:__internal_head__": 1.0} if head else {}),
    }
    return {
        "Alive": True,
        "Resources": resources,
        "Labels": {"ray.io/node-group": group} if group else {},
    }


def test_alive_nodes_are_counted_into_their_types_once() -> None:
    types = [NodeShape(8, 1, 0, 2, "spot"), NodeShape(8, 1, 0, 1, "on_demand")]
    alive = [node(8, 1, head=True), node(8, 1, group="on_demand"), node(8, 1), node(8, 1), node(4)]
    shape = merge_nodes(alive, types, 3, "a test")
    assert shape.nodes == (
        NodeShape(8, 1, 1, 1),
        NodeShape(4, 0, 1, 1),
        NodeShape(8, 1, 2, 2, "spot"),
        NodeShape(8, 1, 1, 1, "on_demand"),
    )
    assert plan_capacity(TrialBundle(1, 8, 1), shape).max_concurrent_trials == 4
