"""The server that ``prp ui`` started is killed, or ``prp ui`` is stopped: nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recorded_sweep import build_sweep
from tests.tools.process_state import is_there, process_group
from tests.tools.study_process import REPOSITORY

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(600)]


@pytest.fixture
def ui(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """``prp ui`` on a sweep whose runs are in a file; it serves."""
    build_sweep(tmp_path, num_trials=3, failing=())
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "ui", "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PRP_HOME": str(tmp_path)},
    )
    assert process.stdout is not None
    while "until Ctrl-C" not in (line := process.stdout.readline()):
        assert line, "it ended"
    yield process
    process.kill()
    process.wait()


def server_of(ui: subprocess.Popen[str]) -> tuple[int, list[int]]:
    """The process that ``prp ui`` started, and all of its group."""
    children = Path(f"/proc/{ui.pid}/task/{ui.pid}/children").read_text().split()
    (leader,) = [int(child) for child in children]
    return leader, process_group(leader)


@pytest.mark.parametrize("which", ["leader", "child"])
def test_a_server_that_is_killed_is_said(ui: subprocess.Popen[str], which: str) -> None:
    leader, group = server_of(ui)
    assert len(group) > 1
    os.kill(leader if which == "leader" else max(group), signal.SIGKILL)
    said = ui.communicate(timeout=60)[0]
    assert ui.returncode == 1
    assert "MLflow's server at http://127.0.0.1:" in said and "ended by itself" in said
    assert not any(map(is_there, group))


def test_a_stop_by_a_supervisor_ends_the_server(ui: subprocess.Popen[str]) -> None:
    _, group = server_of(ui)
    ui.terminate()
    assert ui.wait(60) == 0
    deadline = time.monotonic() + 30
    while any(map(is_there, group)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
