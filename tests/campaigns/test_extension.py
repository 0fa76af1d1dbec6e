"""A trial of a running sweep is extended, and the coordinator dies right after its answer."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import time
from pathlib import Path

import pytest

from orchestrator.commands.prp import main
from prp_core.errors import PrpError
from tests.e2e.disturbed_sweep import runs_at
from tests.tools.study_process import TINY_PRESET, StudyProcess, rung_rows, trial_rows

NUM_TRIES = int(os.environ.get("PRP_NUM_TRIES", "3"))


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_an_extension_is_answered_in_5_seconds_and_neither_lost_nor_doubled(
    tmp_path: Path, tiny_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--preset", str(TINY_PRESET), "--data", str(tiny_videos), "--trials", "2"]
    for setting in ("sweep.pruner=none", "showcase.num_trials=0", "resources.num_workers=1"):
        words += ["--set", setting]
    monkeypatch.setenv("PRP_HOME", str(tmp_path))
    seconds = []
    with StudyProcess(tmp_path, words) as study:
        study.wait_for("starting tiny-")
        deadline = time.monotonic() + 600
        while not has_ended(tmp_path, study, 0):
            assert time.monotonic() < deadline, study.output[-3000:]
            time.sleep(0.5)
        for epochs in range(5, 5 + NUM_TRIES):
            answer = io.StringIO()
            started = time.monotonic()
            with contextlib.redirect_stdout(answer):
                code = main(["extend", study.sweep_id, "--trial", "0", "--epochs", str(epochs)])
            seconds.append(time.monotonic() - started)
            assert code == 0, answer.getvalue()
            assert re.search(r"trial \d continues trial 0 from epoch 4 to", answer.getvalue())
            study.kill_ray_process("Coordinator")
        assert study.wait() == 0, study.output[-4000:]
        assert study.left_behind() == []
        sweep_id = study.sweep_id
    sys.stdout.write(f"answered after {[round(one, 1) for one in seconds]} s\n")
    rows = trial_rows(tmp_path, sweep_id)
    assert [state for _, state, _ in rows] == ["COMPLETE"] * (2 + NUM_TRIES)
    last = {number: epoch for number, epoch, _ in rung_rows(tmp_path, sweep_id)}
    extended = [last[number] for number in sorted(last)[2:]]
    assert extended == list(range(5, 5 + NUM_TRIES)), "each once, in the order of the requests"
    _, runs = runs_at(tmp_path)
    tags = [run.data.tags for run in runs if run.data.tags.get("prp.continues") == "0"]
    assert len(tags) == NUM_TRIES and {one["prp.state"] for one in tags} == {"finished"}
    assert seconds[0] <= 5.0
    assert max(seconds) <= 25.0, "the coordinator that answers was killed a moment ago"


def has_ended(home: Path, study: StudyProcess, number: int) -> bool:
    """Whether trial `number` of the sweep is told."""
    try:
        rows = trial_rows(home, study.sweep_id)
    except (KeyError, PrpError):  # the study is not there yet
        return False
    return (number, "COMPLETE") in [(one, state) for one, state, _ in rows]
