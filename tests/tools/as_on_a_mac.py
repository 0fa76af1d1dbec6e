"""The program `prp` as on a Mac: no `/proc`, and none of the calls that Linux alone has.

Nor `fcntl`, which a Mac has and some systems have not.
``python -m tests.tools.as_on_a_mac WORDS``. What is missing is missing in this process alone: its
children are Linux's.
"""

from __future__ import annotations

import os
import sys

DIRECTORY_EVENTS = ("open", "os.listdir", "os.scandir")
ABSENT = ("sched_getaffinity", "posix_fallocate", "memfd_create", "O_PATH")


def refuse_proc(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook that lets no file below ``/proc`` be opened or listed."""
    if event in DIRECTORY_EVENTS and str(arguments[0]).startswith("/proc"):
        raise FileNotFoundError(2, "No such file or directory", str(arguments[0]))


if __name__ == "__main__":
    sys.addaudithook(refuse_proc)
    for name in ABSENT:
        delattr(os, name)
    sys.modules["fcntl"] = None  # type: ignore[assignment]
    from orchestrator.commands.prp import main

    raise SystemExit(main())
