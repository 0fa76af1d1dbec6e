"""The program in the place of the dashboard's agent: what it tells its raylet, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from ray._raylet import (
    DASHBOARD_AGENT_LISTEN_PORT_NAME,
    METRICS_AGENT_PORT_NAME,
    METRICS_EXPORT_PORT_NAME,
    persist_port,
)

from orchestrator.ray_cluster import absent_agent
from tests.tools.process_state import is_there
from tests.tools.waiting import wait_until

NODE = "ab" * 28  # a node's id in hexadecimal
NAMES = METRICS_AGENT_PORT_NAME, METRICS_EXPORT_PORT_NAME, DASHBOARD_AGENT_LISTEN_PORT_NAME


def files_of(folder: Path) -> dict[str, str]:
    """The files of `folder` with their content."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_it_says_what_rays_own_agent_says_without_a_dashboard(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    absent_agent.say_that_nothing_is_served(ours, NODE)
    for name in NAMES:
        persist_port(str(theirs), NODE, name, -1)
    assert files_of(ours) == files_of(theirs) and len(files_of(ours)) == 3


def test_it_ends_when_its_raylet_is_killed(tmp_path: Path) -> None:
    words = f"{sys.executable} {absent_agent.__file__} /ray/dashboard/agent.py --x=1 --minimal"
    words += f" --session-dir={tmp_path} --node-id={NODE}"
    raylet = subprocess.Popen(
        ["bash", "-c", f"RAY_RAYLET_PID=$$ {words} & echo $!; wait"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert raylet.stdout is not None
        agent = int(raylet.stdout.readline())
        wait_until(lambda: len(files_of(tmp_path)) == 3)
        assert is_there(agent)
    finally:
        os.kill(raylet.pid, signal.SIGKILL)
        raylet.wait()
    wait_until(lambda: not is_there(agent))
