"""A sweep submitted as a Ray job, with videos and checkpoints in S3 and an MLflow server.

The cluster wants a token, and the command is the one of the README:
``ray job submit --working-dir . -- python sweeps/rate_search.py --preset demo``.
"""

from __future__ import annotations

import json
from pathlib import Path

from mlflow import MlflowClient

from orchestrator.tracking import load_encoder
from tests.fixtures_mlflow import MlflowServer
from tests.fixtures_s3 import S3Server
from tests.tools.study_process import REPOSITORY
from tests.tools.token_cluster import TokenCluster

SMALLER = [
    "training.num_epochs=2",
    "training.first_rung_epochs=1",
    "evaluation.views.num_clips=1",
    "evaluation.recognition.num_epochs=1",
]


def test_a_submitted_sweep_from_s3_to_mlflow(
    s3_server: S3Server,
    mlflow_server: MlflowServer,
    token_cluster: TokenCluster,
    tiny_videos: Path,
    tmp_path: Path,
) -> None:
    bucket = s3_server.make_bucket()
    s3_server.upload_folder(tiny_videos, bucket, "videos/")
    words = [
        "python",
        "sweeps/rate_search.py",
        "--preset",
        "demo",
        "--trials",
        "1",
        "--mlflow",
        mlflow_server.uri,
    ]
    words += [
        "--data",
        f"s3://{bucket}/videos",
        "--storage",
        f"s3://{bucket}/prp",
        "--set",
        "sweep.name=submitted",
    ]
    for setting in [
        *SMALLER,
        "showcase.num_trials=0",
        f"cache.dir={tmp_path / 'cache'}",
        "source.val_fraction=0.3",
    ]:
        words += ["--set", setting]
    job_id = token_cluster.submit(words, working_dir=REPOSITORY)
    status = token_cluster.wait(job_id, timeout_seconds=800)
    log = token_cluster.logs(job_id)
    assert status == "SUCCEEDED", log[-4000:]
    assert s3_server.secret_key not in json.dumps(token_cluster.request("/api/jobs/")) + log
    assert "Winner: trial" in log
    client = MlflowClient(mlflow_server.uri)
    runs = client.search_runs([client.get_experiment_by_name("submitted").experiment_id])
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 2
    assert sum("mlflow.parentRunId" in run.data.tags for run in runs) == 1
    keys = [
        entry["Key"]
        for entry in s3_server.client().list_objects_v2(Bucket=bucket, Prefix="prp/")["Contents"]
    ]
    assert any("/checkpoints/" in key for key in keys) and any(
        key.startswith("prp/manifests/manifest-") for key in keys
    )
    assert load_encoder("models:/prp-submitted@best", mlflow_server.uri).feature_channels > 0
