"""A real S3 server (Ceph's gateway), one per test process, and a new bucket per test."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.tools.fault_proxy import FaultProxy

SCRIPT = Path(__file__).parent / "tools" / "rgw.sh"
NUM_PORTS = 41
START_SECONDS = 240.0  # the first start on a machine downloads the packages

AWS_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_EC2_METADATA_DISABLED",
)


@dataclass(frozen=True)
class S3Server:
    """Where the server answers and who may ask. `environment` is what a process needs to use it
    through boto3's own rules.
    """

    endpoint_url: str
    access_key: str = "AKTEST"
    secret_key: str = "SKTESTSECRET"
    folder: Path | None = None
    _bucket_numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False)
    _clients: dict[int, Any] = field(default_factory=dict, repr=False)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """A plain boto3 client, to prepare and to inspect what a test is about: one for each
        process, because making one takes a quarter of a CPU-second.
        """
        process = os.getpid()  # a fork has connections of its own
        if process not in self._clients:
            self._clients[process] = boto3.session.Session().client(
                "s3",
                endpoint_url=self.endpoint_url,
                aws_access_key_id=self.access_key,
                aws_secret_access_key=self.secret_key,
                region_name="us-east-1",
                config=Config(
                    s3={"addressing_style": "path"},
                    request_checksum_calculation="when_required",
                    max_pool_connections=50,
                ),
            )
        return self._clients[process]

    def make_bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"bucket-{next(self._bucket_numbers)}"
        self.client().create_bucket(
            Bucket=name
        )  # half a second: where a test can, it takes a prefix of its own instead
        return name

    def process_id(self) -> int:
        """The gateway's."""
        assert self.folder is not None
        return int((self.folder / "store" / "rgw.pid").read_text())

    def kill_and_restart(self, seconds_away: float) -> None:
        """kill -9 of the gateway; after `seconds_away` it answers again, with the same objects."""
        assert self.folder is not None
        store = self.folder / "store"
        os.kill(self.process_id(), signal.SIGKILL)
        time.sleep(seconds_away)
        port = self.endpoint_url.rpartition(":")[2]
        environment = os.environ | {"RGW_DATA": str(store), "RGW_PORT": port}
        subprocess.run(
            [str(SCRIPT), "up"], env=environment, check=True, capture_output=True, timeout=120
        )

    def upload_folder(self, folder: Path, bucket: str, prefix: str = "") -> None:
        """Put every file under `folder` into `bucket`."""
        client = self.client()
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            client.put_object(
                Bucket=bucket,
                Key=prefix + path.relative_to(folder).as_posix(),
                Body=path.read_bytes(),
            )


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The server; it stops and its data go when this process ends, however it ends. That it cannot
    start is a failure, never a skip.
    """
    with running_server() as server:
        yield server


@contextlib.contextmanager
def running_server(extra: str = "") -> Iterator[S3Server]:
    """A server of one's own, with `extra` lines in its configuration."""
    data = Path(
        tempfile.mkdtemp(prefix="prp-s3-")
    )  # not under pytest's own folder: paths of Unix sockets must be short
    try:
        process, endpoint_url = _start(data, extra)
        try:
            yield S3Server(endpoint_url, folder=data)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)
    finally:
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
def s3_environment(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, with this process's AWS environment pointing at it and at nothing else."""
    for name in AWS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def proxy(s3_environment: S3Server) -> Iterator[FaultProxy]:
    """A proxy before the server; it does nothing to requests until it is told to."""
    with FaultProxy(s3_environment.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def s3_bucket(s3_environment: S3Server) -> str:
    """The name of a fresh bucket on the server that the environment points at."""
    return s3_environment.make_bucket()


def _start(data: Path, extra: str = "") -> tuple[subprocess.Popen[str], str]:
    said = ""
    for _ in range(3):  # another process may take one of the ports between the look and the start
        environment = os.environ | {
            "RGW_DATA": str(data / "store"),
            "RGW_PORT": str(_free_ports()),
            "RGW_EXTRA": extra,
        }
        process = subprocess.Popen(
            [str(SCRIPT), "serve"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(data / "errors").open("w"),
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        overdue = threading.Timer(START_SECONDS, process.terminate)
        overdue.start()
        endpoint_url = process.stdout.readline().strip()
        overdue.cancel()
        if endpoint_url:
            return process, endpoint_url
        process.wait(30)
        said = (data / "errors").read_text()[-2000:]
    raise RuntimeError(f"The S3 server of these tests did not start ({SCRIPT}); it said:\n{said}")


def _free_ports() -> int:
    """The first of `NUM_PORTS` free ports in a row, below the range from which the system hands out
    its own.
    """
    for _ in range(100):
        first = random.randrange(12_000, 32_000)
        if all(_is_free(port) for port in range(first, first + NUM_PORTS)):
            return first
    raise RuntimeError(f"No {NUM_PORTS} free ports in a row on loopback")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
