"""Two hosts over one S3 server: eight identical starts, and a driver whose cable is pulled.

    uv run pytest -s -m campaign tests/campaigns/test_two_hosts.py

The hosts are network namespaces, so it needs root.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.journal.object_journal import OPENED
from tests.contracts.test_stored_sweeps import CLAIM, NUM_STARTS, WINNER_SAYS, content_of
from tests.fixtures_s3 import S3Server
from tests.journals import journal_of
from tests.tools.study_process import (
    REPOSITORY,
    TINY_PRESET,
    TINY_STUDY,
    StudyProcess,
    rung_rows,
    trial_rows,
)
from tests.tools.two_hosts import IN_NAMESPACE, NAMES, TwoHosts

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]


@pytest.fixture
def hosts(s3_environment: S3Server) -> Iterator[TwoHosts]:
    with TwoHosts(int(s3_environment.endpoint_url.rpartition(":")[2])) as hosts:
        yield hosts


def words_of(storage: str, videos: Path, folder: Path) -> list[str]:
    """The command of a sweep of one trial in `storage`."""
    words = ["--sweep", "one", "--storage", storage, "--preset", str(TINY_PRESET)]
    words += ["--data", str(videos), "--trials", "1", "--set", "sweep.pruner=none"]
    return [*words, "--mlflow", f"sqlite:///{folder / 'mlflow.db'}"]


def test_of_eight_identical_starts_on_two_hosts_one_works(
    hosts: TwoHosts, s3_bucket: str, tiny_videos: Path, tmp_path: Path
) -> None:
    storage = f"s3://{s3_bucket}/prp"
    words = words_of(storage, tiny_videos, tmp_path)
    seconds = []
    started = time.monotonic()
    starts = [
        subprocess.Popen(
            [sys.executable, *hosts.words(NAMES[number % 2], ["-c", CLAIM, *words])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PRP_HOME": str(tmp_path / f"home-{number % 2}"),
                "PYTHONPATH": str(REPOSITORY),
                "AWS_ENDPOINT_URL": f"http://{hosts.address}",
            },
        )
        for number in range(NUM_STARTS)
    ]
    refused: list[subprocess.Popen[str]] = []
    while len(refused) < NUM_STARTS - 1:
        time.sleep(0.05)
        ended = [one for one in starts if one.poll() is not None and one not in refused]
        seconds += [round(time.monotonic() - started, 1) for _ in ended]
        refused += ended
    (winner,) = [start for start in starts if start not in refused]
    said = [start.communicate()[1] for start in refused]
    out, err = winner.communicate("")
    sys.stdout.write(f"refused after {seconds} s from their starts\n")
    assert out.strip() == f"{WINNER_SAYS} 1" and err == ""
    assert [start.returncode for start in refused] == [3] * (NUM_STARTS - 1), said
    assert all(f"process {winner.pid}, since" in text for text in said)
    assert content_of(storage, *tmp_path.glob("home-*")) == {}, "nothing is left of it"


def test_a_driver_that_was_cut_off_is_taken_over_and_changes_nothing_when_it_is_back(
    hosts: TwoHosts, s3_bucket: str, tiny_videos: Path, tmp_path: Path
) -> None:
    storage = f"s3://{s3_bucket}/prp"
    words = [str(TINY_STUDY), *words_of(storage, tiny_videos, tmp_path)]
    slow = {"PRP_TEST_SLOW": "1", "AWS_ENDPOINT_URL": f"http://{hosts.address}"}

    def start(name: str) -> StudyProcess:
        inside = [hosts.namespace(name), *words]
        return StudyProcess(tmp_path / name, inside, slow, script=IN_NAMESPACE)

    with start("one") as cut_off:
        cut_off.wait_for(r"trial 0 running at epoch [1-9]")
        hosts.pull_cable("one")
        pulled = time.monotonic()
        with start("two") as other:
            other.wait_for("resuming one")
            sys.stdout.write(f"taken over {time.monotonic() - pulled:.0f} s after it was cut off\n")
            hosts.plug_cable("one")
            assert cut_off.wait(200) == 1, cut_off.output[-3000:]
            (said,) = [line for line in cut_off.output.splitlines() if "error: " in line]
            assert "this driver (epoch 1) was silent for too long" in said
            assert f"process {other.process.pid} since" in said
            assert other.wait() == 0, other.output[-4000:]
        assert cut_off.left_behind() == []
    rows = trial_rows(storage, "one")
    assert [(number, state) for number, state, _ in rows] == [(0, "COMPLETE")]
    rungs = Counter((number, epoch) for number, epoch, _ in rung_rows(storage, "one"))
    assert set(rungs.values()) == {1}
    journal = journal_of(storage, "one")
    assert [opening.epoch for opening in journal.openings] == [1, 2]
    assert journal.num_records(OPENED) == 2
