"""A sweep from its start to its end without MLflow, which is told afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.commands.prp import main
from orchestrator.tracking import load_encoder
from tests.fixtures_mlflow import MlflowServer
from tests.tools.study_process import TINY_PRESET, StudyProcess, rung_rows, trial_rows

pytestmark = pytest.mark.timeout(1200)
STATUSES = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED"}


def test_a_sweep_ends_without_mlflow_and_is_published_when_it_is_back(
    mlflow_server: MlflowServer,
    tmp_path: Path,
    tiny_videos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--preset", str(TINY_PRESET), "--data", str(tiny_videos), "--trials", "2"]
    words += ["--mlflow", mlflow_server.uri, "--set", "sweep.name=away"]
    mlflow_server.kill()
    try:
        with StudyProcess(tmp_path, words) as study:
            assert study.wait() == 0, study.output[-4000:]
            output, sweep_id = study.output, study.sweep_id
    finally:
        mlflow_server.start()
    assert f"MLflow at {mlflow_server.uri} does not answer" in output
    assert "Taken:       trial" in output and "Traceback" not in output
    assert f"send them with: uv run prp publish {sweep_id}" in output

    monkeypatch.setenv("PRP_HOME", str(tmp_path))
    assert main(["publish", sweep_id]) == 0, capsys.readouterr()
    client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
    experiment = client.get_experiment_by_name("away")
    runs = list(client.search_runs([experiment.experiment_id]))
    parent = next(run for run in runs if run.data.tags.get("prp.role") == "sweep")
    trials = {int(run.data.tags["prp.trial"]): run for run in runs if run is not parent}
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["baseline/random_init/retrieval/recall_at_1"] >= 0
    assert [one.path for one in client.list_artifacts(parent.info.run_id)] == ["report.html"]
    states = {number: state for number, state, _ in trial_rows(tmp_path, sweep_id)}
    assert {number: run.info.status for number, run in trials.items()} == {
        number: STATUSES[state] for number, state in states.items()
    }
    rungs = rung_rows(tmp_path, sweep_id)
    for number, run in trials.items():
        history = client.get_metric_history(run.info.run_id, "retrieval/recall_at_1")
        values = [point.value for point in sorted(history, key=lambda point: point.step)]
        assert values == [value for trial, _, value in rungs if trial == number]
        assert "cost/cpu_hours" in run.data.metrics
    load_encoder("models:/prp-away@best", mlflow_server.uri)
