"""A sweep whose processes are killed or stopped at seeded times, each kind, against one in peace.

Run it with ``uv run pytest -s -m campaign tests/campaigns/test_nemesis.py``. ``PRP_NUM_STRIKES=3``
makes a short one of it, ``PRP_NEMESIS_SEED=5`` another, ``PRP_KINDS=worker,raylet`` one of these
kinds alone, ``-k stopped`` one of stops alone, ``-k drawn`` one in which each kind is killed once
and stopped once, several in one sweep, 1 to ``PRP_PAUSE_SECONDS`` seconds apart;
``PRP_STRIKES="stop driver,kill worker"`` names the strikes of that one.
``PRP_PEACE=FOLDER`` keeps the records of the undisturbed sweep for the next run.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.campaigns.peace import kept_records
from tests.e2e.nemesis_sweep import NUM_TRIALS, faults_after, in_peace, under_fire
from tests.fixtures_mlflow import MlflowServer
from tests.fixtures_s3 import S3Server
from tests.sweep_check import Records, faults_of
from tests.tools.nemesis import STOPPED_SECONDS, Battlefield, Kind

NUM_STRIKES = int(os.environ.get("PRP_NUM_STRIKES", "20"))
SEED = int(os.environ.get("PRP_NEMESIS_SEED", "0"))
KINDS = [Kind(name) for name in os.environ.get("PRP_KINDS", ",".join(Kind)).split(",")]
KILL, STOP = "kill", "stop"
Strike = tuple[str, Kind]  # how, and of which kind
LONGEST_PAUSE_SECONDS = float(os.environ.get("PRP_PAUSE_SECONDS", "25"))
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

    def faults(self, folder: Path, title: str, strikes: Sequence[Strike]) -> list[str]:
        """Sweeps in which processes are struck at seeded times until all `strikes` were made, in
        their order; how the first sweep that differs from one in peace does so.
        """
        draw = random.Random(f"{SEED} {title}")
        word = title.replace(" ", "-")
        places = self.places
        reference = self._reference(folder / "peace", f"peace-{word}")
        left = list(strikes)
        num_sweeps = 0
        while left:
            name = f"fire-{word}-{num_sweeps}"
            num_sweeps += 1
            made = []
            with under_fire(folder / name, *places, name) as field:
                study = field.start()
                while study.process.poll() is None and left:
                    time.sleep(draw.uniform(1.0, LONGEST_PAUSE_SECONDS))
                    if study.process.poll() is not None:
                        break
                    if strike(field, left[0], draw.randrange(8)):
                        made.append(left.pop(0))
                    assert field.study is not None
                    study = field.study
                assert study.wait(1800) == 0, study.output[-4000:]
                said = study.output
            faults = faults_of(
                self.storage, name, self.mlflow.uri, num_trials=NUM_TRIALS, reference=reference
            )
            struck = ", ".join(f"{how} {kind}" for how, kind in made)
            sys.stdout.write(f"{title}: {struck}; faults: {faults}\n")
            if faults:
                sys.stdout.write(said[-3000:])
                return faults
        return []

    def _reference(self, folder: Path, name: str) -> Records:
        """The records of a sweep in peace."""
        return kept_records("nemesis", lambda: in_peace(folder, *self.places, name))


@pytest.fixture
def campaign(
    tiny_videos: Path, mlflow_server: MlflowServer, s3_environment: S3Server, s3_bucket: str
) -> Campaign:
    """A campaign over the real servers."""
    return Campaign(f"s3://{s3_bucket}/prp", tiny_videos, mlflow_server, s3_environment)


@pytest.mark.campaign
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost_when_one_is_killed(kind: Kind, tmp_path: Path, campaign: Campaign) -> None:
    assert campaign.faults(tmp_path, f"kill {kind}", [(KILL, kind)] * NUM_STRIKES) == []


@pytest.mark.campaign
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in STOPPED_SECONDS])
def test_nothing_is_lost_when_one_is_stopped_and_continued(
    kind: Kind, tmp_path: Path, campaign: Campaign
) -> None:
    assert campaign.faults(tmp_path, f"stop {kind}", [(STOP, kind)] * NUM_STRIKES) == []


@pytest.mark.campaign
@pytest.mark.timeout(6 * 3600)
def test_nothing_is_lost_when_each_kind_is_killed_and_stopped_in_a_drawn_order(
    tmp_path: Path, campaign: Campaign
) -> None:
    strikes = [(KILL, kind) for kind in KINDS]
    strikes += [(STOP, kind) for kind in KINDS if kind in STOPPED_SECONDS]
    if given := os.environ.get("PRP_STRIKES"):
        strikes = [
            (how, Kind(kind)) for how, _, kind in (one.partition(" ") for one in given.split(","))
        ]
    random.Random(SEED).shuffle(strikes)

    assert campaign.faults(tmp_path, "drawn", strikes) == []


def strike(field: Battlefield, strike: Strike, which: int) -> bool:
    """Kill or stop the process at `which` of a kind; False: the driver has not claimed its sweep
    (without a store it is refused then), there is none, or it had ended before its stop did.
    """
    how, kind = strike
    has_begun = field.study is not None and "budget: " in field.study.output
    if not has_begun or not field.processes(kind):
        return False
    if how == STOP:
        return field.stop(kind, which)
    field.strike(kind, which)
    return True
