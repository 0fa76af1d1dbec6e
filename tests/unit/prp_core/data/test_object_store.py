"""The folder as an object store, beyond the contract: nothing outside the folder is reached."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import time
from pathlib import Path

import pytest

from prp_core.data.folder_lock import locked_folder
from prp_core.data.object_store import LOCK_NAME, UNFINISHED_PREFIX, LocalStore, read_all
from prp_core.errors import ObjectChanged, ObjectMissing, StoreUnavailable, UserError


@pytest.mark.parametrize(
    "key", ["../secret", "a/../../secret", "/etc/hostname", "a//b", "./a", "", "a/", "a\0b", ".."]
)
def test_keys_never_leave_the_folder(tmp_path: Path, key: str) -> None:
    (tmp_path / "secret").write_text("not yours")
    store = LocalStore(tmp_path / "store")
    for reach in (
        lambda: list(store.read(key)),
        lambda: store.write(key, b"x"),
        lambda: store.delete(key),
        lambda: store.local_path(key),
    ):
        with pytest.raises(UserError, match="is not a valid key of file:///"):
            reach()
    assert (tmp_path / "secret").read_text() == "not yours"


def test_links_out_of_the_folder_are_listed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not yours")
    root = tmp_path / "store"
    (root / "real").mkdir(parents=True)
    (root / "real" / "video").write_bytes(b"ours")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "broken").symlink_to(tmp_path / "nowhere")
    (root / "loop").symlink_to(root)
    (root / "inside").symlink_to(root / "real" / "video")
    store = LocalStore(root)
    assert [info.key for info in store.list()] == ["broken", "inside", "loop", "out", "real/video"]
    assert read_all(store, "inside") == b"ours"
    for key in ("out", "broken", "loop"):
        with pytest.raises(ObjectMissing, match=key):
            read_all(store, key)
    with pytest.raises(ObjectMissing, match="leaves the folder"):
        read_all(store, "loop/../out".replace("loop/../", ""))


def test_a_change_amid_a_read_is_noticed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    info = store.write("video", b"x" * (3 << 20))
    pieces = store.read("video", etag=info.etag)
    next(pieces)
    with (tmp_path / "video").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ObjectChanged, match="no longer"):
        list(pieces)


def test_files_still_being_written_are_not_listed(tmp_path: Path) -> None:
    (tmp_path / f"{UNFINISHED_PREFIX}1234").write_bytes(b"half")
    store = LocalStore(tmp_path)
    store.write("whole", b"whole")
    assert [info.key for info in store.list()] == ["whole"]
    assert [
        path.name for path in tmp_path.iterdir() if path.name.startswith(UNFINISHED_PREFIX)
    ] == [f"{UNFINISHED_PREFIX}1234"]


def test_a_missing_folder_is_an_empty_store_and_a_file_is_none(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "later")
    assert list(store.list()) == [] and not (tmp_path / "later").exists()
    store.write("a/b", b"1")
    assert pickle.loads(pickle.dumps(store)).uri == store.uri  # noqa: S301 - our own bytes
    with pytest.raises(UserError, match="not a folder"):
        LocalStore(tmp_path / "later" / "a" / "b")


def test_order_is_that_of_whole_keys(tmp_path: Path) -> None:
    keys = ["a!b", "a/b", "a0", "a/b.x/c", "a/b/c/d".replace("/b/", "/bb/"), "A"]
    store = LocalStore(tmp_path)
    for key in keys:
        store.write(key, key.encode())
    assert [info.key for info in store.list()] == sorted(keys)
    assert os.fspath(store.local_path("A")) == str(tmp_path / "A")


def test_an_etag_is_new_within_a_tick_and_beside_a_clock_that_was_set_back(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    etags = {store.write("object", b"%04d" % number).etag for number in range(300)}
    assert len(etags) == 300
    ahead = 2_000_000_000 * 10**9
    os.utime(tmp_path / "object", ns=(ahead, ahead))
    (info,) = store.list()
    later = store.write("object", b"last", if_match=info.etag)
    assert later.etag != info.etag
    assert (tmp_path / "object").stat().st_mtime_ns > ahead


def test_a_private_store_is_for_its_user_alone(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "sweeps" / "one", is_private=True)
    store.write("journal/000/entry", b"x", if_absent=True)
    store.write("spec", b"x")
    modes = {
        path.relative_to(tmp_path).as_posix(): oct(path.stat().st_mode & 0o777)
        for path in tmp_path.rglob("*")
    }
    folders = ("sweeps", "sweeps/one", "sweeps/one/journal", "sweeps/one/journal/000")
    assert modes == dict.fromkeys(folders, "0o700") | {
        "sweeps/one/spec": "0o600",
        "sweeps/one/journal/000/entry": "0o600",
    }


def test_a_folder_that_stays_locked_is_said(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with locked_folder(tmp_path, ".lock"):
        store.write("object", b"needs no lock", if_absent=True)
        with (
            pytest.raises(StoreUnavailable, match="was locked by another process for 0 s; one"),
            locked_folder(tmp_path, ".lock", lock_seconds=0.0),
        ):
            pass


def test_a_child_forked_in_the_midst_of_a_change_keeps_no_lock(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with locked_folder(tmp_path, ".lock"):
        child = os.fork()
        if child == 0:
            (tmp_path / "pipe").read_bytes()  # lives, with its copy of the lock's descriptor
            os._exit(0)
    store.write("object", b"content")
    (tmp_path / "pipe").write_bytes(b"")
    assert os.waitpid(child, 0)[1] == 0


def test_where_folders_cannot_be_locked_a_file_in_them_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, which wants a descriptor that is open for writing."""

    def flock(file_descriptor: int, operation: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{file_descriptor}"):  # noqa: PTH112 - a descriptor
            raise OSError(errno.EBADF, "Bad file descriptor")
        real_flock(file_descriptor, operation)

    real_flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    store = LocalStore(tmp_path)
    first = store.write("object", b"first")
    second = store.write("object", b"second", if_match=first.etag)
    with pytest.raises(ObjectChanged):
        store.write("object", b"third", if_match=first.etag)
    assert list(store.list()) == [second], "the lock's file is no object"
    with (
        locked_folder(tmp_path, LOCK_NAME),
        pytest.raises(StoreUnavailable),
        locked_folder(tmp_path, LOCK_NAME, lock_seconds=0.0),
    ):
        pass


def test_nothing_is_changed_through_a_link_that_leaves_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    root = tmp_path / "store"
    (root / "inner").mkdir(parents=True)
    (root / "link").symlink_to(outside)
    (root / "within").symlink_to(root / "inner")
    (root / "file").symlink_to(outside / "precious")
    store = LocalStore(root)
    for key in ("link/new", "link/precious", "link/deep/new"):
        with pytest.raises(UserError, match="leads out of the folder, to .*outside"):
            store.write(key, b"theirs")
        with pytest.raises(UserError, match="links must stay inside it"):
            store.delete(key)
    assert list(store.list("link/")) == []
    store.write("file", b"replaces the link, not what it names")
    store.write("within/new", b"stays inside")
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"precious": "mine"}
    assert (root / "inner" / "new").read_bytes() == b"stays inside"


def test_what_a_dead_writer_left_goes_after_a_day(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write("a/kept", b"x")
    old = tmp_path / "a" / f"{UNFINISHED_PREFIX}0123456789abcdef"
    young = tmp_path / "a" / f"{UNFINISHED_PREFIX}fedcba9876543210"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    long_ago = time.time() - 2 * 86_400
    os.utime(old, (long_ago, long_ago))
    assert [info.key for info in store.list()] == ["a/kept"]
    assert young.exists() and not old.exists()
