"""A local cluster scaled by Ray's own autoscaler, through Ray's fake multi-node provider.

The nodes are real raylets with the resources that their type declares; only the "cloud" is fake.
`cpus` and `gpus` of a type are words to the scheduler: nothing checks that the machine has them.
The head takes no work unless given CPUs.
"""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.tools.job_server import JobServer
from tests.tools.marked_processes import end_marked_processes, free_ports, marked_processes
from tests.tools.token_cluster import PATIENCE, RAY, RayFolder

HEAD_NODE_ID = (
    "f" * 51 + "00000"
)  # the id and the type under which Ray's fake provider looks for the head
HEAD_TYPE = "ray.head.default"
FAKE_PROVIDER = "tests.tools.fake_nodes.FakeNodes"
START_TIMEOUT_SECONDS = 90.0
REPOSITORY_ROOT = Path(__file__).resolve().parents[2]


class LocalAutoscalingCluster(JobServer):
    """``with LocalAutoscalingCluster({"cpu.worker": node_type(cpus=2, max_workers=2)}) as cluster:
    ... cluster.address``.

    `node_types` are entries of ``available_node_types`` of a `ray up` file;
    `autoscaling_config_path` is that file as the head got it.
    """

    def __init__(
        self,
        node_types: Mapping[str, Mapping[str, Any]],
        *,
        head_resources: Mapping[str, int] | None = None,
        idle_seconds: float = 6.0,
        max_workers: int = 8,
        provider: str = FAKE_PROVIDER,
        extra_env: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = RayFolder("pac")
        self._head_resources = {"CPU": 0, **(head_resources or {})}
        head_type = {"resources": self._head_resources, "node_config": {}, "max_workers": 0}
        self._node_types = {**node_types, HEAD_TYPE: head_type}
        self._provider = provider
        self._idle_minutes = idle_seconds / 60
        self._max_workers = max_workers
        self._extra_env = dict(extra_env or {})
        self.address = ""
        self.autoscaling_config_path = self._folder.dir / "autoscaling.json"

    def _config(self) -> dict[str, Any]:
        lists = """initialization_commands setup_commands head_setup_commands
            worker_setup_commands
            head_start_ray_commands worker_start_ray_commands
            cluster_synced_files rsync_exclude rsync_filter"""
        empty: dict[str, Any] = {name: [] for name in lists.split()}
        return {
            **empty,
            "cluster_name": "fake_multinode",
            "max_workers": self._max_workers,
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": self._idle_minutes,
            "head_node_type": HEAD_TYPE,
            "available_node_types": self._node_types,
            "auth": {},
            "docker": {},
            "file_mounts": {},
            "file_mounts_sync_continuously": False,
            "provider": {
                "type": "external",
                "module": self._provider,
                "gcs_address": self.address,
                "head_node_id": HEAD_NODE_ID,
                "launch_multiple": True,
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
        }

    @property
    def env(self) -> dict[str, str]:
        """Environment of a client: the token, and where Ray and `cluster.capacity` find this
        cluster.
        """
        return self._folder.env | {
            "RAY_ADDRESS": self.address,
            "PRP_AUTOSCALING_CONFIG": str(self.autoscaling_config_path),
        }

    @property
    def process_ids(self) -> list[int]:
        """What is running of this cluster now."""
        return marked_processes(self._folder.marker)

    @property
    def monitor_log(self) -> str:
        """What the autoscaler wrote so far: read it when a node does not come or go."""
        return "\n".join(
            f"== {path.name}\n{path.read_text(errors='replace')[-6000:]}"
            for path in self._folder.logs("monitor.*")
        )

    def __enter__(self) -> LocalAutoscalingCluster:
        try:
            if not self._start():
                # On a starved machine `ray start` now and then waits for ever for a part that is
                # there; a second try has always worked.
                warnings.warn(f"`ray start` is tried again:\n{self.diagnosis()}", stacklevel=1)
                end_marked_processes(self._folder.marker)
                if not self._start():
                    raise RuntimeError(
                        f"`ray start` gave no cluster at {self.address}:\n{self.diagnosis()}"
                    )
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start(self) -> bool:
        """Start the head on fresh ports; whether it came up in time."""
        host = "127.0.0.1"
        gcs_port, dashboard_port, client_port, agent_port = free_ports(4)
        self.address = f"{host}:{gcs_port}"
        self.dashboard_url = f"http://{host}:{dashboard_port}"
        self.autoscaling_config_path.write_text(json.dumps(self._config()))
        others = {name: count for name, count in self._head_resources.items() if name != "CPU"}
        command = [
            RAY,
            "start",
            "--head",
            f"--node-ip-address={host}",
            f"--port={gcs_port}",
            f"--temp-dir={self._folder.dir}",
            "--disable-usage-stats",
            f"--autoscaling-config={self.autoscaling_config_path}",
            f"--num-cpus={self._head_resources['CPU']}",
            f"--resources={json.dumps(others)}",
            f"--object-store-memory={100 << 20}",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard_port}",
            f"--dashboard-agent-listen-port={agent_port}",
            f"--ray-client-server-port={client_port}",
            "--min-worker-port=0",
            "--max-worker-port=0",
        ]
        head = {
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD_NODE_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_NODE_ID,
            "PYTHONPATH": str(REPOSITORY_ROOT),
        }
        env = self.env | PATIENCE | head | self._extra_env
        with (self._folder.dir / "start.log").open(
            "wb"
        ) as output:  # a file: the daemons would hold a pipe open
            process = subprocess.Popen(
                command, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            return process.wait(timeout=START_TIMEOUT_SECONDS) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False

    def diagnosis(self) -> str:
        """The ends of the logs of the head's parts."""
        paths = [
            self._folder.dir / "start.log",
            *self._folder.logs("gcs_server.*"),
            *self._folder.logs("raylet.*"),
        ]
        return "\n".join(
            f"== {path.name}\n{path.read_text(errors='replace')[-2000:]}" for path in paths
        )

    def stop(self) -> None:
        """End this cluster's processes (no others) and delete its folder; may be called twice."""
        self._folder.remove()


def node_type(*, cpus: int, gpus: int = 0, max_workers: int = 1, **more: Any) -> dict[str, Any]:
    """One entry of ``available_node_types``, scaled down to zero, with an object store small enough
    for a laptop.
    """
    resources = {"CPU": cpus, "GPU": gpus, "object_store_memory": 100 << 20}
    given = {name: count for name, count in resources.items() if count}
    return {
        "resources": given,
        "node_config": {},
        "min_workers": 0,
        "max_workers": max_workers,
        **more,
    }
