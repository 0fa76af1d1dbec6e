"""A sweep on a cluster that has no worker node: its trials make Ray's autoscaler bring them up, and they go when it has ended."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.tools.local_autoscaling_cluster import LocalAutoscalingCluster, node_type
from tests.tools.study_process import REPOSITORY, TINY_PRESET, StudyProcess, trial_rows

# Longer than any pause of the sweep: the nodes of this machine share one folder, and one that is taken down removes the others' working directory.
IDLE_SECONDS = 45

COUNT_NODES = """
import json, ray
ray.init(logging_level="ERROR", log_to_driver=False)
print(json.dumps(sum(1 for node in ray.nodes() if node["Alive"]) - 1))
"""


def num_workers_alive(cluster: LocalAutoscalingCluster) -> int:
    """Worker nodes that are up now, asked from a process of its own: a token, once read, stays for a process's life."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT_NODES], env=cluster.env, capture_output=True, text=True, timeout=120, check=True, cwd=REPOSITORY
    )
    return int(json.loads(done.stdout.splitlines()[-1]))


def test_the_nodes_of_a_sweep_come_and_go(tiny_videos: Path, tmp_path: Path) -> None:
    with LocalAutoscalingCluster({"cpu.worker": node_type(cpus=1, max_workers=2)}, idle_seconds=IDLE_SECONDS) as cluster:
        assert num_workers_alive(cluster) == 0
        words = ["--preset", str(TINY_PRESET), "--data", str(tiny_videos), "--trials", "2", "--set", "evaluation.views.num_clips=1"]
        with StudyProcess(tmp_path, words, cluster.env) as study:
            assert study.wait(800) == 0, study.output[-3000:] + cluster.monitor_log
            assert "room for 2 trials of 1 worker x 1 CPU at once, 0 of them on the nodes that are up" in study.output
            sweep_id = study.sweep_id
        assert all(state in ("COMPLETE", "PRUNED") for _, state, _ in trial_rows(tmp_path, sweep_id))
        deadline = time.monotonic() + 240
        while num_workers_alive(cluster):
            assert time.monotonic() < deadline, "idle nodes stay up:\n" + cluster.monitor_log
