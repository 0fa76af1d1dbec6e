"""Which process of which machine this is, and whether another one is still alive."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from pathlib import Path

DEAD_STATES = {"Z", "X"}  # a zombie has ended and waits for its parent to look


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, so that it can be told from another that was given the same number later.

    `machine` is the start of the machine and the process namespace (a container has its own);
    `started` when the process started, in the kernel's ticks. Both are empty where the system does
    not say.
    """

    user: str
    host: str
    pid: int
    machine: str
    started: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host}, process {self.pid}"


def this_process() -> ProcessIdentity:
    """The process that asks."""
    pid = os.getpid()
    stat = _stat_of(pid)
    return ProcessIdentity(
        user=_user(),
        host=socket.gethostname(),
        pid=pid,
        machine=_machine(),
        started=stat[1] if stat else "",
    )


def is_here(process: ProcessIdentity) -> bool:
    """Whether `process` runs, or ran, on this machine; False where that cannot be known."""
    return bool(process.machine) and process.machine == _machine()


def is_dead(process: ProcessIdentity) -> bool:
    """Whether `process` ran on this machine and has ended; False where that cannot be known."""
    if not is_here(process):
        return False
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    stat = _stat_of(process.pid)
    return stat is not None and (stat[0] in DEAD_STATES or stat[1] != process.started)


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _stat_of(pid: int) -> tuple[str, str] | None:
    """``(state, start time)`` of a process; None where the system does not say."""
    try:
        # The second field is the program's name in brackets, with whatever characters it has.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], fields[19]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return str(os.getuid())
