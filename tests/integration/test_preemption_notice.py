"""From EC2's metadata through Ray to the workers: a machine that goes away is announced."""

from __future__ import annotations

import datetime
import threading
import urllib.error
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from cluster import drain_node
from cluster.drain_node import seconds_to_interruption, watch_spot
from orchestrator.config.run_config import load_config
from orchestrator.ray_cluster.connect import use_environment
from orchestrator.ray_cluster.preemption import is_preempted
from orchestrator.ray_cluster.worker_group import fit_workers
from tests.tools.cluster_nodes import add_node

SOON = datetime.datetime(2026, 11, 28, 12, 0, 0, tzinfo=datetime.UTC)


class Metadata:
    """EC2's instance metadata (version 2: a token first), on loopback."""

    def __init__(self) -> None:
        self.notice = ""
        metadata = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                asked = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
                self._answer(200 if asked and self.path == "/latest/api/token" else 400, "t0k")

            def do_GET(self) -> None:
                if self.headers.get("X-aws-ec2-metadata-token") != "t0k":
                    self._answer(401, "")
                elif self.path != "/latest/meta-data/spot/instance-action" or not metadata.notice:
                    self._answer(404, "")
                else:
                    self._answer(200, metadata.notice)

            def _answer(self, code: int, text: str) -> None:
                self.send_response(code)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    served = Metadata()
    yield served
    served.close()


def test_the_metadata_say_when(metadata: Metadata) -> None:
    assert seconds_to_interruption(metadata.url) is None
    metadata.notice = '{"action": "terminate", "time": "2026-11-28T12:00:00Z"}'
    at = SOON.timestamp()
    assert seconds_to_interruption(metadata.url, lambda: at - 120) == 110
    assert seconds_to_interruption(metadata.url, lambda: at) == 5
    metadata.close()
    with pytest.raises(OSError, match="refused|timed out"):
        seconds_to_interruption("http://127.0.0.1:9")


def wait_for_notice(work: dict[str, Any]) -> bool:
    """A Ray Train worker that waits until it is told, as training asks at each step."""
    from ray import train

    heard = threading.Event()
    waiting = Path(work["folder"]) / f"waiting-{train.get_context().get_world_rank()}"
    waiting.write_text(ray.get_runtime_context().get_node_id())
    while not is_preempted():
        heard.wait(0.2)
    (Path(work["folder"]) / f"heard-{train.get_context().get_world_rank()}").touch()
    return True


def test_every_worker_hears_of_the_spot_machine_that_goes(
    tmp_path: Path, metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.5")
    monkeypatch.setattr(drain_node, "POLL_SECONDS", 0.2)
    use_environment()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        for _ in range(2):
            add_node(cluster, num_cpus=1, resources={"spot": 1})
        ray.init(address=cluster.address, log_to_driver=False)
        config = load_config("demo", ["resources.num_workers=2", "resources.cpus_per_worker=1"])

        def notice() -> None:
            nodes = {node["NodeID"] for node in ray.nodes() if "spot" in node["Resources"]}
            while True:
                files = [tmp_path / f"waiting-{rank}" for rank in range(2)]
                if all(file.is_file() and file.read_text() for file in files):
                    break
                threading.Event().wait(0.2)
            going = next(file.read_text() for file in files if file.read_text() in nodes)
            metadata.notice = '{"action": "terminate", "time": "2000-01-01T00:00:00Z"}'
            watch_spot(cluster.address, metadata.url, going)

        thread = threading.Thread(target=notice, daemon=True)
        thread.start()
        done = fit_workers(
            wait_for_notice,
            {"folder": str(tmp_path)},
            config,
            state_dir=tmp_path,
            name="notice",
            max_failures=0,
        )
        assert done is True
        assert sorted(path.name for path in tmp_path.glob("heard-*")) == ["heard-0", "heard-1"]
        thread.join(60)
        assert not thread.is_alive()
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_a_refusal_of_the_metadata_is_an_error(metadata: Metadata) -> None:
    with pytest.raises(urllib.error.HTTPError):
        seconds_to_interruption(f"{metadata.url}/wrong")
