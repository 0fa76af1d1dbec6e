"""What a lease promises on a folder and on S3: one holder, and no write by a lost one."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import pytest

from orchestrator.journal.journal_writer import Fenced, JournalWriter
from orchestrator.journal.lease import LeaseHeld, LeaseLost, LeaseTiming, acquire
from orchestrator.journal.object_journal import JournalReader
from prp_core.data.object_store import ObjectStore, read_all
from prp_core.errors import UserError
from tests.contracts.stores import SWEEP_STORES
from tests.dying_store import DyingStore

FORK = multiprocessing.get_context("fork")
WHAT = "Sweep one"
QUIET = LeaseTiming(renew_seconds=3600.0)  # renewed by the test alone


def never_sleep(seconds: float) -> None:
    raise AssertionError("there was nothing to wait for")


@pytest.fixture(params=SWEEP_STORES.values(), ids=SWEEP_STORES.keys())
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return request.param(request, tmp_path)


def test_free_given_up_and_taken_again(store: ObjectStore) -> None:
    at_once = replace(QUIET, sleep=never_sleep)
    with acquire(store, WHAT, timing=at_once) as first:
        assert (first.epoch, first.is_lost) == (1, False)
        first.check()
        first.renew()
    first.release()
    second = acquire(store, WHAT, timing=at_once)
    assert second.epoch == 2
    second.release()
    assert acquire(store, WHAT, timing=at_once, after_epoch=7).epoch == 8


def test_a_holder_that_renews_is_named(store: ObjectStore) -> None:
    mine = acquire(store, WHAT, timing=replace(QUIET, now=lambda: 1_764_300_000.0))
    naps = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            mine.renew()

    with pytest.raises(
        LeaseHeld,
        match=rf"^Sweep one has a driver: .+@.+, process {os.getpid()}, since 2025-11-28 03:20:00 "
        r"UTC \(epoch 1\)\. One driver at a time: wait for it, or stop it first$",
    ):
        acquire(store, WHAT, timing=replace(QUIET, sleep=sleep))
    assert naps == [0.5] * 3
    mine.check()
    assert not mine.is_lost


def test_a_silent_holder_is_taken_over_and_told(store: ObjectStore) -> None:
    losses: list[LeaseLost] = []
    old = acquire(store, WHAT, timing=QUIET, on_lost=losses.append)
    watch = Watch()
    new = acquire(store, WHAT, timing=replace(QUIET, clock=watch, sleep=watch.sleep))
    assert new.epoch == 2 and sum(watch.naps) == pytest.approx(12.0, abs=1.0)
    before = list(store.list())
    for _ in range(2):
        old.renew()
    assert old.is_lost and len(losses) == 1
    text = r"this driver \(epoch 1\) was silent for too long, .* now held by .*\(epoch 2\)"
    with pytest.raises(LeaseLost, match=text):
        old.check()
    old.release()
    assert list(store.list()) == before, "whoever lost it changes nothing"
    new.check()


def test_a_watcher_that_slept_itself_has_seen_no_silence(store: ObjectStore) -> None:
    """Both on one laptop: after an hour with the lid closed, the holder is not dead."""
    mine = acquire(store, WHAT, timing=QUIET)
    watch = Watch()

    def sleep(seconds: float) -> None:
        watch.sleep(3600.0 if not watch.naps else seconds)
        if len(watch.naps) == 5:
            mine.renew()

    with pytest.raises(LeaseHeld):
        acquire(store, WHAT, timing=replace(QUIET, clock=watch, sleep=sleep))
    assert len(watch.naps) == 5


def test_a_stale_holder_asks_before_it_goes_on(store: ObjectStore) -> None:
    clock = Watch()
    old = acquire(store, WHAT, timing=replace(QUIET, clock=clock))
    clock.now += 11.0
    before = list(store.list())
    old.check()
    assert list(store.list()) == before
    clock.now += 2.0
    old.check()
    assert list(store.list()) != before, "renewed, for it was still ours"
    watch = Watch()
    acquire(store, WHAT, timing=replace(QUIET, clock=watch, sleep=watch.sleep))
    old.check()
    clock.now += 13.0
    with pytest.raises(LeaseLost):
        old.check()


def test_a_lease_given_up_while_another_waits(store: ObjectStore) -> None:
    mine = acquire(store, WHAT, timing=QUIET)
    waiting = replace(QUIET, sleep=lambda seconds: mine.release())
    assert acquire(store, WHAT, timing=waiting).epoch == 2


def test_a_lease_that_is_removed(store: ObjectStore) -> None:
    mine = acquire(store, WHAT, timing=QUIET)
    removing = replace(QUIET, sleep=lambda seconds: store.delete("lease.json"))
    other = acquire(store, WHAT, timing=removing)
    assert other.epoch == 2, "epochs go on"
    store.delete("lease.json")
    mine.renew()
    with pytest.raises(LeaseLost, match=r"held by nobody \(somebody removed it\)"):
        mine.check()


def test_a_renewal_whose_reply_was_lost(store: ObjectStore) -> None:
    mine = acquire(store, WHAT, timing=QUIET)
    record = json.loads(read_all(store, "lease.json"))
    info = next(info for info in store.list("lease.json"))
    store.write("lease.json", json.dumps(record | {"num_renewals": 1}).encode(), if_match=info.etag)
    mine.renew()
    assert not mine.is_lost
    mine.check()


NO_LEASES = {
    "no JSON": b"{",
    "nested": b"[" * 100_000,
    "a list": b"[]",
    "no process": b'{"epoch": 1}',
    "more": b'{"process": {}, "colour": "red"}',
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("content", NO_LEASES.values(), ids=NO_LEASES.keys())
def test_something_else_in_the_place_of_a_lease(store: ObjectStore, content: bytes) -> None:
    store.write("lease.json", content)
    with pytest.raises(UserError, match=r"/lease.json is not a lease \(.*; when no driver of "):
        acquire(store, WHAT, timing=replace(QUIET, sleep=never_sleep))
    assert read_all(store, "lease.json") == content


class Watch:
    """A clock that its own sleeps move."""

    def __init__(self) -> None:
        self.now = 100.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


# ---- processes


def start(target: Callable[..., None], *arguments: object) -> multiprocessing.Process:
    process = FORK.Process(target=target, args=arguments)
    process.start()
    return process


def try_to_acquire(store: ObjectStore, begin: Barrier, said: Connection, finish: Event) -> None:
    """Run in a process of its own: one of many identical starts."""
    begin.wait(120)
    try:
        lease = acquire(store, WHAT, timing=LeaseTiming(renew_seconds=0.1, poll_seconds=0.05))
    except LeaseHeld as error:
        said.send(("refused", str(error)))
    else:
        said.send(("won", os.getpid()))
        finish.wait(120)
        lease.release()


@pytest.mark.parametrize("is_left_behind", [False, True], ids=["free", "of a dead driver"])
def test_eight_identical_starts(store: ObjectStore, is_left_behind: bool) -> None:
    if is_left_behind:
        left = start(acquire, store, WHAT)
        left.join(120)
    begin, finish = FORK.Barrier(8), FORK.Event()
    pipes = [FORK.Pipe(duplex=False) for _ in range(8)]
    processes = [start(try_to_acquire, store, begin, said, finish) for _, said in pipes]
    outcomes = [heard.recv() for heard, _ in pipes]
    finish.set()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 8
    (winner,) = [pid for outcome, pid in outcomes if outcome == "won"]
    refusals = [text for outcome, text in outcomes if outcome == "refused"]
    assert len(refusals) == 7
    for text in refusals:
        assert f"process {winner}, since" in text, "each names the one that works"
    last = json.loads(read_all(store, "lease.json"))
    assert (last["epoch"], last["is_held"]) == (2 if is_left_behind else 1, False)


def hold_until_killed(store: ObjectStore, said: Connection) -> None:
    """Run in a process of its own: a driver that is killed."""
    acquire(store, WHAT)
    said.send("holding")
    signal.pause()


def test_a_holder_that_died_on_this_machine_is_not_waited_for(store: ObjectStore) -> None:
    heard, said = FORK.Pipe(duplex=False)
    process = start(hold_until_killed, store, said)
    assert heard.recv() == "holding"
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and not reaped yet
    assert acquire(store, WHAT, timing=replace(QUIET, sleep=never_sleep)).epoch == 2
    process.join(120)


def drive_until_killed(store: DyingStore, said: Connection) -> None:
    """Run in a process of its own: a driver's whole life with its lease."""
    lease = acquire(store, WHAT, timing=QUIET)
    said.send(lease.epoch)
    lease.renew()
    lease.release()


