"""The end of a server that is several processes."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from orchestrator.tracking.ui_server import end_group


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
