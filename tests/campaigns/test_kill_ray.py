"""kill -9 of Ray's own processes on the head, and of the processes of a sweep's end.

    uv run pytest -s -m campaign tests/campaigns/test_kill_ray.py

``PRP_OF_THE_HEAD=gcs_server`` kills one process of the head alone.

The processes that train are killed in `test_nemesis.py`.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.disturbed_sweep import run_statuses
from tests.journals import ledger_of
from tests.tools.marked_processes import marked_processes
from tests.tools.study_process import (
    TINY_PRESET,
    StudyProcess,
    confirmed_pairs,
    rung_rows,
    trial_rows,
)

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3600)]

# What their command lines say. Without the last one Ray ends the driver after a minute.
OF_THE_HEAD = os.environ.get(
    "PRP_OF_THE_HEAD", "log_monitor.py,monitor.py,dashboard.py,ray::DashboardAgent,gcs_server"
).split(",")
ENDS_THE_DRIVER = ("gcs_server",)
OF_CONFIRMING = ("ray::_drive", "ray::TrainController", "ray::RayTrainWorker")
FINAL_TASKS = ("ray::_baselines", "ray::_export", "ray::_recognition")
PATIENCE_SECONDS = 240.0
STEP = re.compile(r"/step-(\d+)[^/]*/")


def words(videos: Path, home: Path, *more: str) -> list[str]:
    """The command of a sweep of two trials (where `more` says nothing else) that is kept in `home`,
    with its MLflow database.
    """
    given = ["--preset", str(TINY_PRESET), "--data", str(videos), "--trials", "2", *more]
    given += ["--storage", str(home), "--mlflow", f"sqlite:///{home / 'mlflow.db'}"]
    for setting in ("sweep.pruner=none", "sweep.sampler=random", "showcase.num_trials=0"):
        given += ["--set", setting]
    return given


def found(study: StudyProcess, what: str) -> list[int]:
    """The processes of `study` whose command line names `what`."""
    lines = {}
    for process_id in marked_processes(study.marker):
        try:
            lines[process_id] = Path(f"/proc/{process_id}/cmdline").read_bytes()
        except OSError:  # it has ended
            continue
    wanted = what.encode()
    return [one for one, line in lines.items() if re.search(rb"(^|/)" + re.escape(wanted), line)]


def num_steps(folder: Path) -> int:
    """How many steps the trials of the sweep in `folder` have committed."""
    newest: dict[str, int] = {}
    for path in folder.glob("trials/*/checkpoints/*/*"):
        matched = STEP.search(str(path))
        if matched:
            trial = path.parts[-4]
            newest[trial] = max(newest.get(trial, 0), int(matched[1]))
    return sum(newest.values())


@contextmanager
def patience(study: StudyProcess, what: str) -> Iterator[float]:
    """A block that may last `PATIENCE_SECONDS`; its deadline."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    yield deadline
    assert time.monotonic() < deadline, f"{what}:\n{study.output[-3000:]}"


def kill(study: StudyProcess, what: str) -> bool:
    """kill -9 of the first process named `what`, once there is one; False where `study` ended."""
    with patience(study, f"there is no {what}") as deadline:
        while time.monotonic() < deadline and study.process.poll() is None:
            if processes := found(study, what):
                os.kill(min(processes), signal.SIGKILL)
                return True
            time.sleep(0.1)
    return False


def test_processes_of_the_head_are_killed_one_after_the_other(
    tmp_path: Path, tiny_videos: Path
) -> None:
    """A sweep goes on, or ends in one line and is resumed by the same command."""
    slow = {"PRP_TEST_SLOW": os.environ.get("PRP_TEST_SLOW", "9")}
    command = words(tiny_videos, tmp_path, "--sweep", "one")
    folder = tmp_path / "sweeps" / "one"
    number = 0
    study = StudyProcess(tmp_path / "driver-0", command, slow)
    try:
        for what in OF_THE_HEAD:
            known = num_steps(folder)
            with patience(study, "no step") as deadline:
                while num_steps(folder) <= known and time.monotonic() < deadline:
                    assert study.process.poll() is None, study.output[-3000:]
                    time.sleep(0.2)
            if not found(study, what):
                sys.stdout.write(f"{what}: a local Ray has none\n")
                continue
            assert kill(study, what)
            known, started = num_steps(folder), time.monotonic()
            with patience(study, f"it hangs without {what}") as deadline:
                while study.process.poll() is None and time.monotonic() < deadline:
                    if num_steps(folder) > known + 1 and what not in ENDS_THE_DRIVER:
                        break
                    time.sleep(0.2)
            code, seconds = study.process.poll(), time.monotonic() - started
            last = (study.output.splitlines() or [""])[-1]
            sys.stdout.write(f"{what}: exit code {code} after {seconds:.0f} s; {last[:300]}\n")
            if code is None:
                continue
            assert code not in (0, 2), study.output[-3000:]
            assert "Ray's head node at" in study.output and "--resume one" in study.output
            assert study.left_behind() == []
            study.__exit__()
            number += 1
            study = StudyProcess(tmp_path / f"driver-{number}", command, slow)
        assert study.wait() == 0, study.output[-4000:]
    finally:
        study.__exit__()
    rows = trial_rows(tmp_path, "one")
    assert [(one, state) for one, state, _ in rows] == [(0, "COMPLETE"), (1, "COMPLETE")]
    rungs = Counter((trial, epoch) for trial, epoch, _ in rung_rows(tmp_path, "one"))
    assert set(rungs.values()) == {1}
    assert set(run_statuses(tmp_path).values()) == {"FINISHED"}


def test_processes_of_confirming_runs_are_killed_once_each(
    tmp_path: Path, tiny_videos: Path
) -> None:
    """A driver, a controller and a worker."""
    settings = ("--confirm", "2", "--sweep", "one", "--set", "training.checkpoint_every_steps=2")
    with StudyProcess(tmp_path / "home", words(tiny_videos, tmp_path, *settings)) as study:
        study.wait_for("confirming trials ")
        for what in OF_CONFIRMING:
            assert kill(study, what), f"{what}:\n{study.output[-3000:]}"
        assert study.wait() == 0, study.output[-4000:]
        assert study.left_behind() == []
        assert len(confirmed_pairs(study)) == 4, study.output[-3000:]
        assert "failed" not in study.output
    assert [state for _, state, _ in trial_rows(tmp_path, "one")] == ["COMPLETE"] * 2
    statuses = run_statuses(tmp_path)
    assert set(statuses.values()) == {"FINISHED"}, statuses
    confirmed = {one.owner for one in ledger_of(tmp_path, "one") if one.kind == "confirm"}
    assert len(confirmed) == 4, confirmed


def test_tasks_of_the_final_evaluation_are_killed_once_each(
    tmp_path: Path, tiny_videos: Path
) -> None:
    """Ray runs them again, and nothing of the end is missing."""
    command = words(tiny_videos, tmp_path, "--sweep", "one", "--trials", "1")
    with StudyProcess(tmp_path / "home", command) as study:
        study.wait_for("measuring baselines")
        killed = [what for what in FINAL_TASKS if kill(study, what)]
        sys.stdout.write(f"killed: {killed}\n")
        assert study.wait() == 0, study.output[-4000:]
        assert study.left_behind() == []
        assert "--resume" not in study.output, "nothing is to be made up"
        assert "ray::_baselines" in killed
    assert set(run_statuses(tmp_path).values()) == {"FINISHED"}
    assert (tmp_path / "sweeps" / "one" / "report.html").is_file()
