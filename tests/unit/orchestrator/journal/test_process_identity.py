"""Whether a process is still alive: real processes that end."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

from orchestrator.journal.process_identity import ProcessIdentity, is_dead, this_process

SAY_WHO = (
    "from dataclasses import astuple; from orchestrator.journal.process_identity import *; "
    "print(list(astuple(this_process())), flush=True); input()"
)


def test_a_process_is_alive_until_it_ends_reaped_or_not() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SAY_WHO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdin is not None
    user, host, pid, machine, started = eval(process.stdout.readline())  # noqa: S307 - our own
    other = ProcessIdentity(user, host, pid, machine, started)
    assert pid == process.pid and not is_dead(other)
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(other), "a zombie has ended"
    process.wait(60)
    assert is_dead(other)


def test_who_cannot_be_looked_at_is_not_called_dead() -> None:
    me = this_process()
    assert str(me) == f"{me.user}@{me.host}, process {os.getpid()}"
    assert not is_dead(me)
    assert is_dead(replace(me, started="1")), "the number was given to another process since"
    gone = replace(me, pid=2**22 - 1)
    assert is_dead(gone)
    for elsewhere in ("", "another-boot/pid:[4026531836]"):
        assert not is_dead(replace(gone, machine=elsewhere))
