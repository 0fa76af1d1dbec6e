"""The node's cache of objects: one download per object, bounded, and never a wrong byte."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import random
import resource
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from prp_core.data.cache.node_cache import NUM_DOWNLOADS, NodeCache
from prp_core.data.object_store import LocalStore, ObjectRef
from prp_core.errors import (
    CorruptObject,
    DiskFull,
    ObjectChanged,
    ObjectMissing,
    StoreUnavailable,
    UserError,
)
from tests.far_store import JournalStore

NUM_OBJECTS, OBJECT_BYTES = 24, 20_000


def _content(number: int) -> bytes:
    return random.Random(number).randbytes(OBJECT_BYTES)


def _fill(folder: Path) -> tuple[JournalStore, list[ObjectRef]]:
    store = JournalStore(folder / "far", folder / "journal")
    infos = [store.write(f"{number:02}", _content(number)) for number in range(NUM_OBJECTS)]
    return store, [
        ObjectRef(
            info.key, info.num_bytes, info.etag, hashlib.sha256(_content(int(info.key))).hexdigest()
        )
        for info in infos
    ]


def _fetches(folder: Path) -> list[str]:
    journal = folder / "journal"
    return journal.read_text().split() if journal.exists() else []


def _bytes_on_disk(root: Path) -> int:
    """By inode, because a file may be renamed from one folder to the other while we look."""
    found: dict[int, int] = {}
    for path in [*(root / "unfinished").glob("*"), *(root / "objects").glob("*/*")]:
        with contextlib.suppress(FileNotFoundError):
            found[path.stat().st_ino] = path.stat().st_size
    return sum(found.values())


def _walk(
    root: Path,
    capacity: int,
    folder: Path,
    refs: list[ObjectRef],
    seed: int,
    results: multiprocessing.Queue[tuple[int, int]],
) -> None:
    """One process of a node: reads every object in an order of its own.

    Puts (wrong contents, most bytes seen on disk).
    """
    cache = NodeCache(root, capacity, JournalStore(folder / "far", folder / "journal"))
    wrong = most = 0
    for ref in random.Random(seed).sample(refs, len(refs)):
        with cache.open(ref) as path:
            wrong += path.read_bytes() != _content(int(ref.key))
            most = max(most, _bytes_on_disk(root))
    results.put((wrong, most))


def _run_walkers(
    folder: Path, capacity: int, refs: list[ObjectRef], num_processes: int
) -> list[tuple[int, int]]:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[tuple[int, int]] = context.Queue()
    walkers = [
        context.Process(
            target=_walk, args=(folder / "cache", capacity, folder, refs, seed, results)
        )
        for seed in range(num_processes)
    ]
    for walker in walkers:
        walker.start()
    found = [results.get(timeout=60) for _ in walkers]
    for walker in walkers:
        walker.join()
    return found


def test_processes_share_one_download_per_object(tmp_path: Path) -> None:
    _, refs = _fill(tmp_path)
    found = _run_walkers(tmp_path, 1 << 30, refs, num_processes=6)
    assert [wrong for wrong, _ in found] == [0] * 6
    assert sorted(_fetches(tmp_path)) == sorted(ref.key for ref in refs)


def test_the_bound_holds_and_every_byte_is_right(tmp_path: Path) -> None:
    _, refs = _fill(tmp_path)
    capacity = 10 * OBJECT_BYTES
    found = _run_walkers(tmp_path, capacity, refs, num_processes=4)
    assert [wrong for wrong, _ in found] == [0] * 4
    assert max(most for _, most in found) <= capacity
    assert _bytes_on_disk(tmp_path / "cache") <= capacity
    assert len(_fetches(tmp_path)) < 4 * NUM_OBJECTS


def test_kill_9_amid_a_download_leaves_nothing_to_repair(tmp_path: Path) -> None:
    store, refs = _fill(tmp_path)
    context = multiprocessing.get_context("fork")
    started = context.Event()

    def stall() -> None:
        class Stalling(JournalStore):
            def read(self, key: str, **_: object) -> Iterator[bytes]:  # type: ignore[override]
                yield _content(0)[:100]
                started.set()
                signal.pause()

        with NodeCache(
            tmp_path / "cache", 1 << 30, Stalling(tmp_path / "far", tmp_path / "journal")
        ).open(refs[0]):
            raise AssertionError("a half object became visible")

    victim = context.Process(target=stall)
    victim.start()
    assert started.wait(30) and victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    for path in (tmp_path / "cache" / "unfinished").iterdir():
        os.utime(path, (0, 0))  # as if it lay there for a while
    cache = NodeCache(tmp_path / "cache", 1 << 30, store)
    with cache.open(refs[0]) as path:
        assert path.read_bytes() == _content(0)
    (tmp_path / "cache" / "usage").write_text("")  # the other place where a kill can strike
    small = NodeCache(tmp_path / "cache", 2 * OBJECT_BYTES, store)
    for ref in refs[1:4]:
        with small.open(ref) as path:
            assert path.read_bytes() == _content(int(ref.key))
    assert not list((tmp_path / "cache" / "unfinished").iterdir())
    assert _bytes_on_disk(tmp_path / "cache") <= 2 * OBJECT_BYTES


def test_a_wrong_byte_is_fetched_again_and_a_wrong_object_refused(tmp_path: Path) -> None:
    store, refs = _fill(tmp_path)
    cache = NodeCache(
        tmp_path / "cache", 1 << 30, JournalStore(tmp_path / "far", tmp_path / "journal", spoil=1)
    )
    with cache.open(refs[0]) as path:
        assert path.read_bytes() == _content(0)
    assert cache.counters["corrupt"] == 1 and cache.counters["downloads"] == 2
    hopeless = NodeCache(
        tmp_path / "cache", 1 << 30, JournalStore(tmp_path / "far", tmp_path / "journal", spoil=99)
    )
    with (
        pytest.raises(
            CorruptObject, match=f"/01: .* of {NUM_DOWNLOADS} downloads, not {OBJECT_BYTES} bytes"
        ),
        hopeless.open(refs[1]),
    ):
        raise AssertionError("a corrupt file became visible")
    assert len(list((tmp_path / "cache" / "objects").glob("*/*"))) == 1
    with NodeCache(tmp_path / "cache", 1 << 30, store).open(refs[1]) as path:
        assert path.read_bytes() == _content(1)


def test_without_a_sha256_two_downloads_must_agree(tmp_path: Path) -> None:
    store, refs = _fill(tmp_path)
    unknown = ObjectRef(refs[0].key, refs[0].num_bytes, refs[0].etag)
    cache = NodeCache(
        tmp_path / "cache", 1 << 30, JournalStore(tmp_path / "far", tmp_path / "journal", spoil=1)
    )
    with cache.open(unknown) as path:
        assert path.read_bytes() == _content(0)
    assert cache.counters["downloads"] == 3
    with pytest.raises(ObjectChanged):
        cache.open(ObjectRef("01", OBJECT_BYTES, "another")).__enter__()
    with pytest.raises(ObjectMissing):
        cache.open(ObjectRef("nowhere", OBJECT_BYTES, "e")).__enter__()
    assert store.uri.startswith("far://") and not list(
        (tmp_path / "cache" / "unfinished").iterdir()
    )


def test_a_torn_file_is_replaced(tmp_path: Path) -> None:
    store, refs = _fill(tmp_path)
    cache = NodeCache(tmp_path / "cache", 1 << 30, store)
    with cache.open(refs[0]) as path:
        place = path
    place.write_bytes(b"torn")
    with cache.open(refs[0]) as path:
        assert path.read_bytes() == _content(0)


def test_what_is_open_is_never_evicted_and_what_does_not_fit_is_dropped(tmp_path: Path) -> None:
    store, refs = _fill(tmp_path)
    cache = NodeCache(tmp_path / "cache", 2 * OBJECT_BYTES, store)
    with cache.open(refs[0]) as first, cache.open(refs[1]) as second:
        with cache.open(refs[2]) as third:
            assert third.read_bytes() == _content(2)
        assert first.read_bytes() == _content(0) and second.read_bytes() == _content(1)
        assert not third.exists() and cache.counters["bypassed"] == 1
    with cache.open(refs[3]) as fourth:
        assert fourth.read_bytes() == _content(3)
    assert cache.counters["evicted"] >= 1


def test_half_of_a_scan_stays(tmp_path: Path) -> None:
    store, refs = _fill(tmp_path)
    cache = NodeCache(tmp_path / "cache", NUM_OBJECTS // 2 * OBJECT_BYTES, store, sticky_share=0.5)
    for _ in range(4):
        for ref in refs:
            with cache.open(ref):
                pass
    hits = cache.counters["hits"]
    assert hits >= 3 * (NUM_OBJECTS // 4 - 1), "least-recently-used would have had none"


def test_a_folders_files_are_used_in_place_and_checked(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "near")
    info = store.write("video", b"content")
    cache = NodeCache(tmp_path / "cache", 1 << 20, store)
    with cache.open(ObjectRef("video", 7, info.etag)) as path:
        assert path == tmp_path / "near" / "video"
    store.write("video", b"CONTENT!")
    with pytest.raises(ObjectChanged), cache.open(ObjectRef("video", 7, info.etag)):
        pass
    with pytest.raises(UserError, match="cache capacity_bytes = 0"):
        NodeCache(tmp_path, 0, store)


def test_a_store_that_is_away_is_nobodys_corruption(tmp_path: Path) -> None:
    class Away(JournalStore):
        def read(self, key: str, **_: object) -> Iterator[bytes]:  # type: ignore[override]
            raise StoreUnavailable(f"far/{key}: throttled until the deadline")

    _, refs = _fill(tmp_path)
    cache = NodeCache(tmp_path / "cache", 1 << 30, Away(tmp_path / "far", tmp_path / "journal"))
    with pytest.raises(StoreUnavailable), cache.open(refs[0]):
        pass
    assert cache.counters["corrupt"] == 0 and _bytes_on_disk(tmp_path / "cache") == 0


@pytest.mark.parametrize("absent", [(), ("posix_fallocate",)], ids=["linux", "as on a Mac"])
def test_a_full_disk_is_a_clear_error_and_nothing_torn(
    absent: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in absent:
        monkeypatch.delattr(os, name)
    store, refs = _fill(tmp_path)

    def fetch_on_small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (OBJECT_BYTES // 2, OBJECT_BYTES // 2))
        with pytest.raises(
            DiskFull,
            match="there is no room on the disk for 20000 bytes; lower the cache's capacity",
        ):
            NodeCache(tmp_path / "cache", 1 << 30, store).open(refs[0]).__enter__()
        os._exit(0 if _bytes_on_disk(tmp_path / "cache") == 0 else 1)

    process = multiprocessing.get_context("fork").Process(target=fetch_on_small_disk)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    with NodeCache(tmp_path / "cache", 1 << 30, store).open(refs[0]) as path:
        assert path.read_bytes() == _content(0)
