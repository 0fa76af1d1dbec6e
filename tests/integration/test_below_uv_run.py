"""A driver started with `uv run`, as the README says, has workers that run its own interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DRIVER = """
import sys
from orchestrator.ray_cluster.connect import ray_cluster
import ray

with ray_cluster(num_cpus=1):
    interpreter = ray.get(ray.remote(lambda: sys.executable).remote(), timeout=100)
    sys.stdout.write(f"worker: {interpreter}\\n")
"""


def test_workers_run_the_interpreter_of_their_driver(tmp_path: Path) -> None:
    """Ray looks for an ancestor whose command line begins with `uv run`; a script called `run`
    under a process called `uv` is one.
    """
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "run").write_text(
        f"import subprocess\nraise SystemExit(subprocess.call([{sys.executable!r}, 'driver.py']))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    repository = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        ["uv", "run"],
        executable=sys.executable,
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": repository},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert f"worker: {sys.executable}" in done.stdout.splitlines()
