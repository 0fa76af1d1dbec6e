"""What a sweep's journal promises, over a folder and a real S3 server.

Nothing acknowledged is lost, nothing is there by half, and an older writer appends nothing.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from orchestrator.journal.journal_writer import Fenced, JournalWriter
from orchestrator.journal.object_journal import JournalReader
from orchestrator.journal.segments import MergeSizes
from orchestrator.search.journal_backend import open_study_storage
from prp_core.data.object_store import LocalStore, ObjectStore
from tests.contracts.stores import SWEEP_STORES
from tests.dying_store import DyingStore, ends_of_each_kind

FORK = multiprocessing.get_context("fork")
SMALL = MergeSizes(smallest=4, fan_in=2, largest=32)


@pytest.fixture(params=SWEEP_STORES.values(), ids=SWEEP_STORES.keys())
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return request.param(request, tmp_path)


def writer(store: ObjectStore, epoch: int = 1, **more: object) -> JournalWriter:
    settings = {"sizes": SMALL, "merges_in_background": False} | more
    return JournalWriter(store, epoch=epoch, holder=f"driver {epoch}", **settings)


def steps(*numbers: int) -> list[dict[str, object]]:
    return [{"kind": "step", "number": number} for number in numbers]


def numbers(journal: JournalReader, start: int = 0) -> list[int]:
    return [record["number"] for record in journal.read("step", start)]


def test_what_was_appended_is_read_by_others(store: ObjectStore) -> None:
    assert JournalReader(store).num_entries == 0
    mine = writer(store)
    reader = JournalReader(store)
    mine.append(steps(1))
    mine.append([*steps(2), {"kind": "ledger", "gpus": 1.5}, *steps(3)])
    assert numbers(mine) == [1, 2, 3] and numbers(mine, 2) == [3]
    assert numbers(reader) == []
    assert reader.refresh() == 2 and reader.refresh() == 0
    assert numbers(reader) == [1, 2, 3]
    assert reader.read("ledger") == [{"kind": "ledger", "gpus": 1.5}]
    assert (reader.num_records("step"), reader.num_records("nothing")) == (3, 0)
    assert [(opening.epoch, opening.holder) for opening in reader.openings] == [(1, "driver 1")]


def test_values_come_back_as_they_were(store: ObjectStore) -> None:
    values = [0.1 + 0.2, 1e-300, float("inf"), 2**70, None, True, "ü\n\u2028\ud800", {"a": [1, []]}]
    writer(store).append([{"kind": "step", "values": values}])
    assert JournalReader(store).read("step")[0]["values"] == values


def test_the_older_of_two_writers_is_fenced(store: ObjectStore) -> None:
    old = writer(store, 1)
    old.append(steps(1))
    new = writer(store, 2)
    new.append(steps(2))
    before = list(store.list())
    for _ in range(2):
        with pytest.raises(Fenced, match=r"journal was opened by driver 2 \(epoch 2, opening 1, "):
            old.append(steps(3))
    with pytest.raises(Fenced, match="epoch 1 is over"):
        writer(store, 1)
    assert list(store.list()) == before
    again = writer(store, 2)
    with pytest.raises(Fenced, match=r"opened by driver 2 \(epoch 2, opening 2"):
        new.append(steps(4))
    assert (again.incarnation, new.incarnation) == (2, 1)
    again.append(steps(5))
    assert numbers(JournalReader(store)) == [1, 2, 5]


def test_a_fenced_writer_may_merge_and_harms_nothing(store: ObjectStore) -> None:
    old = writer(store, 1)
    for number in range(9):
        old.append(steps(number))
    new = writer(store, 2)
    for number in range(9, 20):
        new.append(steps(number))
    assert new.merge() > 0
    after = list(store.list())
    old.merge()
    with pytest.raises(Fenced):
        old.append(steps(99))
    old.merge()
    new.merge()
    assert {info.key: info.etag for info in store.list()} == {info.key: info.etag for info in after}
    assert numbers(JournalReader(store, sizes=SMALL)) == list(range(20))


def test_two_merge_at_a_time(store: ObjectStore) -> None:
    old = writer(store, 1)
    for number in range(10):
        old.append(steps(number))
    new = writer(store, 2)
    for number in range(10, 30):
        new.append(steps(number))
    threads = [threading.Thread(target=journal.merge) for journal in (old, new, old, new)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    new.merge()
    assert numbers(JournalReader(store, sizes=SMALL)) == list(range(30))
    assert len(list(store.list("journal/segments/"))) == 1, "all 32 entries in one"


def test_merging_leaves_few_objects_to_read(store: ObjectStore) -> None:
    mine = writer(store)
    early = JournalReader(store, sizes=SMALL)
    for number in range(70):
        mine.append(steps(number))
        if number % 7 == 0:
            mine.merge()
        if number == 20:
            early.refresh()
    assert mine.merge() == 1
    assert mine.merge() == 0
    counting = DyingStore(store)
    reader = JournalReader(counting, sizes=SMALL)
    assert numbers(reader) == list(range(70))
    assert reader.num_entries == 71
    # Two looks at the entries and one at the segments, which are 32, 32 and 4; entries 68 to 70.
    assert counting.num_requests == 3 + 3 + 3
    assert early.refresh() == 49 and numbers(early) == list(range(70))
    names = [info.key.rpartition("/")[2] for info in store.list("journal/segments/")]
    assert [name[:25] for name in names] == [
        "000000000000-000000000031",
        "000000000032-000000000063",
        "000000000064-000000000067",
    ]


def test_merging_in_the_background(store: ObjectStore) -> None:
    with writer(store, merges_in_background=True) as mine:
        for number in range(40):
            mine.append(steps(number))
    assert len(list(store.list("journal/segments/"))) >= 1
    assert numbers(JournalReader(store, sizes=SMALL)) == list(range(40))


def test_a_batch_is_one_entry(store: ObjectStore) -> None:
    mine = writer(store)
    with mine.batch():
        mine.append(steps(1))
        with mine.batch():
            mine.append(steps(2))
        assert not mine.is_durable and numbers(mine) == [1, 2]
        assert numbers(JournalReader(store)) == []
    assert mine.is_durable and mine.num_entries == 2
    with pytest.raises(KeyError), mine.batch():
        mine.append(steps(3))
        raise KeyError
    assert numbers(JournalReader(store)) == [1, 2, 3], "what was appended before the error stays"


def test_threads_append_in_one_order(store: ObjectStore) -> None:
    mine = writer(store, merges_in_background=True)

    def append(thread: int) -> None:
        for number in range(6):
            if number % 2:
                mine.append(steps(100 * thread + number))
            else:
                with mine.batch():
                    mine.append(steps(100 * thread + number))

    threads = [threading.Thread(target=append, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mine.close()
    found = numbers(mine)
    assert sorted(found) == [100 * thread + number for thread in range(4) for number in range(6)]
    assert [number for number in found if number < 100] == list(range(6))
    assert numbers(JournalReader(store, sizes=SMALL)) == found


# ---- processes that die


def write_and_merge(store: DyingStore, prefix: str) -> Iterator[tuple[int, int]]:
    """Open a journal twice, append pairs of records, merge; what was appended, as it is."""
    for epoch in (1, 2):
        mine = writer(store, epoch, prefix=prefix)
        for number in range(5):
            mine.append([{"kind": "step", "number": [epoch, number, part]} for part in range(2)])
            yield epoch, number
            if number % 2:
                mine.merge()


def write_until_killed(store: DyingStore, prefix: str, acknowledged: Connection) -> None:
    """Run in a process of its own."""
    for append in write_and_merge(store, prefix):
        acknowledged.send(append)


def killed_at(
    store: ObjectStore, prefix: str, dies_at: int, after: bool
) -> tuple[int, list[tuple[int, int]]]:
    """``(exit code, appends that were acknowledged)`` of a writer that is killed."""
    heard, said = FORK.Pipe(duplex=False)
    dying = DyingStore(store, dies_at, after)
    process = FORK.Process(target=write_until_killed, args=(dying, prefix, said))
    process.start()
    said.close()
    acknowledged = []
    while True:
        try:
            acknowledged.append(heard.recv())
        except EOFError:
            break
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode, acknowledged


def kinds_of_requests(store: ObjectStore) -> list[str]:
    """The kinds of the requests of `write_and_merge` when nothing dies, in their order."""
    counting = DyingStore(store)
    for _ in write_and_merge(counting, "counted/"):
        pass
    return counting.kinds


def check_kill_9(store: ObjectStore, dies_at: int, after: bool) -> None:
    """Kill a writer at its request `dies_at` (0: not at all), and look at what it left."""
    prefix = f"journal-{dies_at}/"
    exit_code, acknowledged = killed_at(store, prefix, dies_at, after)
    assert exit_code == (-signal.SIGKILL if dies_at else 0)
    watcher = JournalReader(store, prefix, sizes=SMALL)
    found = [tuple(number) for number in numbers(watcher)]
    appends = [(epoch, number) for epoch in (1, 2) for number in range(5)]
    num_found = len(found) // 2
    assert found == [(*append, part) for append in appends[:num_found] for part in range(2)]
    assert acknowledged == appends[: len(acknowledged)]
    assert len(acknowledged) <= num_found <= len(acknowledged) + 1
    last = writer(store, 3, prefix=prefix)
    last.append(steps(1))
    last.merge()
    watcher.refresh()
    assert numbers(watcher) == numbers(last) == [*map(list, found), 1]
    fresh = JournalReader(store, prefix, sizes=SMALL)
    assert numbers(fresh) == numbers(last), "whatever a killed merge has left"


@pytest.mark.parametrize("after", [False, True], ids=["before it applies", "after it applied"])
def test_kill_9_at_requests(store: ObjectStore, after: bool) -> None:
    """Each request in a folder; on a server the first and the last of each kind, and all of them in
    `tests/campaigns/test_kill_journal.py`.
    """
    kinds = kinds_of_requests(store)
    assert len(kinds) > 25 and len(set(kinds)) > 4
    everywhere = isinstance(store, LocalStore)
    for dies_at in range(1, len(kinds) + 1) if everywhere else ends_of_each_kind(kinds):
        check_kill_9(store, dies_at, after)
    check_kill_9(store, 0, after)
    segments = list(store.list("journal-0/segments/"))
    assert len(segments) == 2, "of 8 and of 4 entries"


# ---- Optuna's study


optuna.logging.set_verbosity(optuna.logging.WARNING)


def study_of(journal: JournalReader) -> optuna.Study:
    return optuna.load_study(storage=open_study_storage(journal), study_name="sweep")


def run_study(mine: JournalWriter, num_trials: int) -> optuna.Study:
    """Trials of every state, with values that JSON makes hard."""
    storage = open_study_storage(mine)
    study = optuna.create_study(
        storage=storage, study_name="sweep", direction="maximize", load_if_exists=True
    )
    study.set_user_attr("note", {"seeds": [1, 2, 3], "text": "ü"})
    study.enqueue_trial({"weight": 0.25}, user_attrs={"asked": "by hand"})
    for number in range(num_trials):
        with mine.batch():
            trial = study.ask()
            trial.suggest_float("weight", 1e-3, 10.0, log=True)
            trial.suggest_int("frames", 8, 32, step=8)
            if number % 2:
                trial.suggest_categorical("rates", ["1-2", "1-2-4-8", None])
        trial.set_user_attr("seconds", number / 3)
        for epoch in (10, 30, 90):
            trial.report(float("inf") if number == 3 else 0.1 + number / 7, epoch)
        if number % 4 == 3:
            study.tell(trial, state=TrialState.PRUNED if number % 8 == 3 else TrialState.FAIL)
        elif number % 4 != 2:
            study.tell(trial, 0.1 + number / 7)
    study.enqueue_trial({"weight": 0.5})
    return study


def rebuild(store: ObjectStore, result: Connection) -> None:
    """Run in a process of its own: the trials as the objects alone say."""
    result.send(study_of(JournalReader(store, sizes=SMALL)).trials)


def test_a_study_is_rebuilt_equal_by_another_process(store: ObjectStore) -> None:
    mine = writer(store)
    study = run_study(mine, 9)
    mine.merge()
    study = run_study(mine, 3)
    received, sent = FORK.Pipe(duplex=False)
    process = FORK.Process(target=rebuild, args=(store, sent))
    process.start()
    trials: list[FrozenTrial] = received.recv()
    process.join(120)
    assert trials == study.trials
    assert {trial.state for trial in trials} == {
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.RUNNING,
        TrialState.WAITING,
    }


def test_a_study_is_followed_by_a_reader_and_goes_on_in_the_next_epoch(store: ObjectStore) -> None:
    mine = writer(store, 1)
    study = run_study(mine, 2)
    reader = JournalReader(store)
    watched = study_of(reader)
    study.tell(study.ask(), 0.5)
    assert watched.trials != study.trials
    reader.refresh()
    assert watched.trials == study.trials
    next_study = run_study(writer(store, 2), 1)
    with pytest.raises(Fenced):
        study.ask()
    reader.refresh()
    assert watched.trials == next_study.trials
    assert [trial.number for trial in watched.trials] == list(range(len(watched.trials)))


def test_a_trial_and_its_values_are_there_together(store: ObjectStore) -> None:
    """One entry for an ask: a coordinator that dies leaves no trial without its values."""
    mine = writer(store)
    study = run_study(mine, 1)
    before = mine.num_entries
    with mine.batch():
        trial = study.ask()
        trial.suggest_float("weight", 1e-3, 10.0, log=True)
        trial.set_user_attr("values", "{}")
    assert mine.num_entries == before + 1
    assert study_of(JournalReader(store)).trials == study.trials


def test_a_journal_opened_for_reading_takes_no_trials(store: ObjectStore) -> None:
    run_study(writer(store), 1)
    before = list(store.list())
    study = study_of(JournalReader(store))
    with pytest.raises(Exception, match="journal was opened for reading alone"):
        study.ask()
    assert list(store.list()) == before


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []
