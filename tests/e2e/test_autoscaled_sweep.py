"""A sweep on a cluster without worker nodes: the autoscaler adds and removes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from mlflow import MlflowClient

from orchestrator.config.cache_config import CacheConfig
from orchestrator.config.store_config import StoreConfig
from orchestrator.data.index import IndexJob, index
from orchestrator.data.prepare import in_this_process, prepare
from orchestrator.data.prepare_task import PrepareJob
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.shards.index import ShardSettings
from tests.tools.local_autoscaling_cluster import LocalAutoscalingCluster, node_type
from tests.tools.study_process import REPOSITORY, TINY_PRESET, StudyProcess, trial_rows

# a pause of the sweep on a busy machine: nodes that go and come within it cost the suite time
IDLE_SECONDS = 30

COUNT_NODES = """
import json, sys, time
import ray

def num_workers_alive():
    return sum(1 for node in ray.nodes() if node["Alive"]) - 1

ray.init(logging_level="ERROR", log_to_driver=False)
deadline = time.monotonic() + float(sys.argv[1])
while num_workers_alive() and time.monotonic() < deadline:
    time.sleep(0.5)
print(json.dumps(num_workers_alive()))
"""


def num_workers_alive(cluster: LocalAutoscalingCluster, *, after_seconds: float = 0.0) -> int:
    """Worker nodes that are up, once there is none or after `after_seconds`.

    Counted in a process of its own: a token, once read, stays for a process's life.
    """
    done = subprocess.run(
        [sys.executable, "-c", COUNT_NODES, str(after_seconds)],
        env=cluster.env,
        capture_output=True,
        text=True,
        timeout=120 + after_seconds,
        check=True,
        cwd=REPOSITORY,
    )
    return int(json.loads(done.stdout.splitlines()[-1]))


def prepared(videos: Path, folder: Path) -> tuple[str, str, str]:
    """(URI of `videos` as shards, hash of the originals' manifest, hash of the shards')."""
    cache = CacheConfig(dir=str(folder / "cache"), capacity_bytes=1 << 30)
    to_index = IndexJob(
        uri=videos, out_uri=folder / "manifests", state_dir=folder / "state", cache=cache
    )
    manifest, _ = index(to_index)
    job = PrepareJob(
        source_uri=manifest.uri,
        uri=(folder / "prepared").as_uri(),
        settings=ShardSettings(height=40, width=48),
        loader=LoaderConfig(num_decoders=1),
        store=StoreConfig(),
        cache=cache,
    )
    made, _ = prepare(manifest, job, in_this_process)
    return job.uri, manifest.content_hash, made.content_hash


def test_the_nodes_of_a_sweep_come_and_go(tiny_videos: Path, tmp_path: Path) -> None:
    with LocalAutoscalingCluster(
        {"cpu.worker": node_type(cpus=1, max_workers=2)}, idle_seconds=IDLE_SECONDS
    ) as cluster:
        assert num_workers_alive(cluster) == 0
        place, original_hash, prepared_hash = prepared(tiny_videos, tmp_path)
        words = [
            "--preset",
            str(TINY_PRESET),
            "--data",
            place,
            "--trials",
            "2",
            "--set",
            "evaluation.views.num_clips=1",
        ]
        with StudyProcess(tmp_path, words, cluster.env) as study:
            assert study.wait(800) == 0, study.output[-3000:] + cluster.monitor_log
            assert (
                "room for 2 trials of 1 worker x 1 CPU at once, 0 of them on the nodes that are up"
                in study.output
            )
            sweep_id = study.sweep_id
        states = {state for _, state, _ in trial_rows(tmp_path, sweep_id)}
        assert states <= {"COMPLETE", "PRUNED"}, study.output[-3000:] + cluster.monitor_log
        client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
        runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
        trials = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
        assert any(run.data.metrics["data/shard_frames"] > 0 for run in trials), (
            "what one took from a shard, the other finds in the cache"
        )
        assert all(run.data.metrics["data/quarantined"] == 0 for run in trials)
        assert (
            {run.data.tags["prp.dataset_hash"] for run in trials}
            == {prepared_hash}
            != {original_hash}
        )
        assert num_workers_alive(cluster, after_seconds=240) == 0, (
            "idle nodes stay up:\n" + cluster.monitor_log
        )
