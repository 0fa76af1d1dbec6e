"""A driver started with `uv run`, as the README says: its workers' interpreter, and SIGTERM."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = """
import os, signal, sys, time
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, interrupt)
from orchestrator.ray_cluster.connect import ray_cluster
import ray

with ray_cluster(num_cpus=1):
    interpreter = ray.get(ray.remote(lambda: sys.executable).remote(), timeout=100)
    sys.stdout.write(f"worker: {interpreter}\\n")
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except KeyboardInterrupt:
        sys.stdout.write("interrupted\\n")
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A driver that has ended.

    Ray looks for an ancestor whose command line begins with `uv run`; a script called `run`
    under a process called `uv` is one.
    """
    tmp_path = tmp_path_factory.mktemp("below-uv-run")
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "run").write_text(
        f"import subprocess\nraise SystemExit(subprocess.call([{sys.executable!r}, 'driver.py']))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    repository = str(Path(__file__).resolve().parents[2])
    return subprocess.run(
        ["uv", "run"],
        executable=sys.executable,
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": repository},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_workers_run_the_interpreter_of_their_driver(
    driver: subprocess.CompletedProcess[str],
) -> None:
    assert driver.returncode == 0, driver.stderr
    assert f"worker: {sys.executable}\n" in driver.stdout


def test_sigterm_reaches_the_driver_s_own_handler_and_prints_no_stack(
    driver: subprocess.CompletedProcess[str],
) -> None:
    """Ray exits with code 15 otherwise, after a C++ stack."""
    assert driver.stdout.endswith("interrupted\n")
    assert "SIGTERM received" not in driver.stderr
