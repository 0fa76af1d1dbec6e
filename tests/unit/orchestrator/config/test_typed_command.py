"""The commands that hints tell the user to type, for each way in which PRP is started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator.config.shipped import studies
from orchestrator.config.typed_command import program_of, prp, start_command, study_program


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    program = tmp_path / "bin" / "prp"
    program.parent.mkdir()
    program.touch(mode=0o755)
    return program.parent


def test_a_hint_starts_the_program_as_the_user_did(bin_dir: Path) -> None:
    uv = {"UV_RUN_RECURSION_DEPTH": "1", "PATH": str(bin_dir)}
    assert program_of(str(bin_dir / "prp"), uv) == "uv run prp"
    assert program_of(str(bin_dir / "prp"), {"PATH": str(bin_dir)}) == "prp"
    assert program_of(".venv/bin/prp", {"PATH": str(bin_dir)}) == ".venv/bin/prp"
    assert program_of(".venv/bin/prp", {"PATH": "/nowhere"}) == ".venv/bin/prp"
    assert program_of("sweeps/rate_search.py", {"PATH": str(bin_dir)}) == "prp"
    assert program_of("sweeps/rate_search.py", {"PATH": "/nowhere"}) == "python -m orchestrator"


def test_a_study_is_started_as_it_was(bin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    monkeypatch.setenv("PATH", str(bin_dir))
    monkeypatch.setattr(sys, "argv", [str(bin_dir / "prp")])
    shipped = str(studies()["rate_search"])
    assert prp("status") == "prp status"
    assert start_command("sweeps/rate_search.py") == "python sweeps/rate_search.py"
    assert start_command(shipped) == "prp sweep rate_search"
    assert start_command("/mine/rates.py") == "prp sweep /mine/rates.py"
    assert study_program("sweeps/rate_search.py") == "rate_search.py"
    assert study_program(shipped) == "prp sweep rate_search"
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert start_command("sweeps/rate_search.py") == "uv run python sweeps/rate_search.py"
    assert start_command(shipped) == "uv run prp sweep rate_search"
