"""Ray's autoscaler with a fake cloud: nodes for a trial, and on-demand nodes without spot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.tools.local_autoscaling_cluster import (
    REPOSITORY_ROOT,
    LocalAutoscalingCluster,
    node_type,
)
from tests.tools.spot_shortage import SPOT_TYPE

# What every driver below starts with. It runs in a process of its own: a token of Ray's, once read,
# stays for a process's life.
PREAMBLE = """
import json, sys, time
import ray
from cluster.capacity import TrialBundle, plan_capacity, read_cluster

ray.init(logging_level="ERROR", log_to_driver=False)

def num_workers_alive():
    return sum(1 for node in ray.nodes() if node["Alive"]) - 1

def wait_for(what, seconds=100):
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.3)
    return what()
"""

ONE_TRIAL = """
bundle = TrialBundle(num_workers=2, cpus_per_worker=2)
before = plan_capacity(bundle, read_cluster())
seen = {"nodes_before": num_workers_alive()}
seen["planned_before"] = [before.max_concurrent_trials, before.now]
group = ray.util.placement_group([{"CPU": bundle.cpus_per_worker}] * bundle.num_workers)
seen["first"] = ray.util.placement_group_table(group)["state"]
seen["placed"] = group.wait(100)
during = plan_capacity(bundle, read_cluster())
seen["nodes_during"] = num_workers_alive()
seen["planned_during"] = [during.max_concurrent_trials, during.now]
ray.util.remove_placement_group(group)
wait_for(lambda: num_workers_alive() == 0)
seen["nodes_after"] = num_workers_alive()
print(json.dumps(seen))
"""

GROUP_OF_ONE = """
group = ray.util.placement_group([{"CPU": 2}])
placed = group.wait(100)
types = [node["Resources"] for node in ray.nodes() if node["Alive"]]
print(json.dumps({"placed": placed, "types": types}))
"""


def drive(cluster: LocalAutoscalingCluster, script: str) -> dict[str, Any]:
    """Run a driver on the cluster with the token; returns what its last line says."""
    env = cluster.env | {"PYTHONPATH": str(REPOSITORY_ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + script],
        env=env,
        capture_output=True,
        text=True,
        timeout=260,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + cluster.monitor_log
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_trial_brings_up_its_nodes_and_leaves_none_behind() -> None:
    with LocalAutoscalingCluster(
        {"cpu_worker": node_type(cpus=2, max_workers=3)}, idle_seconds=3
    ) as cluster:
        seen = drive(cluster, ONE_TRIAL)
        log = cluster.monitor_log
    assert seen == {
        "nodes_before": 0, "planned_before": [1, 0], "first": "PENDING", "placed": True,
        "nodes_during": 2, "planned_during": [1, 1], "nodes_after": 0,
    }, log  # fmt: skip
    assert cluster.process_ids == [], "the cluster left processes behind"


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
