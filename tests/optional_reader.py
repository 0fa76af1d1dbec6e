"""Installation of the optional reader's package, which `uv run` leaves out, for the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[1]


def install_decord() -> None:
    """Install what the extra ``decord`` requires here; it stays, and `uv run` does not touch it.

    Where there is no wheel for the platform, the tests of that reader fail with its own message.
    """
    wanted = [
        requirement
        for requirement in map(Requirement, requires("prp") or [])
        if requirement.marker is not None
        and requirement.marker.evaluate({"extra": "decord"})
        and not requirement.marker.evaluate({"extra": ""})
    ]
    missing = [f"{item.name}{item.specifier}" for item in wanted if find_spec(item.name) is None]
    if not missing:
        return
    command = ["uv", "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    if shutil.which("uv") is None:
        pytest.exit(f"the tests need {', '.join(missing)}: uv sync --extra decord", returncode=2)
    done = subprocess.run([*command, *missing], cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.exit(f"the tests need {', '.join(missing)}: {done.stderr.strip()}", returncode=2)
