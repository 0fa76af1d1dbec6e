"""The command that a hint tells the user to type: in the form in which this user starts PRP.

A hint that names ``uv run prp`` where PRP came by pip, or ``prp`` where it is on no path, cannot be
copied.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from orchestrator.config.shipped import studies

PROGRAM = "prp"
BY_MODULE = "python -m orchestrator"


def prp(words: str = "") -> str:
    """What runs ``prp WORDS``: ``uv run prp status`` below uv, else ``prp status``."""
    return f"{program_of(sys.argv[0], os.environ)} {words}".rstrip()


def installed(words: str) -> str:
    """What runs another program of this environment: ``uv run mlflow ui`` below uv."""
    return f"{_prefix(os.environ)}{words}"


def start_command(script: str) -> str:
    """What starts the study whose file is `script`, up to its options.

    `script` is as it was typed (``sweeps/rate_search.py``), or absolute: from ``prp sweep``.
    """
    path = Path(script)
    if not path.is_absolute():
        return installed(f"python {script}")
    return prp(f"sweep {_study_word(path)}")


def study_program(script: str) -> str:
    """How messages call the study whose file is `script`: ``rate_search.py``, or from ``prp sweep``
    (an absolute `script`) ``prp sweep rate_search``.
    """
    path = Path(script)
    if not path.is_absolute():
        return path.name
    return f"{PROGRAM} sweep {_study_word(path)}"


def program_of(started: str, environment: Mapping[str, str]) -> str:
    """The words that start the program; `started` is the first of the process's own."""
    prefix = _prefix(environment)
    if prefix:
        return f"{prefix}{PROGRAM}"
    on_path = shutil.which(PROGRAM, path=environment.get("PATH"))
    if Path(started).name == PROGRAM and not _is_same(started, on_path):
        return started
    return PROGRAM if on_path else BY_MODULE


def _study_word(path: Path) -> str:
    """What ``prp sweep`` is given for the study in `path`: its name where it is a shipped one."""
    return path.stem if path in studies().values() else str(path)


def _prefix(environment: Mapping[str, str]) -> str:
    """``uv run`` and a space where this process runs below it."""
    return "uv run " if "UV_RUN_RECURSION_DEPTH" in environment else ""


def _is_same(started: str, on_path: str | None) -> bool:
    """Whether the program that was `started` is the one that its bare name finds."""
    return on_path is not None and Path(started).resolve() == Path(on_path).resolve()