@pytest.mark.parametrize("after", [False, True], ids=["before it applies", "after it applied"])
def test_kill_9_at_every_request(store: ObjectStore, after: bool) -> None:
    exit_code, dies_at, epoch = -signal.SIGKILL, 0, 0
    while exit_code == -signal.SIGKILL:
        dies_at += 1
        heard, said = FORK.Pipe(duplex=False)
        process = start(drive_until_killed, DyingStore(store, dies_at, after), said)
        said.close()
        try:
            told = heard.recv()
        except EOFError:
            told = epoch
        process.join(120)
        exit_code = process.exitcode
        with acquire(store, WHAT, timing=replace(QUIET, sleep=never_sleep)) as lease:
            assert lease.epoch > told >= epoch, "no epoch is given twice"
            lease.check()
        epoch = lease.epoch
    assert exit_code == 0 and dies_at > 4


WAKES: dict[str, Callable[[ObjectStore, JournalWriter, object], object]] = {
    "appends": lambda store, journal, lease: journal.append([{"kind": "step", "by": "zombie"}]),
    "renews its lease": lambda store, journal, lease: lease.renew() or lease.check(),
    "opens again": lambda store, journal, lease: JournalWriter(store, epoch=1, holder="zombie"),
    "merges": lambda store, journal, lease: [journal.merge(), journal.flush(), lease.check()],
    "ends": lambda store, journal, lease: [journal.close(), lease.renew(), lease.release()],
}


