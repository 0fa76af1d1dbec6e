"""A driver that is stopped, taken over by one on another machine, and continued: it is harmless."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.journal.object_journal import OPENED
from tests.journals import journal_of
from tests.tools.study_process import TINY_PRESET, StudyProcess, rung_rows, trial_rows

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]

SLOW = {"PRP_TEST_SLOW": "9"}


def test_a_driver_that_wakes_up_after_it_was_taken_over_leaves_and_changes_nothing(
    tiny_videos: Path, tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    words = ["--sweep", "one", "--storage", str(storage), "--preset", str(TINY_PRESET)]
    words += ["--data", str(tiny_videos), "--trials", "2", "--set", "sweep.pruner=none"]
    words += ["--mlflow", f"sqlite:///{tmp_path / 'mlflow.db'}"]
    with StudyProcess(tmp_path / "machine-1", words, SLOW) as zombie:
        zombie.wait_for(r"trial 0 running at epoch [1-9]")
        zombie.process.send_signal(signal.SIGSTOP)
        with StudyProcess(tmp_path / "machine-2", words, SLOW) as other:
            other.wait_for("resuming one")
            zombie.process.send_signal(signal.SIGCONT)
            assert zombie.wait(120) == 1
            (said,) = [line for line in zombie.output.splitlines() if "error: " in line]
            assert "this driver (epoch 1) was silent for too long" in said
            assert f"process {other.process.pid} since" in said
            assert "Traceback" not in zombie.output[zombie.output.index("silent for too long") :]
            assert other.wait() == 0, other.output[-4000:]
    rows = trial_rows(storage, "one")
    assert [number for number, _, _ in rows] == [0, 1]
    assert {state for _, state, _ in rows} <= {"COMPLETE", "PRUNED"}
    rungs = Counter((number, epoch) for number, epoch, _ in rung_rows(storage, "one"))
    assert set(rungs.values()) == {1}
    journal = journal_of(storage, "one")
    assert [opening.epoch for opening in journal.openings] == [1, 2]
    assert journal.num_records(OPENED) == 2
