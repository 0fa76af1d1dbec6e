"""The contract of every object store; a new store is tested by one more line in `STORES`."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import pickle
import random
import threading
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from orchestrator.storage.open_store import open_store
from prp_core.data.object_store import ObjectStore, read_all
from prp_core.data.ranged_read import read_in_ranges, read_verified
from prp_core.errors import CorruptObject, ObjectChanged, ObjectExists, ObjectMissing

MakeStore = Callable[[pytest.FixtureRequest, Path], ObjectStore]


def _folder(request: pytest.FixtureRequest, folder: Path) -> ObjectStore:
    return open_store(folder)


def _folder_uri(request: pytest.FixtureRequest, folder: Path) -> ObjectStore:
    return open_store((folder / "with a space").as_uri())


def _bucket(request: pytest.FixtureRequest, folder: Path) -> ObjectStore:
    return open_store(f"s3://{request.getfixturevalue('s3_bucket')}")


def _prefix_of_a_bucket(request: pytest.FixtureRequest, folder: Path) -> ObjectStore:
    server, bucket = request.getfixturevalue("s3_environment"), request.getfixturevalue("s3_bucket")
    server.client().put_object(Bucket=bucket, Key="some/prefix-beside/not-ours", Body=b"x")
    return open_store(f"s3://{bucket}/some/prefix/")


STORES: dict[str, MakeStore] = {
    "folder": _folder,
    "file URI": _folder_uri,
    "bucket": _bucket,
    "prefix of a bucket": _prefix_of_a_bucket,
}


@pytest.fixture(params=STORES.values(), ids=STORES.keys())
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return request.param(request, tmp_path)


def test_an_empty_store_lists_nothing(store: ObjectStore) -> None:
    assert isinstance(store, ObjectStore)
    assert list(store.list()) == []


def test_what_was_written_is_listed_and_read(store: ObjectStore, tmp_path: Path) -> None:
    file = tmp_path.parent / f"{tmp_path.name}-source"
    file.write_bytes(b"from a file" * 1000)
    written = [
        store.write("b/two.bin", b"two"),
        store.write("a/one.bin", file),
        store.write("b.bin", b""),
        store.write("ü/ #?%41+&.bin", b"odd"),
    ]
    assert list(store.list()) == sorted(written, key=lambda info: info.key)
    assert {info.key: info.num_bytes for info in written} == {
        "b/two.bin": 3,
        "a/one.bin": 11_000,
        "b.bin": 0,
        "ü/ #?%41+&.bin": 3,
    }
    assert [info.key for info in store.list("b/")] == ["b/two.bin"]
    assert [info.key for info in store.list("b")] == ["b.bin", "b/two.bin"]
    assert read_all(store, "a/one.bin") == file.read_bytes()
    assert read_all(store, "b.bin") == b""
    assert read_all(store, "ü/ #?%41+&.bin") == b"odd"


@pytest.mark.parametrize(
    ("start", "num_bytes"),
    [(0, None), (0, 10), (7, None), (7, 3), (99, 1), (90, 100), (100, None), (150, 5), (5, 0)],
    ids=lambda value: str(value),
)
def test_ranges(store: ObjectStore, start: int, num_bytes: int | None) -> None:
    content = bytes(range(100))
    info = store.write("object", content)
    end = None if num_bytes is None else start + num_bytes
    assert (
        b"".join(store.read("object", start=start, num_bytes=num_bytes, etag=info.etag))
        == content[start:end]
    )


def test_a_large_object_arrives_in_pieces(store: ObjectStore) -> None:
    content = bytes(range(256)) * (5 << 12)
    info = store.write("large", content)
    pieces = list(store.read("large", num_bytes=info.num_bytes, etag=info.etag))
    assert len(pieces) > 1
    assert b"".join(pieces) == content


def test_an_object_read_by_several_ranges_at_a_time(store: ObjectStore) -> None:
    content = random.Random(5).randbytes(3_000_001)
    info = store.write("large", content)
    pieces = read_in_ranges(
        store, "large", info.num_bytes, etag=info.etag, range_bytes=1 << 20, num_readers=3
    )
    assert b"".join(pieces) == content
    other = store.write("large", content[::-1])
    with pytest.raises(ObjectChanged, match="large"):
        list(read_in_ranges(store, "large", info.num_bytes, etag=info.etag, range_bytes=1 << 20))
    with pytest.raises(CorruptObject, match="large ends 1000 bytes before the 3001001"):
        list(
            read_in_ranges(
                store, "large", info.num_bytes + 1000, etag=other.etag, range_bytes=1 << 20
            )
        )


def test_a_range_with_a_digest(store: ObjectStore) -> None:
    content = random.Random(6).randbytes(200_000)
    info = store.write("object", content)
    digest = hashlib.sha256(content[1000:51_000]).hexdigest()
    assert (
        read_verified(store, "object", start=1000, num_bytes=50_000, sha256=digest, etag=info.etag)
        == content[1000:51_000]
    )
    with pytest.raises(
        CorruptObject,
        match="object, bytes 1001 to 51000: 50000 bytes of sha256 [0-9a-f]{64} arrived in "
        "the last of 3 reads",
    ):
        read_verified(store, "object", start=1001, num_bytes=50_000, sha256=digest)


def test_a_missing_object(store: ObjectStore) -> None:
    with pytest.raises(ObjectMissing, match="nowhere"):
        read_all(store, "a/nowhere")
    store.delete("a/nowhere")
    store.write("a/here", b"x")
    store.delete("a/here")
    assert list(store.list()) == []


def test_an_object_that_changed(store: ObjectStore) -> None:
    old = store.write("object", b"old content")
    new = store.write("object", b"new")
    assert read_all(store, "object", etag=new.etag) == b"new"
    with pytest.raises(ObjectChanged, match="object"):
        read_all(store, "object", etag=old.etag)


def test_one_of_many_writers_wins(store: ObjectStore) -> None:
    outcomes: dict[int, str] = {}

    def write(number: int) -> None:
        try:
            store.write("place", f"writer {number}".encode(), if_absent=True)
            outcomes[number] = "won"
        except ObjectExists:
            outcomes[number] = "lost"

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for number, outcome in outcomes.items() if outcome == "won"]
    assert len(outcomes) == 8
    assert len(winners) == 1
    assert read_all(store, "place") == f"writer {winners[0]}".encode()


def test_listing_after_a_key(store: ObjectStore) -> None:
    keys = ["a", "a/b", "a/c/d", "a0", "b/1", "b/2", "c"]
    for key in keys:
        if key != "a":  # in a folder, a key is not a folder too
            store.write(key, b"x")
    for after in ("", "a", "a/b", "a/c", "a/c/d", "a/c/e", "a/zzz", "b/", "b/1", "c", "d"):
        expected = [key for key in keys[1:] if key > after]
        assert [info.key for info in store.list(after=after)] == expected, after
        assert [info.key for info in store.list("b/", after=after)] == [
            key for key in expected if key.startswith("b/")
        ], after


def test_an_object_is_replaced_while_it_is_the_one_that_was_read(store: ObjectStore) -> None:
    first = store.write("object", b"same size 1", if_absent=True)
    second = store.write("object", b"same size 2", if_match=first.etag)
    assert list(store.list()) == [second]
    for stale in (first.etag, "0", f'"{second.etag}"'):
        with pytest.raises(ObjectChanged, match="object is"):
            store.write("object", b"same size 3", if_match=stale)
    assert read_all(store, "object", etag=second.etag) == b"same size 2"
    store.delete("object")
    with pytest.raises(ObjectChanged, match="object is"):
        store.write("object", b"same size 4", if_match=second.etag)
    assert list(store.list()) == []


def test_every_write_of_other_content_has_another_etag(store: ObjectStore) -> None:
    etags = [store.write("object", b"%06d" % number).etag for number in range(30)]
    store.delete("object")
    etags += [store.write("object", b"%06d" % (30 + number)).etag for number in range(5)]
    assert len(set(etags)) == 35


NUM_RACERS = 8
NUM_ROUNDS = 5


def race(store: ObjectStore, number: int, start: Barrier, wins: Queue[tuple[str, int]]) -> None:
    """Run in a process of its own: each round's objects are there for one of the racers."""
    for round_number in range(NUM_ROUNDS):
        place, mine = f"place-{round_number}", f"racer {number:02d}".encode()
        seen = next(info for info in store.list("shared") if info.key == "shared")
        start.wait(120)
        with contextlib.suppress(ObjectExists):
            store.write(place, mine, if_absent=True)
            wins.put((place, number))
        start.wait(120)
        with contextlib.suppress(ObjectChanged):
            store.write("shared", mine + str(round_number).encode(), if_match=seen.etag)
            wins.put((f"shared-{round_number}", number))
        start.wait(120)


def test_one_of_many_processes_wins(store: ObjectStore) -> None:
    store.write("shared", b"nobody's")
    processes = multiprocessing.get_context("fork")
    start, wins = processes.Barrier(NUM_RACERS), processes.Queue()
    racers = [
        processes.Process(target=race, args=(store, number, start, wins))
        for number in range(NUM_RACERS)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(240)
    assert [racer.exitcode for racer in racers] == [0] * NUM_RACERS
    winners = dict(wins.get(timeout=60) for _ in range(2 * NUM_ROUNDS))
    assert len(winners) == 2 * NUM_ROUNDS and wins.empty(), winners
    for round_number in range(NUM_ROUNDS):
        place = f"place-{round_number}"
        assert read_all(store, place) == f"racer {winners[place]:02d}".encode()
    last = NUM_ROUNDS - 1
    assert read_all(store, "shared") == f"racer {winners[f'shared-{last}']:02d}{last}".encode()


def test_a_store_crosses_to_another_process(store: ObjectStore) -> None:
    store.write("object", b"content")
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301  (our own bytes)
    assert copy.uri == store.uri
    assert read_all(copy, "object") == b"content"
    assert read_all(open_store(store.uri), "object") == b"content"
