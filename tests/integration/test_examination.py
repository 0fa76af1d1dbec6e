"""The nodes of a real Ray, examined with a worker's eyes: credentials of the driver are not its."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.run_config import load_config, to_tree
from orchestrator.ray_cluster.connect import ray_cluster
from orchestrator.storage.open_store import open_store
from orchestrator.sweep.examination import node_findings, placement_findings
from orchestrator.sweep.finding import Level
from orchestrator.sweep.group_probe import group_findings
from orchestrator.sweep.probes import Examination, examine, versions_here, write_token
from tests.fixtures_s3 import S3Server

TWO_WORKERS = ["resources.num_workers=2"]
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def test_credentials_that_only_the_driver_has_are_found_before_anything_is_spent(
    s3_environment: S3Server,
    s3_bucket: str,
    tiny_videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = [f'cache.dir="{tmp_path / "cache"}"', f'source.uri="{tiny_videos}"']
    config = load_config("demo", settings)
    storage = f"s3://{s3_bucket}/prp"
    examination = Examination(
        config=to_tree(config),
        storage_uri=storage,
        storage_token=write_token(open_store(storage, config.store)),
        versions=versions_here(),
    )
    assert all(one.level != Level.FAILURE for one in examine(examination)), "the driver reaches all"
    with monkeypatch.context() as without:
        for name in SECRETS:
            without.delenv(name)
        cluster = ray_cluster(num_cpus=2)
        cluster.__enter__()  # its processes have the environment of this moment
    try:
        findings = {one.what: one for one in node_findings(examination, config)}
        (summed, timed) = group_findings(load_config("demo", TWO_WORKERS))
        (busy,) = group_findings(load_config("demo", [*TWO_WORKERS, "resources.cpus_per_worker=2"]))
        placed, price = placement_findings(config)
        (never, _) = placement_findings(load_config("demo", ["resources.cpus_per_worker=64"]))
    finally:
        cluster.__exit__(None, None, None)
    assert (summed.level, summed.text) == (Level.OK, "2 workers sum over gloo")
    assert timed.text.startswith("a step of 8 clips takes 0.") and "an epoch of 1,000" in timed.text
    assert busy.level == Level.WARNING and busy.text.startswith("no place for a trial's workers is")
    storage_found = findings.pop("storage")
    assert storage_found.where == "node (2 CPU, 0 GPU)"
    assert storage_found.level == Level.FAILURE and "credentials" in storage_found.text.lower()
    assert "those of the driver are not sent to workers" in storage_found.advice
    assert {one.level for one in findings.values()} <= {Level.OK, Level.WARNING}, findings
    assert findings["clock"].level == Level.OK and findings["versions"].level == Level.OK
    assert "sample videos decode" in findings["videos"].text
    assert (placed.level, price.level, never.level) == (Level.OK, Level.OK, Level.FAILURE)
    assert never.text.startswith("never: The cluster is too small for one trial: one trial needs")
