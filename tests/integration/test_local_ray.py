"""The doors of the local Ray: where it listens, who can read its files, what its workers import."""

from __future__ import annotations

import os
import secrets
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray

from orchestrator.ray_cluster import absent_agent
from orchestrator.ray_cluster.connect import ray_cluster
from orchestrator.ray_cluster.local_ray import close_token_file, private_folder
from tests.tools.marked_processes import MARKER_VARIABLE, marked_processes

LISTEN = "0A"
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


@dataclass
class Found:
    """What a local Ray looked like while its tasks ran."""

    listeners: list[tuple[str, str]] = field(default_factory=list)
    """(program, local address as the kernel writes it) of every listening TCP socket."""
    session: Path = Path()
    token: Path = Path()
    from_tasks: list[dict[str, Any]] = field(default_factory=list)
    num_processes: int = 0
    commands: list[str] = field(default_factory=list)
    """The command lines of its processes; Ray's programs give themselves titles."""


@ray.remote
def look() -> dict[str, Any]:
    """A worker's import path, and the file that ``numpy`` comes from."""
    import numpy

    return {"path": sys.path, "numpy": numpy.__file__, "token": os.environ["RAY_AUTH_TOKEN_PATH"]}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    folder = tmp_path_factory.mktemp("videos")
    for name in ("numpy", "json", "orchestrator"):
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()\n")
    marker = secrets.token_hex(8)
    seen = Found()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv(MARKER_VARIABLE, marker)
        patch.chdir(folder)
        with ray_cluster(num_cpus=2):
            seen.from_tasks = ray.get([look.remote(), look.remote()])
            seen.session = Path(ray._private.worker._global_node.get_session_dir_path())
            seen.token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
            seen.listeners, seen.num_processes = listeners_once_all_are_up(marker)
            seen.commands = [command_of(pid) for pid in marked_processes(marker)]
        assert "RAY_AUTH_TOKEN_PATH" not in os.environ
        assert not (Path.home() / ".ray" / "auth_token").exists()
    assert not (folder / "ran").exists()
    yield seen


def listeners_once_all_are_up(marker: str) -> tuple[list[tuple[str, str]], int]:
    """(the listeners of the processes of `marker` and of this one, how many processes), once two
    looks three seconds apart are alike: Ray's agents open their ports after the first task.
    """
    seen: list[tuple[str, str]] | None = None
    while True:
        processes = [*marked_processes(marker), os.getpid()]
        found = sorted(entry for pid in processes for entry in listeners_of(pid))
        if found == seen:
            return found, len(processes)
        seen = found
        time.sleep(3)


def command_of(pid: int) -> str:
    """The command line of process `pid`."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def listeners_of(pid: int) -> list[tuple[str, str]]:
    """(program, local address) of each TCP socket on which process `pid` listens."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:  # closed while we looked
            continue
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    program = Path(f"/proc/{pid}/comm").read_text().strip()
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTEN and words[9] in sockets:
                found.append((program, words[1].partition(":")[0]))
    return found


def test_it_listens_on_loopback_and_nowhere_else(found: Found) -> None:
    assert found.num_processes >= 5
    programs = {program for program, _ in found.listeners}
    assert {"gcs_server", "raylet"} <= programs and len(found.listeners) > 4, found.listeners
    assert [entry for entry in found.listeners if entry[1] not in LOOPBACK] == []


def test_no_process_serves_a_dashboard_that_is_not_there(found: Found) -> None:
    assert [one for one in found.commands if "DashboardAgent" in one] == []
    (agent,) = (one for one in found.commands if "dashboard" in one and "raylet_socket" not in one)
    assert absent_agent.__file__ in agent


def test_no_other_user_can_open_its_files(found: Found) -> None:
    folder = private_folder()
    assert found.session.is_relative_to(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and folder.stat().st_uid == os.getuid()
    assert stat.S_IMODE(found.token.stat().st_mode) == 0o600
    assert len(found.token.read_text()) == 64
    # Ray makes the folders in there writable for all; nobody reaches them.
    assert stat.S_IMODE(found.session.stat().st_mode) == 0o777


def test_workers_do_not_import_from_the_working_directory(found: Found) -> None:
    for task in found.from_tasks:
        assert task["numpy"] == sys.modules["numpy"].__file__
        assert task["token"] == str(found.token)
        assert [entry for entry in task["path"] if "videos" in entry] == []


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for those of Ray's sockets below it."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as name:
        yield Path(name)


def test_a_folder_of_somebody_else_is_not_used(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(short_folder))
    name = f"prp-ray-{os.getuid()}"
    assert private_folder() == short_folder / name
    (short_folder / name).chmod(0o777)
    assert stat.S_IMODE(private_folder().stat().st_mode) == 0o700
    (short_folder / name).rmdir()
    (short_folder / "theirs").mkdir()
    (short_folder / name).symlink_to(short_folder / "theirs")
    other = private_folder()
    assert other.parent == short_folder and other.name.startswith(f"{name}-")
    assert stat.S_IMODE(other.stat().st_mode) == 0o700


def test_a_token_that_others_can_read_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    close_token_file()
    assert caplog.text == ""
    (tmp_path / ".ray").mkdir()
    token = tmp_path / ".ray" / "auth_token"
    token.write_text("x")
    token.chmod(0o644)
    close_token_file()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert "could be read by other users (mode 0644) and is 0600 now" in caplog.text
