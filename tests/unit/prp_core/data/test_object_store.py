"""The folder as an object store, beyond the contract: nothing outside the folder is reached."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from prp_core.data.object_store import UNFINISHED_PREFIX, LocalStore, read_all
from prp_core.errors import ObjectChanged, ObjectMissing, UserError


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
        with pytest.raises(UserError, match="is no key of file:///"):
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
