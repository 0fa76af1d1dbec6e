"""A sweep whose processes are killed or stopped at seeded times, each kind, against one in peace.

Run it with ``uv run pytest -s -m campaign tests/campaigns/test_nemesis.py``. ``PRP_NUM_STRIKES=3``
makes a short one of it, ``PRP_NEMESIS_SEED=5`` another, ``PRP_KINDS=worker,raylet`` one of these
kinds alone, ``-k stopped`` one of stops alone. ``PRP_PEACE=FOLDER`` keeps the records of the
undisturbed sweep for the next run.
"""

from __future__ import annotations

import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.campaigns.peace import kept_records
from tests.e2e.nemesis_sweep import NUM_TRIALS, faults_after, in_peace, under_fire
from tests.fixtures_mlflow import MlflowServer
from tests.fixtures_s3 import S3Server
from tests.sweep_check import Records, faults_of
from tests.tools.nemesis import STOPPED_SECONDS, Kind

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
def test_nothing_is_lost_when_one_is_killed(
    kind: Kind,
    tmp_path: Path,
    tiny_videos: Path,
    mlflow_server: MlflowServer,
    s3_environment: S3Server,
    s3_bucket: str,
) -> None:
    campaign = Campaign(f"s3://{s3_bucket}/prp", tiny_videos, mlflow_server, s3_environment)

    assert campaign.faults(tmp_path, kind, "kill") == []


@pytest.mark.campaign
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in STOPPED_SECONDS])
def test_nothing_is_lost_when_one_is_stopped_and_continued(
    kind: Kind,
    tmp_path: Path,
    tiny_videos: Path,
    mlflow_server: MlflowServer,
    s3_environment: S3Server,
    s3_bucket: str,
) -> None:
    campaign = Campaign(f"s3://{s3_bucket}/prp", tiny_videos, mlflow_server, s3_environment)
    assert campaign.faults(tmp_path, kind, "stop") == []


@dataclass(frozen=True)
class Campaign:
    """Sweeps in `storage` over `videos`, with a server of each kind."""

    storage: str
    videos: Path
    mlflow: MlflowServer
    s3: S3Server

    @property
    def places(self) -> tuple[Path, str, MlflowServer, S3Server]:
        """As the sweeps want them."""
        return self.videos, self.storage, self.mlflow, self.s3

    def faults(self, folder: Path, kind: Kind, how: str) -> list[str]:
        """Sweeps in which processes of `kind` are struck (`how`: ``kill`` or ``stop``) until there
        were `NUM_STRIKES`; how the first one that differs from one in peace does so.
        """
        title = f"{how} {kind}"
        draw = random.Random(f"{SEED} {title}")
        word = title.replace(" ", "-")
        places = self.places
        reference = self._reference(folder / "peace", f"peace-{word}")
        num_struck = 0
        num_sweeps = 0
        while num_struck < NUM_STRIKES:
            name = f"fire-{word}-{num_sweeps}"
            num_sweeps += 1
            with under_fire(folder / name, *places, name) as field:
                study = field.start()
                while study.process.poll() is None and num_struck < NUM_STRIKES:
                    time.sleep(draw.uniform(1.0, 25.0))
                    if study.process.poll() is not None:
                        break
                    which = draw.randrange(8)
                    if not field.processes(kind):
                        continue
                    if how == "kill":
                        field.strike(kind, which)
                        num_struck += 1
                    else:
                        num_struck += field.stop(kind, which)
                    assert field.study is not None
                    study = field.study
                assert study.wait(1800) == 0, study.output[-4000:]
                said = study.output
            faults = faults_of(
                self.storage, name, self.mlflow.uri, num_trials=NUM_TRIALS, reference=reference
            )
            sys.stdout.write(f"{title}: {num_struck} struck, faults: {faults}\n")
            if faults:
                sys.stdout.write(said[-3000:])
                return faults
        return []

    def _reference(self, folder: Path, name: str) -> Records:
        """The records of a sweep in peace."""
        return kept_records("nemesis", lambda: in_peace(folder, *self.places, name))
