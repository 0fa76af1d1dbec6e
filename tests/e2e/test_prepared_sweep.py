"""A sweep from prepared shards, as a user runs it: `--data` names the prepared place and nothing else changes."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient

from orchestrator.index_run import index
from orchestrator.prepare_run import in_this_process, prepare
from orchestrator.prepare_task import PrepareJob
from orchestrator.storage.store_config import StoreConfig
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.shards import ShardSettings
from tests.tools.study_process import TINY_PRESET, StudyProcess, trial_rows


def test_a_sweep_trains_and_evaluates_from_shards(tiny_videos: Path, tmp_path: Path) -> None:
    manifest, _ = index(tiny_videos, tmp_path / "manifests", state_dir=tmp_path / "state", cache_dir=tmp_path / "cache")
    job = PrepareJob(
        source_uri=manifest.uri,
        uri=(tmp_path / "prepared").as_uri(),
        settings=ShardSettings(height=40, width=48),
        loader=LoaderConfig(num_decoders=1),
        store=StoreConfig(),
        cache_dir=str(tmp_path / "cache"),
        cache_capacity_bytes=1 << 30,
    )
    prepared, _ = prepare(manifest, job, in_this_process)
    words = ["--preset", str(TINY_PRESET), "--data", str(tmp_path / "prepared"), "--trials", "1", "--set", "training.num_epochs=1"]
    with StudyProcess(tmp_path / "home", words) as study:
        assert study.wait() == 0, study.output[-4000:]
    assert [state for _, state, _ in trial_rows(tmp_path / "home", study.sweep_id)] == ["COMPLETE"]
    client = MlflowClient(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    trial = next(run for run in runs if "mlflow.parentRunId" in run.data.tags)
    assert trial.data.metrics["data/shard_frames"] > 0 and trial.data.metrics["data/quarantined"] == 0
    assert trial.data.tags["prp.dataset_hash"] == prepared.content_hash != manifest.content_hash
