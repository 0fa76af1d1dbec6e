"""Short Ray drivers on a test cluster, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.tools.local_autoscaling_cluster import REPOSITORY_ROOT, LocalAutoscalingCluster

# What every driver starts with. It runs in a process of its own: a token of Ray's, once read,
# stays for a process's life.
PREAMBLE = """
import json, sys, time
import ray
from cluster.capacity import TrialBundle, plan_capacity, read_cluster

ray.init(logging_level="ERROR", log_to_driver=False)

def num_workers_alive():
    return sum(1 for node in ray.nodes() if node["Alive"]) - 1

def wait_for(what, seconds=180):
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.3)
    return what()
"""


def drive(cluster: LocalAutoscalingCluster, script: str) -> dict[str, Any]:
    """Run a driver on the cluster with the token; returns what its last line says."""
    env = cluster.env | {"PYTHONPATH": str(REPOSITORY_ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + script],
        env=env,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + cluster.monitor_log
    return dict(json.loads(done.stdout.splitlines()[-1]))
