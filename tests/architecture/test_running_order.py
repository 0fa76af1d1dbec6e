"""The order of the suite's tests, how many processes run them, and one that crashes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.running_order import TESTS, num_processes

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


@pytest.mark.parametrize(
    "paths, num_cores, expected",
    [
        (["unit"], 2, 2),
        (["unit/docs", "unit/prp_core/test_world.py::test_it[a::b]"], 4, 4),
        (["unit"], 64, 8),
        ([""], 2, 3),
        (["unit", "e2e/test_sweep.py"], 64, 3),
    ],
)
def test_unit_tests_run_in_one_process_for_each_core(
    paths: list[str], num_cores: int, expected: int
) -> None:
    assert num_processes([str(TESTS / path) for path in paths], num_cores) == expected
    assert num_processes([], num_cores) == 3
