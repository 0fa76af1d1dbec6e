"""Ray's autoscaler on a fake cloud without spot capacity: the node comes on demand."""

from __future__ import annotations

from pathlib import Path

from tests.tools.autoscaling_driver import drive
from tests.tools.local_autoscaling_cluster import (
    REPOSITORY_ROOT,
    LocalAutoscalingCluster,
    node_type,
)
from tests.tools.spot_shortage import SPOT_TYPE

GROUP_OF_ONE = """
group = ray.util.placement_group([{"CPU": 2}])
placed = group.wait(100)
types = [node["Resources"] for node in ray.nodes() if node["Alive"]]
print(json.dumps({"placed": placed, "types": types}))
"""


def test_without_spot_capacity_the_node_comes_on_demand() -> None:
    """With the scorer of `cluster/aws/spot_first.py`, started as `cluster/aws/cluster.yaml` starts
    it, on a cloud without spot capacity.
    """
    types = {
        SPOT_TYPE: node_type(cpus=2, max_workers=1) | {"resources": {"CPU": 2, "spot": 1}},
        "gpu_on_demand": node_type(cpus=2, max_workers=1)
        | {"resources": {"CPU": 2, "on_demand": 1}},
    }
    env = {
        "RAY_enable_autoscaler_v2": "0",
        "RAY_AUTOSCALER_UTILIZATION_SCORER": "spot_first.score",
        "PYTHONPATH": f"{REPOSITORY_ROOT}:{Path(REPOSITORY_ROOT, 'cluster', 'aws')}",
    }
    provider = "tests.tools.spot_shortage.NoSpotProvider"
    with LocalAutoscalingCluster(
        types, provider=provider, idle_seconds=60, extra_env=env
    ) as cluster:
        seen = drive(cluster, GROUP_OF_ONE)
        log = cluster.monitor_log
    assert seen["placed"], log
    assert any("on_demand" in resources for resources in seen["types"]), seen
    assert (
        f"Failed to launch 1 node(s) of type {SPOT_TYPE}. (InsufficientInstanceCapacity)" in log
    ), "spot was not tried first"
