"""A sweep whose processes are killed at seeded times, each kind, against one in peace.

Run it with ``uv run pytest -s -m campaign tests/campaigns/test_nemesis.py``. ``PRP_NUM_STRIKES=3``
makes a short one of it, ``PRP_NEMESIS_SEED=5`` another, ``PRP_KINDS=worker,raylet`` one of these
kinds alone.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.nemesis_sweep import NUM_TRIALS, faults_after, in_peace, under_fire
from tests.fixtures_mlflow import MlflowServer
from tests.fixtures_s3 import S3Server
from tests.sweep_check import faults_of
from tests.tools.nemesis import Kind

NUM_STRIKES = int(os.environ.get("PRP_NUM_STRIKES", "20"))
SEED = int(os.environ.get("PRP_NEMESIS_SEED", "0"))
KINDS = [Kind(name) for name in os.environ.get("PRP_KINDS", ",".join(Kind)).split(",")]
# What is lost at once first, the whole driver last.
EACH_KIND = (
    Kind.WORKER,
    Kind.COORDINATOR,
    Kind.S3,
    Kind.CONTROLLER,
    Kind.MLFLOW,
    Kind.TRIAL_DRIVER,
    Kind.RAYLET,
    Kind.DRIVER,
)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_each_kind_is_killed_once_in_one_sweep(
    tmp_path: Path,
    tiny_videos: Path,
    mlflow_server: MlflowServer,
    s3_environment: S3Server,
    s3_bucket: str,
) -> None:
    storage = f"s3://{s3_bucket}/prp"
    faults, said = faults_after(
        EACH_KIND, tmp_path, tiny_videos, storage, mlflow_server, s3_environment
    )
    assert faults == [], said


@pytest.mark.campaign
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost(
    kind: Kind,
    tmp_path: Path,
    tiny_videos: Path,
    mlflow_server: MlflowServer,
    s3_environment: S3Server,
    s3_bucket: str,
) -> None:
    draw = random.Random(f"{SEED} {kind}")
    storage = f"s3://{s3_bucket}/prp"
    places = tiny_videos, storage, mlflow_server, s3_environment
    reference = in_peace(tmp_path / "peace", *places, f"peace-{kind.replace(' ', '-')}")
    num_struck = 0
    while num_struck < NUM_STRIKES:
        name = f"fire-{kind.replace(' ', '-')}-{num_struck}"
        with under_fire(tmp_path / name, *places, name) as field:
            study = field.start()
            while study.process.poll() is None and num_struck < NUM_STRIKES:
                time.sleep(draw.uniform(1.0, 25.0))
                if study.process.poll() is not None:
                    break
                field.strike(kind, draw.randrange(8))
                num_struck += 1
                assert field.study is not None
                study = field.study
            assert study.wait(1800) == 0, study.output[-4000:]
            said = study.output
        faults = faults_of(
            storage, name, mlflow_server.uri, num_trials=NUM_TRIALS, reference=reference
        )
        sys.stdout.write(f"{kind}: {num_struck} struck, faults: {faults}\n")
        assert faults == [], said[-3000:]
