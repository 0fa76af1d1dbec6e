"""Processes by their ids, as ``/proc`` has them: whether they run, and who belongs to them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def state_of(process_id: int) -> str:
    """The state of a process as ``/proc`` has it, ``T`` for one that is stopped; empty: it is
    gone.
    """
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def parent_of(process_id: int) -> int:
    """The process that has started another one, which runs."""
    return int(Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[1])


def is_there(process_id: int) -> bool:
    """Whether a process of that id runs, and is no zombie."""
    return state_of(process_id) not in ("", "Z", "X")


def process_group(leader: int) -> list[int]:
    """The processes of the group of `leader`, which come and go."""
    members = []
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if os.getpgid(int(path.name)) == leader:
                members.append(int(path.name))
    return members
