"""A sweep that runs without MLflow and one whose servers and nodes are killed have equal records.

The other kinds of a sweep's processes are killed in test_interruptions.py (driver, coordinator, a
trial's driver) and test_workers.py; tests/campaigns/test_nemesis.py kills all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.commands.prp import main
from orchestrator.config.typed_command import prp
from orchestrator.tracking import load_encoder
from tests.e2e.nemesis_sweep import faults_after, under_fire
from tests.fixtures_mlflow import MlflowServer
from tests.fixtures_s3 import S3Server
from tests.sweep_check import Records, faults_of_runs, records_of, runs_of
from tests.tools.cluster_nodes import ThreeNodes
from tests.tools.nemesis import Kind

pytestmark = pytest.mark.timeout(1200)
AWAY = "away"


@pytest.fixture
def three_nodes(s3_environment: S3Server) -> Iterator[ThreeNodes]:
    """The cluster of both sweeps, whose processes find the S3 server."""
    with ThreeNodes() as nodes:
        yield nodes


def test_nothing_is_lost_without_mlflow_nor_when_servers_and_a_node_are_killed(
    tmp_path: Path,
    tiny_videos: Path,
    mlflow_server: MlflowServer,
    s3_environment: S3Server,
    s3_bucket: str,
    three_nodes: ThreeNodes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    storage = f"s3://{s3_bucket}/prp"
    places = tiny_videos, storage, mlflow_server, s3_environment
    mlflow_server.kill()
    try:
        with under_fire(tmp_path / AWAY, *places, AWAY, nodes=three_nodes) as field:
            study = field.start()
            assert study.wait(600) == 0, study.output[-4000:]
    finally:
        mlflow_server.start()
    assert f"MLflow at {mlflow_server.uri} does not answer" in study.output
    assert "Taken:       trial" in study.output and "Traceback" not in study.output
    assert f"send them with: {prp('publish')}" in study.output

    monkeypatch.setenv("PRP_HOME", str(tmp_path / "another-machine"))
    assert main(["publish", f"{storage}/sweeps/{AWAY}"]) == 0, capsys.readouterr()
    reference = records_of(storage, AWAY, mlflow_server.uri)
    check_that_all_was_published(mlflow_server.uri, reference)

    strikes = (Kind.RAYLET, Kind.S3, Kind.MLFLOW)
    faults, said = faults_after(strikes, tmp_path, *places, reference, nodes=three_nodes)
    assert faults == [], said


def check_that_all_was_published(uri: str, records: Records) -> None:
    """The runs of the sweep that MLflow did not see while it ran."""
    client = MlflowClient(uri, uri)
    assert faults_of_runs(client, AWAY, records.states) == []
    runs = runs_of(client, AWAY)
    (parent,) = (run for run in runs if run.data.tags["prp.role"] == "sweep")
    trials = sorted(
        (run for run in runs if "prp.trial" in run.data.tags),
        key=lambda run: int(run.data.tags["prp.trial"]),
    )
    assert parent.data.metrics["baseline/random_init/retrieval/recall_at_1"] >= 0
    assert "report.html" in [one.path for one in client.list_artifacts(parent.info.run_id)]
    for number, run in enumerate(trials):
        history = client.get_metric_history(run.info.run_id, "retrieval/recall_at_1")
        values = [point.value for point in sorted(history, key=lambda point: point.step)][1:]
        assert values == [value for _, value in sorted(records.rungs[number].items())]
        assert "cost/cpu_hours" in run.data.metrics
    load_encoder(f"models:/prp-{AWAY}/1", uri)
