"""Finding and ending the processes of one test cluster, and no others.

A cluster starts its processes with an environment variable whose value nobody else has; children
inherit it however they detach themselves. So what is ended here is what that cluster started: never
a neighbour's Ray, never `ray stop`.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import time
from pathlib import Path

MARKER_VARIABLE = "PRP_TEST_CLUSTER"


def marked_processes(marker: str) -> list[int]:
    """Process ids whose environment holds ``PRP_TEST_CLUSTER=marker``, and what these have started,
    zombies and this process left out: a process that gives itself a title, as Ray's do, may write
    it over its environment.
    """
    wanted = f"{MARKER_VARIABLE}={marker}".encode()
    marked = set()
    parents = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                marked.add(int(entry.name))
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it ended while we looked, or is another user's
            continue
        if state not in "ZX":
            parents[int(entry.name)] = int(parent)
    while grown := {one for one, parent in parents.items() if parent in marked} - marked:
        marked |= grown
    return sorted(marked)


def end_marked_processes(marker: str, *, grace_seconds: float = 5.0) -> None:
    """SIGTERM to every marked process, then SIGKILL to those left after `grace_seconds`; returns
    when none is left.
    """
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
    """`count` TCP ports, all different, on which nobody listens now.

    They lie below the range from which the kernel draws for ``bind(0)`` and for outgoing
    connections: a port of that range can be gone again before a slow Ray comes to bind it.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = secrets.choice(range(20_000, 32_000))
        with socket.socket() as one:
            if port not in ports and one.connect_ex(("127.0.0.1", port)) != 0:
                ports.append(port)
    return ports
