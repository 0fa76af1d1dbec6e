"""What a sweep whose driver has died tells MLflow after all: `prp publish`, `prp status`."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.commands.prp import main
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.coordinator.coordinator import Coordinator
from orchestrator.coordinator.publishing import close_dead_sweeps
from orchestrator.coordinator.sweep_state import CoordinatorSetup
from orchestrator.journal.lease import acquire
from orchestrator.journal.stored_sweep import open_folder
from orchestrator.journal.sweep_folder import LEASE
from orchestrator.search.space import TrialLimits
from tests.integration.test_coordinator_restart import begun
from tests.integration.test_sweep_account import METRIC, mlflow_database, space, spec_at

__all__ = ["mlflow_database"]  # every test of this file has such a database
REASON = "DivergedError: train/loss is nan"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notes of open runs of this machine are the test's own."""
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "home"))


def left_by_a_dead_driver(folder: Path, **changes: Any) -> SweepSpec:
    """A sweep of two trials and a confirming run, of which one trial and that run have failed by
    the study, which MLflow does not know; the other trial runs. Its coordinator has said no end.
    """
    spec = dataclasses.replace(spec_at(folder), **changes)
    open_folder(spec).create_spec(spec.to_values())
    limits = TrialLimits((60,) * 20)
    coordinator = Coordinator(CoordinatorSetup(spec=spec, space=space, limits=limits))
    begun(coordinator, "slot-1")
    failed = begun(coordinator, "slot-2")
    coordinator.trials.log(failed, {METRIC: 0.1}, 10)
    coordinator.confirming.start(0, 8)
    coordinator.recorder.make_durable()
    coordinator.recorder.flush()
    coordinator.trials._study.tell_failed(failed.number, REASON)
    note = json.dumps({"failed": "its data are gone"})
    coordinator.trials._study.set_sweep_note("confirm/0/8", note)
    return spec


def runs_at(uri: str) -> dict[str, tuple[str, str]]:
    """MLflow's status and our reason of each run, by its name."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    return {
        run.info.run_name: (run.info.status, run.data.tags.get("prp.reason", "")) for run in runs
    }


CLOSED = {
    "sweep": ("KILLED", "the driver of the sweep died"),
    "0000 2-3, loss_weight 2.15": ("KILLED", "the driver of the sweep died"),
    "0001 1-2, loss_weight 0.135": ("FAILED", REASON),
    "0000 seed 8: 2-3, loss_weight 2.15": ("FAILED", "its data are gone"),
}


def test_publish_says_how_the_runs_ended_and_what_was_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = left_by_a_dead_driver(tmp_path)
    assert {status for status, _ in runs_at(spec.tracking_uri).values()} == {"RUNNING"}
    with acquire(open_folder(spec).store, "Sweep sweep", key=LEASE):
        assert main(["publish", "sweep", "--storage", str(tmp_path)]) == 2
        assert "which sends the pending records itself" in capsys.readouterr().err
    assert main(["publish", "sweep", "--storage", str(tmp_path)]) == 0
    assert re.match(r"sent \d+ records of \d runs \(\d+ points\) to ", capsys.readouterr().out)
    assert runs_at(spec.tracking_uri) == CLOSED
    client = MlflowClient(spec.tracking_uri)
    (failed,) = client.search_runs(["1"], "tags.`prp.trial` = '1'")
    said = failed.data.tags["mlflow.note.content"]
    assert re.fullmatch(rf"Trial 1 failed after 0 of \d+ epochs.* \({REASON}\)\.", said), said
    assert "waste/queued_seconds" in json.loads(failed.data.tags["prp.counters"])
    assert main(["publish", spec.folder_uri]) == 0
    assert "sent 0 records of 0 runs (0 points)" in capsys.readouterr().out


def test_a_look_at_the_sweeps_closes_the_runs_of_dead_drivers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = left_by_a_dead_driver(tmp_path)
    assert main(["status", "--storage", str(tmp_path)]) == 0
    assert "stopped" in capsys.readouterr().out
    assert runs_at(spec.tracking_uri) == CLOSED


def test_the_start_of_another_sweep_closes_them_as_well(tmp_path: Path) -> None:
    spec = left_by_a_dead_driver(tmp_path)
    close_dead_sweeps(dataclasses.replace(spec, sweep_id="another"))
    assert runs_at(spec.tracking_uri) == CLOSED


def test_what_runs_of_a_deleted_sweep_is_closed_since_nobody_can_publish_it(tmp_path: Path) -> None:
    spec = left_by_a_dead_driver(tmp_path)
    assert main(["delete", "sweep", "--storage", str(tmp_path), "--yes"]) == 0
    assert set(runs_at(spec.tracking_uri).values()) == {("KILLED", "the sweep was deleted")}


def test_publish_without_a_server_says_that_it_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.coordinator.recorder.FLUSH_SECONDS", 0.1)
    left_by_a_dead_driver(tmp_path, tracking_uri="http://127.0.0.1:9")
    assert main(["publish", "sweep", "--storage", str(tmp_path)]) == 1
    assert "records wait: MLflow does not answer: " in capsys.readouterr().out
