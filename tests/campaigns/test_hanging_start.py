"""A worker that is stopped while its group starts is ended, and the group starts again.

Run it with ``uv run pytest -m campaign tests/campaigns/test_hanging_start.py``; it takes a minute.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import ray

from orchestrator.ray_cluster.connect import ray_cluster
from orchestrator.ray_cluster.worker_group import fit_workers
from tests.integration.test_named_groups import (
    CONFIG,
    groups,
    imports_torch,
    living_actors,
    wait_until,
    work,
)

START_SECONDS = 45.0


def fit(folder: Path) -> int:
    return int(
        fit_workers(
            work,
            {"folder": str(folder), "result": 7},
            CONFIG,
            state_dir=folder,
            name="run-0001",
            max_failures=0,
            start_seconds=START_SECONDS,
        )
    )


@pytest.mark.campaign
def test_a_group_whose_worker_hangs_before_it_trains_starts_again(tmp_path: Path) -> None:
    with ray_cluster(num_cpus=1):
        start = ray.remote(num_cpus=0, max_retries=0)(fit).remote(tmp_path)
        wait_until(lambda: any(map(imports_torch, living_actors())))
        (stopped,) = living_actors()
        os.kill(stopped, signal.SIGSTOP)
        assert ray.get(start, timeout=300) == 7
        assert stopped not in living_actors() and groups() == []
