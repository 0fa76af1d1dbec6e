"""A Python program in another network namespace: ``python in_namespace.py NAME PROGRAM ...``.

PROGRAM is a script, or ``-c`` and its text. The process enters the namespace that ``ip netns add``
made and becomes the program, so that it keeps its number.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWNET = 0x40000000


def main(name: str, *words: str) -> None:
    """Enter the namespace `name` and run ``python`` with `words`."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/var/run/netns", name).open("rb") as space:
        if libc.setns(space.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"namespace {name} cannot be entered")
    os.execv(sys.executable, [sys.executable, *words])


if __name__ == "__main__":
    main(*sys.argv[1:])
