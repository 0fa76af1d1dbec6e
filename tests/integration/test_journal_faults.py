"""Journal and lease on a real S3 server behind a proxy that loses replies and damages them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.config.store_config import StoreConfig
from orchestrator.journal.journal_writer import Fenced, JournalWriter
from orchestrator.journal.lease import LeaseTiming, acquire
from orchestrator.journal.object_journal import JournalReader
from orchestrator.journal.segments import MergeSizes
from orchestrator.storage.open_store import open_store
from orchestrator.storage.retrying_store import RetryingStore
from orchestrator.storage.s3_store import S3Store
from prp_core.data.object_store import ObjectStore
from prp_core.errors import CorruptObject, StoreUnavailable
from tests.tools.fault_proxy import FaultProxy

SMALL = MergeSizes(smallest=8, fan_in=2, largest=32)
LOST: dict[str, object] = {"do": "lose", "method": "PUT", "times": 1}
REFUSED: dict[str, object] = {"do": "status", "method": "PUT", "times": 1, "code": 503}


@pytest.fixture
def store(s3_bucket: str) -> ObjectStore:
    """The sweep's folder, without the proxy."""
    return open_store(f"s3://{s3_bucket}/sweeps/one")


@pytest.fixture
def hasty(store: ObjectStore, proxy: FaultProxy) -> ObjectStore:
    """The same through the proxy, without a second try."""
    return RetryingStore(S3Store(store.uri, StoreConfig(endpoint_url=proxy.url)), 0.0)


@pytest.fixture
def patient(store: ObjectStore, proxy: FaultProxy) -> ObjectStore:
    """The same through the proxy, with as many tries as a storm needs."""
    config = StoreConfig(endpoint_url=proxy.url, read_timeout_seconds=2.0, deadline_seconds=60.0)
    return RetryingStore(S3Store(store.uri, config), config.deadline_seconds)


def writer(store: ObjectStore, epoch: int = 1) -> JournalWriter:
    return JournalWriter(
        store, epoch=epoch, holder=f"driver {epoch}", sizes=SMALL, merges_in_background=False
    )


def step(number: int) -> list[dict[str, object]]:
    return [{"kind": "step", "number": number}]


def numbers(journal: JournalReader) -> list[int]:
    return [record["number"] for record in journal.read("step")]


@pytest.mark.parametrize("fault", [LOST, REFUSED], ids=["applied", "not applied"])
def test_an_append_in_doubt_is_settled_before_the_next(
    store: ObjectStore, hasty: ObjectStore, proxy: FaultProxy, fault: dict[str, object]
) -> None:
    mine = writer(hasty)
    mine.append(step(1))
    proxy.add(**fault)
    with pytest.raises(StoreUnavailable):
        mine.append(step(2))
    assert not mine.is_durable and numbers(mine) == [1, 2]
    assert numbers(JournalReader(store)) == ([1, 2] if fault is LOST else [1])
    mine.append(step(3))
    assert mine.is_durable
    assert numbers(JournalReader(store)) == numbers(mine) == [1, 2, 3]


@pytest.mark.parametrize("fault", [LOST, REFUSED], ids=["applied", "not applied"])
def test_an_append_in_doubt_of_a_writer_that_is_replaced(
    store: ObjectStore, hasty: ObjectStore, proxy: FaultProxy, fault: dict[str, object]
) -> None:
    old = writer(hasty)
    proxy.add(**fault)
    with pytest.raises(StoreUnavailable):
        old.append(step(1))
    new = writer(store, 2)
    expected = [1] if fault is LOST else []
    assert numbers(new) == expected, "the next writer sees what is there"
    with pytest.raises(Fenced, match="driver 2"):
        old.append(step(2))
    new.append(step(3))
    assert numbers(JournalReader(store)) == [*expected, 3]


def test_a_damaged_answer_makes_nobody_believe_that_another_has_written(
    store: ObjectStore, hasty: ObjectStore, proxy: FaultProxy
) -> None:
    mine = writer(hasty)
    proxy.add(**LOST)
    with pytest.raises(StoreUnavailable):
        mine.append(step(1))
    proxy.add("flip", method="GET", path="entries/.*1[.]jsonl", times=1)
    mine.append(step(2))
    assert [entry.fault for entry in proxy.journal].count("flip") == 1
    assert numbers(JournalReader(store)) == [1, 2]


def test_an_opening_in_doubt(store: ObjectStore, hasty: ObjectStore, proxy: FaultProxy) -> None:
    proxy.add(**LOST)
    with pytest.raises(StoreUnavailable):
        writer(hasty)
    mine = writer(hasty)
    mine.append(step(1))
    reader = JournalReader(store)
    assert [opening.incarnation for opening in reader.openings] == [1, 2]
    assert numbers(reader) == [1]


def test_a_journal_written_and_read_in_a_storm(
    store: ObjectStore, patient: ObjectStore, proxy: FaultProxy
) -> None:
    for do in ("status", "reset"):
        proxy.add(do, probability=0.1)
    for do in ("cut", "short"):
        proxy.add(do, method="GET", probability=0.1)
    proxy.add("lose", probability=0.15)
    mine = writer(patient)
    for number in range(40):
        mine.append(step(number))
        if number % 10 == 9:
            mine.merge()
    assert sum(entry.fault is not None for entry in proxy.journal) >= 15
    assert numbers(JournalReader(patient, sizes=SMALL)) == list(range(40))
    proxy.clear()
    reader = JournalReader(store, sizes=SMALL)
    assert numbers(reader) == list(range(40))
    assert reader.num_entries == 41, "no append is there twice"


def test_bytes_that_arrive_changed_are_read_again(
    store: ObjectStore, patient: ObjectStore, proxy: FaultProxy
) -> None:
    mine = writer(store)
    mine.append(step(1))
    proxy.add("flip", method="GET", path="entries/.*2[.]jsonl|entries/.*1[.]jsonl", times=2)
    assert numbers(JournalReader(patient)) == [1]
    assert [entry.fault for entry in proxy.journal].count("flip") == 2
    proxy.add("flip", method="GET", path="entries/.*1[.]jsonl")
    with pytest.raises(CorruptObject, match=r"000000000001.jsonl does not belong to a journal: "):
        JournalReader(patient)


def test_a_lease_in_a_storm_is_not_lost(
    store: ObjectStore, patient: ObjectStore, hasty: ObjectStore, proxy: FaultProxy
) -> None:
    timing = LeaseTiming(renew_seconds=3600.0)
    with acquire(patient, "Sweep one", timing=timing) as lease:
        proxy.add("lose", method="PUT", probability=0.4)
        proxy.add("status", probability=0.2)
        for _ in range(20):
            lease.renew()
        proxy.clear()
        lease.check()
        assert not lease.is_lost
    impatient = acquire(hasty, "Sweep one", timing=timing)
    assert impatient.epoch == 2
    proxy.add(**LOST)
    with pytest.raises(StoreUnavailable):
        impatient.renew()
    impatient.renew()
    assert not impatient.is_lost, "a renewal whose reply was lost is known again as ours"
    clock_ahead = replace(timing, ttl_seconds=-1.0)
    impatient.release()
    assert acquire(store, "Sweep one", timing=clock_ahead).epoch == 3
