"""A run whose parameters name a server of somebody else: `prp reproduce` sends nothing there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from orchestrator.commands.prp import main
from orchestrator.config.run_config import load_config, with_values
from orchestrator.coordinator.run_starts import as_params


class Listener:
    """A server that counts connections and closes them; what was sent first is kept."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.heard: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                self.heard.append(connection.recv(65536))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener()
    yield server
    server.close()


def test_reproducing_a_run_sends_nothing_to_its_server(
    tmp_path: Path,
    listener: Listener,
    empty_mlflow_database: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    database = tmp_path / "mlflow.db"
    database.write_bytes(empty_mlflow_database.read_bytes())
    uri = f"sqlite:///{database}"
    theirs = tmp_path / "theirs"
    config = with_values(
        load_config("demo"),
        {"store.endpoint_url": listener.url, "cache.dir": str(theirs), "store.deadline_seconds": 0},
    )
    run_id = _record(uri, as_params(config))
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "canary-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary-token")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)

    assert main(["reproduce", run_id, "--mlflow", uri]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    refusal = f"prp: error: Run {run_id} read s3://videos/ucf from {listener.url}, this machine"
    assert said.startswith(refusal)
    assert f"--endpoint-url: {listener.url} if you trust it" in said
    assert listener.heard == [] and not theirs.exists()

    # The count is worth something: where the user allows the server, it is asked.
    allowed = ["--endpoint-url", listener.url, "--cache-dir", str(tmp_path / "ours")]
    assert main(["reproduce", run_id, "--mlflow", uri, *allowed]) == 2
    assert any(b"canary-token" in request for request in listener.heard)
    assert not theirs.exists()


def _record(uri: str, params: dict[str, str]) -> str:
    client = MlflowClient(uri)
    run = client.create_run(client.create_experiment("hostile"))
    for name, value in params.items():
        client.log_param(run.info.run_id, name, value)
    tags = {
        "prp.role": "trial",
        "prp.state": "finished",
        "prp.data_uri": "s3://videos/ucf",
        "prp.manifest_uri": "s3://videos/manifest.parquet",
        "prp.dataset_hash": "0" * 16,
    }
    for name, value in tags.items():
        client.set_tag(run.info.run_id, name, value)
    client.log_metric(run.info.run_id, "epoch", 1.0, step=10)
    client.set_terminated(run.info.run_id)
    return run.info.run_id
