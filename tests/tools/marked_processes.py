"""Finding and ending the processes of one test cluster, and no others.

A cluster starts its processes with an environment variable whose value nobody else has; children inherit it however they
detach themselves. So what is ended here is what that cluster started: never a neighbour's Ray, never `ray stop`.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

MARKER_VARIABLE = "PRP_TEST_CLUSTER"


def marked_processes(marker: str) -> list[int]:
    """Process ids whose environment holds ``PRP_TEST_CLUSTER=marker``, zombies and this process left out."""
    wanted = f"{MARKER_VARIABLE}={marker}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # it ended while we looked, or is another user's
            continue
    return found


def end_marked_processes(marker: str, *, grace_seconds: float = 5.0) -> None:
    """SIGTERM to every marked process, then SIGKILL to those left after `grace_seconds`; returns when none is left."""
    deadline = time.monotonic() + grace_seconds
    _signal_all(marked_processes(marker), signal.SIGTERM)
    while marked_processes(marker) and time.monotonic() < deadline:
        time.sleep(0.2)
    while left := marked_processes(marker):
        _signal_all(left, signal.SIGKILL)
        time.sleep(0.1)


def _signal_all(process_ids: list[int], number: signal.Signals) -> None:
    for process_id in process_ids:
        try:
            os.kill(process_id, number)
        except ProcessLookupError:
            continue


def free_ports(count: int) -> list[int]:
    """`count` TCP ports that are free on loopback now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
