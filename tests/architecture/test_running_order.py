"""The order of the suite's tests, where a test process crashes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CONFTEST = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.running_order import GroupScheduling
def pytest_xdist_make_scheduler(config, log):
    return GroupScheduling(config, log)
"""
FILE = """
import os, pytest
@pytest.mark.parametrize("number", range(4))
def test_it(number):
    if {crashes} and number == 1:
        os.kill(os.getpid(), 9)
"""


def test_a_test_that_kills_its_process_fails_once_and_all_others_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for number in range(4):
        (tmp_path / f"test_{number}.py").write_text(FILE.format(crashes=number == 3))
    command = ["-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "--rootdir=."]
    run = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert "1 failed, 15 passed" in run.stdout, run.stdout + run.stderr
    assert "crashed while running 'test_3.py::test_it[1]'" in run.stdout
    assert run.returncode == 1
