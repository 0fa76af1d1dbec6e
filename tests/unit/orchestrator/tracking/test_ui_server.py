"""The ends of a server that is several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.tracking import ui_server
from orchestrator.tracking.ui_server import MlflowUi, end_group


@pytest.mark.parametrize("is_killed", [False, True])
def test_the_group_ends_also_when_its_leader_has_ended_before(is_killed: bool) -> None:
    words = ["sh", "-c", "sleep 600 & echo started; wait"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == b"started\n"
        if is_killed:
            os.kill(leader.pid, signal.SIGKILL)
            leader.wait()
        end_group(leader)
        leader.stdout.read()  # the child held the other end: it has ended
    assert leader.returncode in (-signal.SIGTERM, -signal.SIGKILL)


def test_a_server_that_is_interrupted_while_it_starts_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def sleeper(*_: object) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", "import time; time.sleep(600)"]
        started.append(subprocess.Popen(words, start_new_session=True))
        return started[0]

    def interrupted(server: str) -> bool:
        raise KeyboardInterrupt(server)

    monkeypatch.setattr(ui_server, "start_server", sleeper)
    monkeypatch.setattr(ui_server, "is_up", interrupted)
    (tmp_path / "mlflow.db").touch()
    with pytest.raises(KeyboardInterrupt), MlflowUi(f"sqlite:///{tmp_path / 'mlflow.db'}", 0):
        pass
    assert started[0].poll() is not None
