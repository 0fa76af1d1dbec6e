"""The probes of a machine: each failure, planted, is found and says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.capacity import NodeShape, TrialBundle, plan_capacity
from orchestrator.config.run_config import load_config, with_values
from orchestrator.storage.open_store import open_store
from orchestrator.sweep.examination import placed_finding
from orchestrator.sweep.finding import Level
from orchestrator.sweep.group_probe import findings_of
from orchestrator.sweep.probes import (
    clock_finding,
    database_finding,
    disk_finding,
    gpu_finding,
    shared_memory_finding,
    storage_finding,
    token_finding,
    tracking_finding,
    versions_finding,
    write_token,
)
from prp_core.training.step_probe import StepProbe, probe_step
from prp_core.world import World

CONFIG = load_config("demo")


def test_a_storage_that_is_another_folder_on_this_node_is_found(tmp_path: Path) -> None:
    shared, other = tmp_path / "shared", tmp_path / "other"
    shared.mkdir()
    other.mkdir()
    token = write_token(open_store(shared))
    good = storage_finding(CONFIG, str(shared), token)
    assert good.level == Level.OK and "written on conditions" in good.text
    assert [path.name for path in shared.iterdir()] == [token], "the probe left nothing"
    bad = storage_finding(CONFIG, str(other), token)
    assert bad.level == Level.FAILURE and "what the driver wrote is not in it" in bad.text
    assert "give a --storage that every node sees" in bad.advice


def test_a_database_and_an_mlflow_that_cannot_be_used_are_found() -> None:
    database = database_finding("sqlite:////no/such/folder/trials.db")
    assert database.level == Level.FAILURE and "cannot be opened" in database.text
    assert "pg_hba.conf" in database.advice
    assert tracking_finding("sqlite:////data/mlflow.db", "x").level == Level.OK
    away = tracking_finding("http://127.0.0.1:9", "x")
    assert away.level == Level.WARNING and "does not answer" in away.text


def test_a_disk_that_is_full_or_cannot_be_written_and_little_shared_memory(tmp_path: Path) -> None:
    assert disk_finding(tmp_path / "new", 1).level == Level.OK
    full = disk_finding(tmp_path, 1 << 60)
    assert full.level == Level.WARNING and "set cache.dir to a larger disk" in full.advice
    assert disk_finding("/proc/cache", 1).level == Level.FAILURE
    assert shared_memory_finding(tmp_path, 1).level == Level.OK
    assert "--shm-size" in shared_memory_finding(tmp_path, 1 << 60).advice
    assert shared_memory_finding(tmp_path / "none").level == Level.OK


def test_a_gpu_that_is_asked_for_and_not_there(tmp_path: Path) -> None:
    assert gpu_finding(0).level == Level.OK
    missing = gpu_finding(1, str(tmp_path / "nvidia-smi"))
    assert missing.level == Level.FAILURE and "a worker needs 1 GPU" in missing.text
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100, 580.1, 81559 MiB'\n")
    program.chmod(0o755)
    assert gpu_finding(1, str(program)).text == "NVIDIA H100, 580.1, 81559 MiB"


@pytest.mark.parametrize(
    ("there", "level", "text"),
    [
        (101.0, Level.OK, "agrees with the driver's"),
        (90.0, Level.WARNING, "10.0 s away from the driver's, at least"),
        (1002.0, Level.FAILURE, "900.0 s away from the driver's, at least: S3 refuses"),
    ],
)
def test_clocks_are_compared_within_what_the_answer_took(
    there: float, level: Level, text: str
) -> None:
    finding = clock_finding(100.0, there, 102.0)
    assert finding.level == level and finding.text.startswith(text)


def test_other_versions_are_named_with_the_drivers() -> None:
    drivers = {"python": "3.11.7", "ray": "2.60.0", "torch": "2.9.0"}
    assert versions_finding(drivers, drivers).level == Level.OK
    bad = versions_finding(drivers, {"python": "3.11.7", "ray": "2.59.0"})
    assert bad.level == Level.FAILURE
    assert bad.text == "ray 2.59.0 (driver 2.60.0), torch missing (driver 2.9.0)"


def test_a_token_that_others_can_read_and_a_cluster_without_one(tmp_path: Path) -> None:
    path = tmp_path / ".ray" / "auth_token"
    home = {"HOME": str(tmp_path)}
    assert token_finding(home).level == Level.WARNING
    path.parent.mkdir()
    path.write_text("secret")
    path.chmod(0o644)
    open_to_all = token_finding(home)
    assert open_to_all.level == Level.FAILURE and f"chmod 600 {path}" in open_to_all.advice
    path.chmod(0o600)
    assert token_finding({"RAY_AUTH_TOKEN_PATH": str(path)}).level == Level.OK


def test_workers_that_do_not_reach_each_other_or_sum_wrongly_are_a_failure() -> None:
    config = load_config("demo", ["resources.num_workers=2", "training.batch_size=8"])
    (silent,) = findings_of("no answer within 60 s", config)
    assert silent.level == Level.FAILURE and silent.text == "gloo: no answer within 60 s"
    assert "GLOO_SOCKET_IFNAME in the environment of `ray start`" in silent.advice
    (wrong,) = findings_of([StepProbe(3.0, 0.5), StepProbe(2.0, 0.5)], config)
    assert wrong.level == Level.FAILURE and wrong.text.endswith("sums are wrong: 3, 2")
    gpus = with_values(config, {"resources.gpus_per_worker": 1.0})
    assert "NCCL_DEBUG=INFO says more" in findings_of("refused", gpus)[0].advice
    summed, timed = findings_of([StepProbe(3.0, 0.5), StepProbe(3.0, 0.8)], config)
    assert summed.level == timed.level == Level.OK and summed.text == "2 workers sum over gloo"
    num_epochs = config.training.num_epochs
    assert timed.text.startswith(
        "a step of 8 clips takes 0.8 s, an epoch of 1,000 videos 2 min and a trial of "
        f"{num_epochs} epochs {num_epochs * 100 / 60:.0f} min, by the base config and without "
    )


def test_one_worker_is_timed_alone() -> None:
    found = probe_step(load_config("demo", []), World.alone())
    assert found.is_right_for(1) and 0 < found.step_seconds < 60


def test_a_database_that_a_worker_does_not_reach_is_a_failure_there() -> None:
    found = database_finding("postgresql://127.0.0.1:9/none")
    assert found.level == Level.FAILURE and "Connection refused" in found.text


def test_a_place_that_only_the_autoscaler_can_make_is_a_warning() -> None:
    nodes = [NodeShape(cpus=4, gpus=0, alive=1, limit=1), NodeShape(8, 1, alive=0, limit=4)]
    bundle = TrialBundle(num_workers=2, cpus_per_worker=4, gpus_per_worker=1)
    waits = placed_finding(plan_capacity(bundle, nodes))
    assert waits.level == Level.WARNING and waits.where == "cluster"
    assert "waits until the autoscaler has added nodes" in waits.advice
    here = placed_finding(plan_capacity(TrialBundle(num_workers=1, cpus_per_worker=4), nodes))
    assert (here.level, here.advice) == (Level.OK, "")
