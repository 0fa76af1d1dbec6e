"""Every kind of process of a sweep is killed once while it runs; its records are those of peace.

The long version is tests/campaigns/test_nemesis.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.nemesis_sweep import NUM_TRIALS, in_peace, under_fire
from tests.fixtures_mlflow import MlflowServer
from tests.fixtures_s3 import S3Server
from tests.sweep_check import faults_of
from tests.tools.nemesis import Kind

pytestmark = pytest.mark.timeout(1200)

# In this order within one sweep: what is lost at once first, the whole driver last.
STRIKES = (
    Kind.WORKER,
    Kind.COORDINATOR,
    Kind.S3,
    Kind.CONTROLLER,
    Kind.MLFLOW,
    Kind.TRIAL_DRIVER,
    Kind.RAYLET,
    Kind.DRIVER,
)


def test_nothing_is_lost_whatever_is_killed(
    tmp_path: Path,
    tiny_videos: Path,
    mlflow_server: MlflowServer,
    s3_environment: S3Server,
    s3_bucket: str,
) -> None:
    storage = f"s3://{s3_bucket}/prp"
    places = tiny_videos, storage, mlflow_server, s3_environment
    reference = in_peace(tmp_path / "peace", *places, "peace")
    assert set(reference.states.values()) == {"COMPLETE"}
    assert len(reference.points) == NUM_TRIALS and all(reference.points.values())
    with under_fire(tmp_path / "fire", *places, "fire") as field:
        study = field.start()
        for kind in STRIKES:
            field.wait_until(lambda: bool(field.processes(Kind.WORKER)), f"a worker before {kind}")
            field.strike(kind)
            known = field.num_steps()
            field.wait_until(
                lambda known=known: field.num_steps() > known, f"a step after the {kind} died"
            )
        assert field.study is not None
        study = field.study
        assert study.wait(900) == 0, study.output[-4000:]
        said = study.output
    faults = faults_of(
        storage, "fire", mlflow_server.uri, num_trials=NUM_TRIALS, reference=reference
    )
    assert faults == [], said
