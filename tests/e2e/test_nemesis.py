"""Servers and nodes of a sweep are killed while it runs; its records are those of peace.

The other kinds of its processes are killed in test_interruptions.py (driver, coordinator, a trial's
driver, a controller) and test_workers.py; tests/campaigns/test_nemesis.py kills all of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.nemesis_sweep import faults_after
from tests.fixtures_mlflow import MlflowServer
from tests.fixtures_s3 import S3Server
from tests.tools.nemesis import Kind

pytestmark = pytest.mark.timeout(1200)


def test_nothing_is_lost_when_servers_and_a_node_are_killed(
    tmp_path: Path,
    tiny_videos: Path,
    mlflow_server: MlflowServer,
    s3_environment: S3Server,
    s3_bucket: str,
) -> None:
    faults, said = faults_after(
        (Kind.S3, Kind.MLFLOW, Kind.RAYLET),
        tmp_path,
        tiny_videos,
        f"s3://{s3_bucket}/prp",
        mlflow_server,
        s3_environment,
    )
    assert faults == [], said
