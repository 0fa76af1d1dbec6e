"""The program that a local Ray runs in the place of its dashboard's agent.

A raylet does not start without an agent and ends with it. The agent of Ray serves the dashboard and
collects metrics; a local Ray has neither, and it costs 75 MB and one and a half CPU-seconds, for
which the raylet waits. This one says that it serves nothing, as Ray's does where the dashboard's
packages are not installed (``--minimal``), and ends when the raylet ends.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# The files in the session's folder that the raylet waits for, and what says "not served".
PORT_FILES = "metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port"
NOT_SERVED = "-1"
POLL_SECONDS = 0.5


def option(words: Sequence[str], name: str) -> str:
    """The value of ``--name=value`` among the arguments `words`. Raises `SystemExit` without one,
    whose message Ray keeps in its session's logs.
    """
    given = dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word)
    if name not in given:
        raise SystemExit(f"Ray starts its dashboard's agent without --{name}: {' '.join(words)}")
    return given[name]


def say_that_nothing_is_served(session: Path, node_id: str) -> None:
    """Write the files that the raylet of `node_id` waits for into the folder of `session`."""
    for name in PORT_FILES:
        path = session / f"{name}_{node_id}"
        new = path.with_suffix(".new")
        new.write_text(NOT_SERVED)
        new.rename(path)


def wait_for_the_raylet() -> None:
    """Return when the raylet that started this process has ended."""
    raylet = int(os.environ["RAY_RAYLET_PID"])
    while os.getppid() == raylet:
        time.sleep(POLL_SECONDS)


def main() -> None:
    """Serve nothing for as long as the raylet lives."""
    session, node_id = option(sys.argv, "session-dir"), option(sys.argv, "node-id")
    say_that_nothing_is_served(Path(session), node_id)
    wait_for_the_raylet()


if __name__ == "__main__":
    main()
