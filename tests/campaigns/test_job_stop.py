"""``ray job stop`` in mid-sweep, which kills after 3 s, and the same job submitted again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.commands.prp import main
from tests.e2e.disturbed_sweep import run_statuses
from tests.tools.job_server import BIN_DIR
from tests.tools.study_process import (
    REPOSITORY,
    TINY_PRESET,
    TINY_STUDY,
    rung_rows,
    trial_rows,
)
from tests.tools.token_cluster import TokenCluster

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]
PATIENCE_SECONDS = 900.0


def test_a_stopped_job_closes_its_runs_and_the_same_job_goes_on(
    tmp_path: Path, tiny_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [sys.executable, str(TINY_STUDY), "--preset", str(TINY_PRESET), "--trials", "1"]
    words += ["--data", str(tiny_videos), "--sweep", "one", "--storage", str(tmp_path)]
    words += ["--mlflow", f"sqlite:///{tmp_path / 'mlflow.db'}"]
    for setting in ("sweep.pruner=none", "showcase.num_trials=0", "sweep.sampler=random"):
        words += ["--set", setting]
    own = {"PRP_HOME": str(tmp_path / "home"), "PYTHONPATH": str(REPOSITORY), "PRP_TEST_SLOW": "1"}
    with TokenCluster(num_cpus=2, extra_env=own) as cluster:
        job = cluster.submit(words)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not list((tmp_path / "sweeps").glob("one/trials/*/checkpoints/committed.json")):
            assert time.monotonic() < deadline, cluster.logs(job)[-3000:]
            time.sleep(0.3)
        started = time.monotonic()
        stop = [str(BIN_DIR / "ray"), "job", "stop", f"--address={cluster.dashboard_url}", job]
        subprocess.run(stop, env=cluster.env, check=True, capture_output=True, timeout=120)
        assert cluster.wait(job, timeout_seconds=60) == "STOPPED"
        seconds, log = time.monotonic() - started, cluster.logs(job)
        before = run_statuses(tmp_path)
        sys.stdout.write(f"stopped after {seconds:.1f} s; runs: {before}\n{log[-600:]}\n")
        assert "Traceback" not in log and "SIGTERM received" not in log
        monkeypatch.setenv("PRP_HOME", str(tmp_path / "home"))
        assert main(["status", "--storage", str(tmp_path)]) == 0
        assert {run_statuses(tmp_path)[name] for name in ("parent", "0")} == {"KILLED"}
        assert {state for _, state, _ in trial_rows(tmp_path, "one")} == {"RUNNING"}
        job = cluster.submit(words)
        assert cluster.wait(job) == "SUCCEEDED", cluster.logs(job)[-4000:]
    assert [state for _, state, _ in trial_rows(tmp_path, "one")] == ["COMPLETE"]
    rungs = Counter((trial, epoch) for trial, epoch, _ in rung_rows(tmp_path, "one"))
    assert set(rungs.values()) == {1}
    assert set(run_statuses(tmp_path).values()) == {"FINISHED"}
