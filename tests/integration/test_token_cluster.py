"""A cluster with token authentication runs the jobs of those who hold the token, and no others."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.token_cluster import TokenCluster

LOOPBACK = {
    "0100007F",
    "00000000000000000000000001000000",
    "0000000000000000FFFF00000100007F",
}  # as /proc/net/tcp writes it


@pytest.fixture(scope="module")
def token_cluster() -> Iterator[TokenCluster]:
    with TokenCluster(num_cpus=2) as running:
        yield running
    assert running.process_ids == [], "the cluster left processes behind"


def post_job(cluster: TokenCluster, entrypoint: str, headers: dict[str, str]) -> int:
    """Status of a job submission made by hand, as an attacker would make it."""
    body = json.dumps({"entrypoint": entrypoint}).encode()
    request = urllib.request.Request(
        f"{cluster.dashboard_url}/api/jobs/",
        data=body,
        headers={"Content-Type": "application/json", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_job_with_the_token_runs_from_a_working_directory(
    token_cluster: TokenCluster, tmp_path: Path
) -> None:
    (tmp_path / "job.py").write_text(
        "import os, ray\n"
        "ray.init(logging_level='ERROR', log_to_driver=False)\n"
        "double = ray.remote(lambda value: 2 * value)\n"
        "print('answer', ray.get(double.remote(21)), os.environ['GREETING'])\n"
    )
    job_id = token_cluster.submit("python job.py", working_dir=tmp_path, env={"GREETING": "hello"})
    status = token_cluster.wait(job_id, timeout_seconds=200)
    assert (status, "answer 42 hello" in token_cluster.logs(job_id)) == ("SUCCEEDED", True), (
        token_cluster.logs(job_id)
    )


def test_an_anonymous_job_is_refused(token_cluster: TokenCluster, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    before = len(token_cluster.request("/api/jobs/"))
    command = token_cluster.submit_command(["touch", str(marker)])
    done = subprocess.run(
        command,
        env=token_cluster.anonymous_env,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode != 0
    assert "authentication" in (done.stdout + done.stderr).lower(), done.stdout + done.stderr
    assert post_job(token_cluster, f"touch {marker}", {}) == 401
    assert (
        post_job(token_cluster, f"touch {marker}", {"Authorization": "Bearer " + "0" * 64}) == 403
    )
    assert len(token_cluster.request("/api/jobs/")) == before
    assert not marker.exists()


def test_an_anonymous_driver_is_refused(token_cluster: TokenCluster) -> None:
    """Ray's GCS listens on every interface whatever the node's address is, so the token is all that
    stands before it.
    """
    script = (
        "from ray._raylet import GcsClient; "
        f"GcsClient(address={token_cluster.address!r}).get_all_node_info(); print('answered')"
    )
    command = [sys.executable, "-c", script]
    for env, expected in (
        (token_cluster.anonymous_env, (1, False)),
        (token_cluster.env, (0, True)),
    ):
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, "answered" in done.stdout) == expected, done.stderr
        assert ("InvalidAuthToken" in done.stderr) == (expected[0] == 1), done.stderr


def test_the_dashboard_listens_on_loopback_only(token_cluster: TokenCluster) -> None:
    inodes = {
        link.readlink().name
        for process_id in token_cluster.process_ids
        for link in open_files(process_id)
    }
    port = f"{int(token_cluster.dashboard_url.rpartition(':')[2]):04X}"
    hosts = {
        address.rpartition(":")[0]
        for address, inode in listening_sockets()
        if f"socket:[{inode}]" in inodes and address.endswith(f":{port}")
    }
    assert hosts
    assert hosts <= LOOPBACK


def open_files(process_id: int) -> list[Path]:
    try:
        return [link for link in Path(f"/proc/{process_id}/fd").iterdir() if link.is_symlink()]
    except OSError:
        return []


def listening_sockets() -> list[tuple[str, str]]:
    """(address as hexadecimal "host:port", inode) of every TCP socket that listens on this
    machine.
    """
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return [(row[1], row[9]) for row in rows if row[3] == "0A"]
