"""A disk that runs full while a checkpoint or manifest is written: a clear error, nothing torn."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from prp_core.data.object_store import LocalStore, read_all
from prp_core.errors import UserError

WRITE = """
import resource, signal, sys
from prp_core.data.object_store import LocalStore
from prp_core.errors import StoreUnavailable
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if sys.argv[2] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
store = LocalStore(sys.argv[1])
store.write("trial/part.bin", b"old" * 1000)
for if_absent, key in ((False, "trial/part.bin"), (True, "trial/new.bin")):
    try:
        store.write(key, b"n" * 3_000_000, if_absent=if_absent)
        raise SystemExit("3 MB fitted")
    except StoreUnavailable as error:
        print(error)
assert [info.key for info in store.list()] == ["trial/part.bin"], list(store.list())
assert b"".join(store.read("trial/part.bin")) == b"old" * 1000
left = [path.name for path in (store.root / "trial").iterdir()]
assert left == ["part.bin"], left
store.write("trial/part.bin", b"small")
"""


def _run(command: list[str]) -> list[str]:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_a_limit_of_the_size_of_files(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    lines = _run([sys.executable, "-c", WRITE, str(tmp_path), "1000000"])
    assert len(lines) == 2
    assert lines[0].startswith(
        f"{tmp_path.as_uri()}/trial/part.bin was not written: the file is larger than "
        "may be written here"
    )
    assert lines[1].startswith(f"{tmp_path.as_uri()}/trial/new.bin was not written")
    assert lines[0].endswith("free space or name another place")
    assert read_all(LocalStore(tmp_path), "trial/part.bin") == b"small", (
        "when there is room again, it works again"
    )


def test_a_full_disk(tmp_path: Path) -> None:
    """On a file system of one megabyte; where it cannot be mounted, the limit above has to do."""
    mount = f'mount -t tmpfs -o size=1m tmpfs "{tmp_path}" && exec "$@"'
    if subprocess.run(
        ["unshare", "-Urm", "sh", "-c", mount, "sh", "true"], capture_output=True
    ).returncode:
        return
    lines = _run(
        [
            "unshare",
            "-Urm",
            "sh",
            "-c",
            mount,
            "sh",
            sys.executable,
            "-c",
            WRITE,
            str(tmp_path),
            "0",
        ]
    )
    assert [line.split(" was not written: ")[1][:16] for line in lines] == ["the disk is full"] * 2


def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    store, user = LocalStore(tmp_path), os.geteuid()
    tmp_path.chmod(0o500)
    if user == 0:
        os.seteuid(65534)  # root may write everywhere
    try:
        with pytest.raises(
            UserError,
            match="new may not be written .*Permission denied.*; change the folder's permissions",
        ):
            store.write("new", b"x")
        with pytest.raises(UserError, match="/proc/prp/new may not be written .*No such file"):
            LocalStore("/proc/prp").write("new", b"x")
    finally:
        os.seteuid(user)
