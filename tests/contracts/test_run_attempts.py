"""What attempts at one run promise on a folder and on S3: the newest alone commits and removes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from prp_core.data.object_store import LocalStore, ObjectInfo, ObjectStore
from prp_core.errors import ObjectMissing
from prp_core.training.checkpoint import Checkpoint, CheckpointFolder
from prp_core.training.checkpoint_keys import ONLY_ATTEMPT, RunAttempt
from prp_core.training.checkpoint_record import RECORD_NAME, Superseded, newest_step
from prp_core.world import World
from tests.contracts.stores import SWEEP_STORES

FORK = multiprocessing.get_context("fork")
ALONE = World.alone()
PREFIX = "trials/0007/checkpoints"
OLD, NEW = RunAttempt(1, 3), RunAttempt(1, 4)


@pytest.fixture(params=SWEEP_STORES.values(), ids=SWEEP_STORES.keys())
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return request.param(request, tmp_path)


def folder_of(store: ObjectStore, attempt: RunAttempt, num_kept: int = 2) -> CheckpointFolder:
    return CheckpointFolder(store, PREFIX, num_kept=num_kept, attempt=attempt)


def files_of(step: int) -> dict[str, bytes]:
    """As training is a function of the seed, every attempt writes the same at one step."""
    return {"common.pt": b"common %d" % step, "rank-0.pt": b"rank %d" % step}


def save(folder: CheckpointFolder, step: int, who: str) -> Checkpoint:
    return folder.save(step, files_of(step), facts={"who": who}, world=ALONE)


def newest(store: ObjectStore) -> tuple[int, str]:
    """The step of the newest checkpoint, which is whole, and who saved it."""
    folder = folder_of(store, ONLY_ATTEMPT)
    found = folder.latest_committed()
    assert found is not None and found.skipped == ()
    assert {part.name: folder.read(found, part.name) for part in found.parts} == files_of(
        found.step
    )
    assert newest_step(store, PREFIX) == found.step
    return found.step, found.facts["who"]


class StoppedStore:
    """A store whose user is stopped at its n-th request, before it or right after it: meanwhile
    `elsewhere` happens, and then it goes on.
    """

    def __init__(
        self, inner: ObjectStore, elsewhere: Callable[[], None], at: int, *, after: bool
    ) -> None:
        self.inner = inner
        self.elsewhere = elsewhere
        self.at = at
        self.after = after
        self.num_requests = 0

    @property
    def uri(self) -> str:
        return self.inner.uri

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        return iter(self._do(lambda: list(self.inner.list(prefix, after=after))))

    def read(self, key: str, **options: Any) -> Iterator[bytes]:
        return iter(self._do(lambda: list(self.inner.read(key, **options))))

    def write(self, key: str, data: bytes | Path, **conditions: Any) -> ObjectInfo:
        return self._do(lambda: self.inner.write(key, data, **conditions))

    def delete(self, key: str) -> None:
        self._do(lambda: self.inner.delete(key))

    def _do(self, request: Callable[[], Any]) -> Any:
        self.num_requests += 1
        is_here = self.num_requests == self.at
        if is_here and not self.after:
            self.elsewhere()
        answer = request()
        if is_here and self.after:
            self.elsewhere()
        return answer


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("num_kept", [1, 2])
def test_an_attempt_that_is_stopped_at_any_request_harms_no_later_one(
    store: ObjectStore, after: bool, num_kept: int
) -> None:
    """The old attempt is stopped while it saves step 30, the new one continues from what it finds
    and saves the same steps and two more, and the old one wakes up. On S3, where a round takes a
    second, each case stops at other requests.
    """
    refused = 0
    every = 1 if isinstance(store, LocalStore) else 7
    for at in range(1 + (num_kept + 2 * after) % every, 100, every):
        for info in list(store.list()):
            store.delete(info.key)
        first = folder_of(store, OLD, num_kept)
        first.begin(ALONE)
        save(first, 10, "old")
        save(first, 20, "old")

        def elsewhere() -> None:
            later = folder_of(store, NEW, num_kept)
            later.begin(ALONE)
            found = later.latest_committed()
            assert found is not None and found.step in (20, 30) and found.skipped == ()
            for step in range(found.step + 10, 60, 10):
                save(later, step, "new")

        stopped = StoppedStore(store, elsewhere, at, after=after)
        woken = folder_of(stopped, OLD, num_kept)
        try:
            woken.begin(ALONE)
            save(woken, 30, "old")
        except Superseded as error:
            assert "attempt 4 of epoch 1 has begun after 3 of 1" in str(error)
            refused += 1
        except ObjectMissing:  # what it wrote was removed before it read it back
            refused += 1
        if stopped.num_requests < at:
            break
        assert newest(store) == (50, "new")
        commits = [info.key for info in store.list() if info.key.endswith("commit.json")]
        kept = [key for key in commits if "/000001.000004-" in key]
        assert len(kept) == num_kept, "nothing of the new attempt was removed"
    assert at < 99 and refused >= 5 // every


def test_an_earlier_attempt_cannot_begin_after_a_later_one(store: ObjectStore) -> None:
    later = folder_of(store, NEW)
    later.begin(ALONE)
    for earlier in (OLD, RunAttempt(0, 99), ONLY_ATTEMPT):
        with pytest.raises(Superseded):
            folder_of(store, earlier).begin(ALONE)
        with pytest.raises(Superseded):
            save(folder_of(store, earlier), 10, "old")
    save(later, 10, "new")
    assert newest(store) == (10, "new")
    folder_of(store, RunAttempt(2, 5)).begin(ALONE)
    with pytest.raises(Superseded):
        save(later, 20, "new")
    assert newest(store) == (10, "new")


def train_as_old(store: ObjectStore, parent: Connection) -> None:
    """A worker of the old attempt: saves a step each time that it is told to, until it leaves."""
    folder = folder_of(store, OLD)
    folder.begin(ALONE)
    while True:
        step = parent.recv()
        try:
            save(folder, step, "old")
        except Superseded:
            parent.send("left")
            return
        parent.send("saved")


def test_a_worker_that_is_stopped_and_wakes_up_leaves(store: ObjectStore) -> None:
    ours, theirs = FORK.Pipe()
    worker = FORK.Process(target=train_as_old, args=(store, theirs), daemon=True)
    worker.start()
    assert worker.pid is not None
    ours.send(10)
    assert ours.recv() == "saved"
    os.kill(worker.pid, signal.SIGSTOP)
    ours.send(20)
    later = folder_of(store, NEW)
    later.begin(ALONE)
    save(later, 20, "new")
    before = [(info.key, info.etag) for info in store.list(f"{PREFIX}/{RECORD_NAME}")]
    os.kill(worker.pid, signal.SIGCONT)
    assert ours.recv() == "left"
    worker.join()
    assert newest(store) == (20, "new")
    assert [(info.key, info.etag) for info in store.list(f"{PREFIX}/{RECORD_NAME}")] == before


def test_of_eight_that_begin_at_once_the_last_number_commits(store: ObjectStore) -> None:
    attempts = [RunAttempt(1, number) for number in range(1, 9)]
    folders = [folder_of(store, attempt) for attempt in attempts]

    def begin(folder: CheckpointFolder) -> bool:
        try:
            folder.begin(ALONE)
        except Superseded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(begin, folders))
    assert begun[-1], "nobody has begun after it"
    for folder in folders[:-1]:
        with pytest.raises(Superseded):
            save(folder, 10, "earlier")
    save(folders[-1], 10, "last")
    assert newest(store) == (10, "last")


def test_checkpoints_of_an_earlier_release_are_found_and_followed(store: ObjectStore) -> None:
    first = folder_of(store, ONLY_ATTEMPT)
    save(first, 10, "old")
    save(first, 20, "old")
    store.delete(f"{PREFIX}/{RECORD_NAME}")  # as it was before there was a record
    assert newest(store) == (20, "old")
    later = folder_of(store, NEW)
    later.begin(ALONE)
    assert newest(store) == (20, "old")
    save(later, 30, "new")
    assert newest(store) == (30, "new")


def test_a_damaged_record_costs_no_checkpoint(store: ObjectStore) -> None:
    first = folder_of(store, OLD)
    first.begin(ALONE)
    save(first, 10, "old")
    store.write(f"{PREFIX}/{RECORD_NAME}", b'{"record": {"epoch": 1, "attempt"')
    assert newest(store) == (10, "old")
    later = folder_of(store, NEW)
    later.begin(ALONE)
    save(later, 20, "new")
    assert newest(store) == (20, "new")
