"""A sweep whose processes are killed or stopped at seeded times, each kind, against one in peace.

Run it with ``uv run pytest -s -m campaign tests/campaigns/test_nemesis.py -k drawn``: each kind is
killed 20 times and stopped 5 times, in a drawn order, with many strikes in one sweep.
``PRP_NUM_STRIKES=3`` and ``PRP_NUM_STOPS=0`` make a short one of it, ``PRP_NEMESIS_SEED=5``
another, ``PRP_KINDS=worker,raylet`` one of these kinds alone, ``PRP_STRIKES="stop driver,kill
worker"`` names the strikes. ``-k is_killed`` and ``-k is_stopped`` take one kind after the other.

Strikes are 1 to ``PRP_PAUSE_SECONDS`` seconds apart, up to ``PRP_STRIKES_A_SWEEP`` in one sweep of
trials of ``PRP_NUM_EPOCHS`` epochs. S3 is behind a proxy that spoils ``PRP_S3_FAULTS`` (0.02) of
its answers. ``PRP_PEACE=FOLDER`` keeps the records of the undisturbed sweep for the next run,
``PRP_EVIDENCE=FOLDER`` what faulty sweeps left.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaigns.struck_sweeps import KILL, STOP, Campaign, Rhythm, say
from tests.e2e.nemesis_sweep import faults_after
from tests.fixtures_mlflow import MlflowServer
from tests.fixtures_s3 import S3Server
from tests.tools.fault_proxy import FaultProxy
from tests.tools.nemesis import STOPPED_SECONDS, Kind

NUM_STRIKES = int(os.environ.get("PRP_NUM_STRIKES", "20"))
NUM_STOPS = int(os.environ.get("PRP_NUM_STOPS", "5"))
KINDS = [Kind(name) for name in os.environ.get("PRP_KINDS", ",".join(Kind)).split(",")]
STOPPED_KINDS = [kind for kind in KINDS if kind in STOPPED_SECONDS]
RHYTHM = Rhythm(
    seed=int(os.environ.get("PRP_NEMESIS_SEED", "0")),
    longest_pause_seconds=float(os.environ.get("PRP_PAUSE_SECONDS", "10")),
    num_epochs=int(os.environ.get("PRP_NUM_EPOCHS", "128")),
    strikes_per_sweep=int(os.environ.get("PRP_STRIKES_A_SWEEP", "20")),
)
SHARE_OF_S3_FAULTS = float(os.environ.get("PRP_S3_FAULTS", "0.02"))
S3_FAULTS = ("status", "lose", "reset", "cut", "short", "flip")
# What is lost at once first, the whole driver last.
EACH_KIND = (
    Kind.WORKER,
    Kind.COORDINATOR,
    Kind.S3,
    Kind.MLFLOW,
    Kind.TRIAL_DRIVER,
    Kind.RAYLET,
    Kind.DRIVER,
)

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(6 * 3600)]


def test_each_kind_is_killed_once_in_one_sweep(
    tmp_path: Path,
    tiny_videos: Path,
    mlflow_server: MlflowServer,
    s3_environment: S3Server,
    s3_bucket: str,
) -> None:
    storage = f"s3://{s3_bucket}/prp"
    places = tmp_path, tiny_videos, storage, mlflow_server, s3_environment
    long_enough = ["training.num_epochs=32"]
    faults, said = faults_after(EACH_KIND, *places, settings=long_enough)
    assert faults == [], said


@pytest.fixture
def campaign(
    tiny_videos: Path,
    mlflow_server: MlflowServer,
    s3_environment: S3Server,
    s3_bucket: str,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Campaign]:
    """A campaign over the real servers, a share of whose answers from S3 goes wrong. Ray starts
    workers with niceness 15: beside other work they would hardly run.
    """
    monkeypatch.setenv("RAY_worker_niceness", "0")
    for fault in S3_FAULTS:
        proxy.add(fault, probability=SHARE_OF_S3_FAULTS / len(S3_FAULTS))
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    yield Campaign(f"s3://{s3_bucket}/prp", tiny_videos, mlflow_server, s3_environment, RHYTHM)
    num_faults = sum(entry.fault is not None for entry in proxy.journal)
    say(f"S3: {num_faults} of {len(proxy.journal)} requests went wrong by the proxy")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost_when_one_is_killed(kind: Kind, tmp_path: Path, campaign: Campaign) -> None:
    assert campaign.faults(tmp_path, f"kill {kind}", [(KILL, kind)] * NUM_STRIKES) == []


@pytest.mark.parametrize("kind", STOPPED_KINDS)
def test_nothing_is_lost_when_one_is_stopped_and_continued(
    kind: Kind, tmp_path: Path, campaign: Campaign
) -> None:
    assert campaign.faults(tmp_path, f"stop {kind}", [(STOP, kind)] * NUM_STOPS) == []


def test_nothing_is_lost_when_each_kind_is_killed_and_stopped_in_a_drawn_order(
    tmp_path: Path, campaign: Campaign
) -> None:
    strikes = [(KILL, kind) for kind in KINDS] * NUM_STRIKES
    strikes += [(STOP, kind) for kind in STOPPED_KINDS] * NUM_STOPS
    if given := os.environ.get("PRP_STRIKES"):
        strikes = [
            (how, Kind(kind)) for how, _, kind in (one.partition(" ") for one in given.split(","))
        ]
    random.Random(RHYTHM.seed).shuffle(strikes)

    assert campaign.faults(tmp_path, "drawn", strikes) == []
