"""Runs of commands outside sweeps are closed once their process is dead, and never before."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from orchestrator.commands.prp import main
from orchestrator.config.run_config import load_config, to_tree
from orchestrator.journal.open_runs import NOTES
from orchestrator.journal.process_identity import this_process
from orchestrator.tracking import dead_runs
from orchestrator.tracking.dead_runs import (
    PATIENCE_SECONDS,
    SILENT_SECONDS,
    WATCHED_SECONDS,
    close_dead_runs,
    close_left_runs,
)
from orchestrator.tracking.encoder_file import EncoderCard, pack
from orchestrator.tracking.imported import (
    CHECKPOINT_TAG,
    EXPERIMENT,
    ImportedEncoder,
    register_imported,
)
from orchestrator.tracking.mlflow_client import TrackerUnavailable
from orchestrator.tracking.run_owner import ALIVE_TAG, OWNER_TAG, Heartbeat
from orchestrator.tracking.run_reporter import RunReporter
from prp_core.encoders import build_encoder
from prp_core.pretext.official_checkpoint import LoadReport

# A command that makes a run, another that asks MLflow whether it takes one, and that stands still.
COMMAND = """
import sys, time
from orchestrator.tracking import start_check
from orchestrator.tracking.mlflow_client import connect
from orchestrator.tracking.run_reporter import RunReporter

def hang(client, run_id, path, data):
    print(reporter.run_id, run_id, flush=True)
    time.sleep(600)

uri = sys.argv[1]
reporter = RunReporter(uri, "prp-finetune", key="1", name="out", params={"seed": 7}, tags={})
reporter.log({"recognition/train_loss": 0.5}, step=2)
start_check.log_file = hang
start_check._check_run(connect(uri), uri, "demo")
"""


@pytest.fixture
def uri(empty_mlflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An MLflow without runs, and a home without sweeps that knows nothing of it."""
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(empty_mlflow_database, tmp_path / "elsewhere" / "mlflow.db")
    return f"sqlite:///{tmp_path / 'elsewhere' / 'mlflow.db'}"


def reporter(uri: str) -> RunReporter:
    return RunReporter(uri, "prp-finetune", key="1", name="out", params={"seed": 7}, tags={})


def state(uri: str, run_id: str) -> tuple[str, str]:
    """MLflow's status of a run, and why it ended."""
    run = MlflowClient(uri).get_run(run_id)
    return run.info.status, run.data.tags["prp.reason"]


def test_a_killed_command_is_closed_by_status_and_goes_on_in_its_run(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, uri], stdout=subprocess.PIPE, text=True
    )
    try:
        assert command.stdout is not None
        run_id, probe = command.stdout.readline().split()
        assert main(["status"]) == 0
        assert state(uri, run_id) == state(uri, probe) == ("RUNNING", ""), "it lives"
        command.send_signal(signal.SIGSTOP)
        assert main(["status", "--json"]) == 0
        assert state(uri, run_id) == ("RUNNING", ""), "it may wake up"
    finally:
        command.kill()
        command.wait()
    assert main(["status", "--json"]) == 0
    status, reason = state(uri, run_id)
    assert status == "KILLED" and reason.startswith("its process ended without closing it: ")
    assert reason.endswith(f", process {command.pid}")
    client = MlflowClient(uri)
    run = client.get_run(run_id)
    assert run.info.end_time == int(1000 * float(run.data.tags[ALIVE_TAG])), "when it lived last"
    assert client.get_run(probe).info.lifecycle_stage == "deleted"

    with reporter(uri) as again:
        assert again.run_id == run_id and state(uri, run_id) == ("RUNNING", "")
        again.log({"recognition/train_loss": 0.4}, step=4)
        assert main(["status"]) == 0
    assert state(uri, run_id) == ("FINISHED", "")
    assert client.get_run(run_id).data.metrics["recognition/train_loss"] == 0.4
    assert len(list((tmp_path / "home" / NOTES).iterdir())) == 2, "kept while a request may come"
    capsys.readouterr()


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "KILLED"), (ValueError(), "FAILED")]
)
def test_a_command_that_breaks_off_closes_its_run(
    uri: str, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), reporter(uri) as run:
        raise error
    assert state(uri, run.run_id) == (status, "")


def test_published_weights_are_registered_once_and_what_is_refused_leaves_no_open_run(
    uri: str,
) -> None:
    card = EncoderCard(
        encoder="c3d_small",
        config=to_tree(load_config("demo")),
        provenance={CHECKPOINT_TAG: "3d", "prp.checkpoint": "best.pth.tar"},
    )
    files = pack(build_encoder("c3d_small").state_dict(), card)
    found = ImportedEncoder(card, files, LoadReport((), (), (), ()), 1)
    assert register_imported(found, "published", uri) == "models:/published/1"
    assert register_imported(found, "published", uri) == "models:/published/1"
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert state(uri, run.info.run_id) == ("FINISHED", "")
    assert run.data.params == {"encoder.name": "c3d_small"}
    with pytest.raises(MlflowException, match="Invalid model name"):
        register_imported(found, "a:b", uri)
    assert state(uri, run.info.run_id) == ("FAILED", "")


def test_a_command_on_another_machine_is_dead_when_it_says_nothing_for_long(uri: str) -> None:
    """Its clock may be wrong by any amount: what counts in the end is whether it says anything."""
    client = MlflowClient(uri)
    experiment = client.create_experiment("prp-finetune")
    far = replace(this_process(), machine="another", pid=1)

    def run_alive_at(seconds: float, **changes: Any) -> str:
        owner = json.dumps(asdict(replace(far, **changes)))
        tags = {OWNER_TAG: owner, ALIVE_TAG: str(seconds), "prp.reason": ""}
        return str(client.create_run(experiment, tags=tags).info.run_id)

    now = time.time()
    speaks = run_alive_at(now)
    is_ahead = run_alive_at(now + 7200)
    is_behind = run_alive_at(now - 7200)
    is_silent = run_alive_at(now - SILENT_SECONDS - 1)
    is_unknown = run_alive_at(now - 7200, started="", machine="")
    is_damaged = client.create_run(experiment, tags={OWNER_TAG: "{", "prp.reason": ""}).info.run_id

    def sleep(renew: Callable[[], None]) -> Callable[[float], None]:
        def renew_meanwhile(seconds: float) -> None:
            assert seconds == WATCHED_SECONDS
            renew()

        return renew_meanwhile

    alive = sleep(lambda: client.set_tag(is_behind, ALIVE_TAG, str(now - 7195)))
    assert close_dead_runs(uri, sleep=alive) == {far}
    for run_id in (speaks, is_ahead, is_behind, is_damaged):
        assert state(uri, run_id) == ("RUNNING", "")
    for run_id in (is_silent, is_unknown):
        assert state(uri, run_id)[0] == "KILLED"

    heartbeat = Heartbeat(client, is_silent, seconds=3600.0)
    heartbeat.beat()  # it was only cut off
    heartbeat.stop()
    assert state(uri, is_silent) == ("RUNNING", "")


def test_all_servers_that_are_away_are_waited_for_no_longer_than_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "home"))
    waited: list[float] = []

    def away(uri: str, *, patience_seconds: float) -> None:
        waited.append(patience_seconds)
        raise TrackerUnavailable(uri)

    monkeypatch.setattr(dead_runs, "close_dead_runs", away)
    monkeypatch.setattr(dead_runs.time, "monotonic", lambda: sum(waited))
    close_left_runs([f"http://127.0.0.1:{port}" for port in (9, 10, 11)])
    assert waited == [PATIENCE_SECONDS, 0, 0]
