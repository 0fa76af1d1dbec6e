"""A sweep submitted as a Ray job to a cluster without worker nodes, with S3 and an MLflow server.

The cluster wants a token, and the command is the one of the README:
``ray job submit --working-dir . -- python sweeps/rate_search.py --preset demo``. The sweep's trials
make Ray's autoscaler bring the nodes up, and the nodes go when the sweep has ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.config.cache_config import CacheConfig
from orchestrator.config.store_config import StoreConfig
from orchestrator.data.index import IndexJob, index
from orchestrator.data.prepare import in_this_process, prepare
from orchestrator.data.prepare_task import PrepareJob
from orchestrator.tracking import load_encoder
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.shards.index import ShardSettings
from tests.fixtures_mlflow import MlflowServer
from tests.fixtures_s3 import S3Server
from tests.tools.autoscaling_driver import drive
from tests.tools.local_autoscaling_cluster import LocalAutoscalingCluster, node_type
from tests.tools.study_process import REPOSITORY, trial_rows

# Longer than a sweep pauses on a busy machine: nodes that go and come within it take time.
IDLE_SECONDS = 30
SMALLER = [
    "training.num_epochs=2",
    "training.first_rung_epochs=1",
    "evaluation.views.num_clips=1",
    "evaluation.recognition.num_epochs=1",
    "source.val_fraction=0.3",
    "showcase.num_trials=0",
]

ONE_TRIAL = """
bundle = TrialBundle(num_workers=2, cpus_per_worker=1)
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

NODES_LEFT = """
wait_for(lambda: num_workers_alive() == 0)
print(json.dumps({"alive": num_workers_alive()}))
"""


@dataclass(frozen=True)
class Place:
    """A cluster whose processes find the S3 server, and `home` as the home of their sweeps."""

    cluster: LocalAutoscalingCluster
    home: Path


@pytest.fixture(scope="module")
def place(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A head without CPUs, to which the autoscaler adds at most two nodes of one CPU."""
    home = tmp_path_factory.mktemp("home")
    with LocalAutoscalingCluster(
        {"cpu.worker": node_type(cpus=1, max_workers=2)},
        idle_seconds=IDLE_SECONDS,
        extra_env={**s3_server.environment, "PRP_HOME": str(home)},
    ) as cluster:
        yield Place(cluster, home)
    assert cluster.process_ids == [], "the cluster left processes behind"


def test_a_trial_brings_up_its_nodes_and_leaves_none_behind(place: Place) -> None:
    seen = drive(place.cluster, ONE_TRIAL)
    assert seen == {
        "nodes_before": 0, "planned_before": [1, 0], "first": "PENDING", "placed": True,
        "nodes_during": 2, "planned_during": [1, 1], "nodes_after": 0,
    }, place.cluster.monitor_log  # fmt: skip


def prepared(bucket: str, folder: Path) -> tuple[str, str, str]:
    """The URI of the bucket's videos as shards, the hash of the videos' manifest, and the hash of
    the shards' manifest.
    """
    cache = CacheConfig(dir=str(folder / "cache"), capacity_bytes=1 << 30)
    to_index = IndexJob(
        uri=f"s3://{bucket}/videos",
        out_uri=folder / "manifests",
        state_dir=folder / "state",
        cache=cache,
    )
    manifest, _ = index(to_index)
    job = PrepareJob(
        source_uri=manifest.uri,
        uri=f"s3://{bucket}/prepared",
        settings=ShardSettings(height=40, width=50),
        loader=LoaderConfig(num_decoders=1),
        store=StoreConfig(),
        cache=cache,
    )
    made, _ = prepare(manifest, job, in_this_process)
    return job.uri, manifest.content_hash, made.content_hash


def test_a_submitted_sweep_brings_up_its_nodes_and_leaves_its_records(
    place: Place,
    s3_environment: S3Server,
    mlflow_server: MlflowServer,
    tiny_videos: Path,
    tmp_path: Path,
) -> None:
    cluster = place.cluster
    bucket = s3_environment.make_bucket()
    s3_environment.upload_folder(tiny_videos, bucket, "videos/")
    shards_uri, original_hash, prepared_hash = prepared(bucket, tmp_path)
    assert drive(cluster, NODES_LEFT) == {"alive": 0}
    words = ["python", "sweeps/rate_search.py", "--preset", "demo", "--trials", "2"]
    words += [
        "--data",
        shards_uri,
        "--storage",
        f"s3://{bucket}/prp",
        "--mlflow",
        mlflow_server.uri,
    ]
    own = ["sweep.name=submitted", f"cache.dir={tmp_path / 'node-cache'}"]
    for setting in [*own, *SMALLER]:
        words += ["--set", setting]
    job_id = cluster.submit(words, working_dir=REPOSITORY)
    status = cluster.wait(job_id, timeout_seconds=800)
    log = cluster.logs(job_id)
    assert status == "SUCCEEDED", log[-4000:] + cluster.monitor_log
    assert s3_environment.secret_key not in json.dumps(cluster.request("/api/jobs/")) + log
    assert (
        "room for 2 trials of 1 worker x 1 CPU at once, 0 of them on the nodes that are up" in log
    )
    assert "Taken:       trial" in log
    (state_dir,) = (place.home / "sweeps").iterdir()
    states = {state for _, state, _ in trial_rows(f"s3://{bucket}/prp", state_dir.name)}
    assert states <= {"COMPLETE", "PRUNED"}, log[-3000:] + cluster.monitor_log
    check_runs(mlflow_server, original_hash, prepared_hash)
    keys = [
        entry["Key"]
        for entry in s3_environment.client().list_objects_v2(Bucket=bucket, Prefix="prp/")[
            "Contents"
        ]
    ]
    assert any("/checkpoints/" in key for key in keys) and any(
        key.startswith("prp/manifests/manifest-") for key in keys
    )
    assert load_encoder("models:/prp-submitted@best", mlflow_server.uri).feature_channels > 0
    assert drive(cluster, NODES_LEFT) == {"alive": 0}, "idle nodes stay up:\n" + cluster.monitor_log


def check_runs(server: MlflowServer, original_hash: str, prepared_hash: str) -> None:
    """The parent's run and the trials' have ended, and the trials trained on shards."""
    client = MlflowClient(server.uri)
    runs = client.search_runs([client.get_experiment_by_name("submitted").experiment_id])
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 6, "with the baselines"
    trials = [run for run in runs if run.data.tags["prp.role"] == "trial"]
    assert len(trials) == 2
    assert any(run.data.metrics["data/shard_frames"] > 0 for run in trials), (
        "what one took from a shard, the other finds in the cache"
    )
    assert all(run.data.metrics["data/quarantined"] == 0 for run in trials)
    assert (
        {run.data.tags["prp.dataset_hash"] for run in trials} == {prepared_hash} != {original_hash}
    )