def sleep_through(store: ObjectStore, wakes: str, orders: Connection, said: Connection) -> None:
    """Run in a process of its own: a driver that is stopped for longer than its lease."""
    lease = acquire(store, WHAT, timing=replace(QUIET, ttl_seconds=0.0))
    journal = JournalWriter(store, epoch=lease.epoch, holder=lease.holder)
    journal.append([{"kind": "step", "by": "first"}])
    said.send("working")
    orders.recv()
    try:
        WAKES[wakes](store, journal, lease)
        said.send("nothing")
    except (Fenced, LeaseLost) as error:
        said.send(type(error).__name__)


@pytest.mark.parametrize("wakes", WAKES)
def test_a_zombie_writes_nothing(store: ObjectStore, wakes: str) -> None:
    heard, said = FORK.Pipe(duplex=False)
    taken, orders = FORK.Pipe(duplex=False)
    process = start(sleep_through, store, wakes, taken, said)
    assert heard.recv() == "working"
    os.kill(process.pid, signal.SIGSTOP)
    state = Path(f"/proc/{process.pid}/stat")
    deadline = time.monotonic() + 60
    while state.read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
    lease = acquire(store, WHAT, timing=replace(QUIET, ttl_seconds=0.3, poll_seconds=0.05))
    journal = JournalWriter(store, epoch=lease.epoch, holder=lease.holder)
    journal.append([{"kind": "step", "by": "second"}])
    before = list(store.list())
    orders.send("go on")
    os.kill(process.pid, signal.SIGCONT)
    outcome = heard.recv()
    process.join(120)
    expected = {"appends": "Fenced", "opens again": "Fenced", "ends": "nothing"}
    assert outcome == expected.get(wakes, "LeaseLost")
    assert list(store.list()) == before
    journal.append([{"kind": "step", "by": "second"}])
    lease.check()
    by = [record["by"] for record in JournalReader(store).read("step")]
    assert (lease.epoch, by) == (2, ["first", "second", "second"])
