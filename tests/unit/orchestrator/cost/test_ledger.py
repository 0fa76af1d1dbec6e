"""The ledger: sums, a damaged record, and a writer that is killed with -9 as it writes."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cost.ledger import (
    LEDGER,
    WASTED,
    Ledger,
    LedgerEntry,
    Totals,
    busy_after,
    is_of_search,
    read_ledger,
    total,
)
from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.object_journal import JournalReader
from prp_core.data.object_store import LocalStore, ObjectInfo
from prp_core.errors import StoreUnavailable, UserError
from tests.journals import journal_in
from tests.tools.study_process import REPOSITORY

FIELDS = {
    "trial",
    "rung_epoch",
    "attempt",
    "started",
    "ended",
    "gpus",
    "cpus",
    "busy_seconds",
    "queued_seconds",
    "data_wait_seconds",
    "recomputed_seconds",
    "after_pruning_seconds",
    "usd",
    "price",
    "kind",
    "seed",
}

WRITER = """
import sys
from pathlib import Path
from tests.journals import journal_in
from tests.unit.orchestrator.cost.test_ledger import entry
from orchestrator.cost.ledger import Ledger
ledger = Ledger(journal_in(Path(sys.argv[1])))
start = len(ledger)
for number in range(start, start + 100000):
    ledger.append(entry(started=10.0 * number, busy_seconds=10.0))
    print(len(ledger), flush=True)
"""


def entry(trial: int = 0, started: float = 0.0, **fields: object) -> LedgerEntry:
    """A slice of 10 s of a trial with 2 GPUs and 4 CPUs."""
    base = LedgerEntry(
        trial=trial,
        rung_epoch=1,
        attempt=1,
        started=started,
        ended=started + 10,
        gpus=2.0,
        cpus=4.0,
    )
    return dataclasses.replace(base, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], Totals()),
        (
            [entry(busy_seconds=1800)],
            Totals(gpu_hours=1.0, cpu_hours=2.0, busy_seconds=1800, is_priced=False),
        ),
        (
            [entry(busy_seconds=1800, usd=3.0, price="p")],
            Totals(gpu_hours=1.0, cpu_hours=2.0, usd=3.0, busy_seconds=1800),
        ),
        ([entry(queued_seconds=60)], Totals(queued_seconds=60)),
        (
            [
                entry(busy_seconds=900, data_wait_seconds=90),
                entry(busy_seconds=900, recomputed_seconds=45),
                entry(after_pruning_seconds=45),
            ],
            Totals(
                gpu_hours=1.0,
                cpu_hours=2.0,
                busy_seconds=1800,
                data_wait_seconds=90,
                recomputed_seconds=45,
                after_pruning_seconds=45,
                is_priced=False,
            ),
        ),
    ],
)
def test_sums(entries: list[LedgerEntry], expected: Totals) -> None:
    assert total(entries) == expected


def test_waste_is_a_share_of_what_was_paid_and_money_is_named_only_where_it_is_known() -> None:
    sums = total(
        [
            entry(
                busy_seconds=1800,
                data_wait_seconds=90,
                recomputed_seconds=45,
                after_pruning_seconds=45,
                usd=1.5,
                price="p",
            )
        ]
    )
    assert sums.wasted_share == pytest.approx(0.1)
    assert sums.metrics()["cost/usd"] == 1.5
    assert "cost/usd" not in total([entry(busy_seconds=10)]).metrics()
    assert total([entry(queued_seconds=5)]).wasted_share == 0.0, "nothing was paid"


def test_what_came_beside_a_trial_is_not_the_searchs(tmp_path: Path) -> None:
    ledger = Ledger(journal_in(tmp_path))
    ledger.append(entry(0, busy_seconds=10))
    ledger.append(entry(0, busy_seconds=5, kind="evaluation"))
    ledger.append(entry(0, busy_seconds=90, kind="confirm", seed=8))
    assert ledger.totals_of_trial(0).busy_seconds == 15
    assert ledger.totals().busy_seconds == 105
    assert ledger.totals_of_trial(1) == Totals()


def test_running_sums_are_those_of_the_file_to_the_last_digit(tmp_path: Path) -> None:
    draw = random.Random(0)
    journal = journal_in(tmp_path)
    ledger = Ledger(journal)
    for number in range(200):
        kind = draw.choice(["train", "evaluation", "confirm"])
        seconds = {name: draw.random() for name in ("busy_seconds", "queued_seconds", *WASTED)}
        one = entry(draw.randrange(5), 10.0 * number, kind=kind, usd=draw.random(), **seconds)
        ledger.append(one)
        ledger.append(one)
    entries = read_ledger(journal)
    assert len(ledger) == len(entries) == 200
    for again in (ledger, Ledger(journal_in(tmp_path))):
        assert again.totals() == total(entries)
        for trial in range(5):
            assert again.totals_of_trial(trial) == total(
                entries, lambda one, trial=trial: one.trial == trial and is_of_search(one)
            )
            assert list(again.of(("train", trial, None))) == [
                one for one in entries if one.owner == ("train", trial, None)
            ]
    assert ledger.totals().gpu_hours == sum(one.gpus * one.busy_seconds for one in entries) / 3600


@pytest.mark.parametrize(("epoch", "seconds"), [(0, 60), (1, 50), (2, 30), (4, 0)])
def test_what_was_trained_past_a_rung(epoch: int, seconds: float) -> None:
    entries = [
        entry(rung_epoch=1, busy_seconds=10),
        entry(rung_epoch=2, busy_seconds=20),
        entry(rung_epoch=4, busy_seconds=30),
    ]
    assert busy_after(entries, epoch) == seconds


def test_what_is_written_is_there_again_and_a_slice_told_twice_counts_once(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    ledger = Ledger(journal)
    for one in (entry(), entry(started=10), entry(), entry(1)):
        ledger.append(one)
    assert read_ledger(journal) == [entry(), entry(started=10), entry(1)]
    assert journal.read(LEDGER)[0]["entry"].keys() == FIELDS
    assert list(ledger.of(("train", 0, None))) == [entry(), entry(started=10)]
    assert list(ledger.of(("confirm", 0, 8))) == []


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"trial": 1}, "ledger entry 2 is invalid (LedgerEntry.__init__() missing "),
        ("text", "ledger entry 2 is invalid ("),
        (
            {**dataclasses.asdict(entry()), "waiting_seconds": 1.0, "redone_seconds": 2.0},
            "ledger entry 2 has fields that this release does not know: "
            "redone_seconds, waiting_seconds. "
            "Read this sweep with the release that wrote it",
        ),
    ],
    ids=["too little", "no record", "of another release"],
)
def test_a_record_that_would_be_counted_wrongly_is_refused(
    record: object, said: str, tmp_path: Path
) -> None:
    journal = journal_in(tmp_path)
    Ledger(journal).append(entry())
    journal.append([{"kind": LEDGER, "entry": record}])
    with pytest.raises(UserError) as refused:
        read_ledger(journal)
    assert str(refused.value).startswith(f"{journal.uri}: {said}")


def test_an_empty_journal_has_no_entries(tmp_path: Path) -> None:
    assert read_ledger(JournalReader(LocalStore(tmp_path))) == []


def test_where_the_storage_is_away_an_entry_counts_and_comes_with_the_next(tmp_path: Path) -> None:
    class Away(LocalStore):
        is_away = False

        def write(self, *arguments: Any, **options: Any) -> ObjectInfo:
            if self.is_away:
                raise StoreUnavailable("the storage is away")
            return super().write(*arguments, **options)

    store = Away(tmp_path)
    ledger = Ledger(JournalWriter(store, epoch=1, holder="a test"))
    store.is_away = True
    with pytest.raises(StoreUnavailable):
        ledger.append(entry(busy_seconds=10))
    assert ledger.totals().busy_seconds == 10
    store.is_away = False
    ledger.append(entry(1, busy_seconds=5))
    read = read_ledger(JournalReader(LocalStore(tmp_path)))
    assert read == [entry(busy_seconds=10), entry(1, busy_seconds=5)]


def test_kill_9_of_the_writer_three_times_loses_nothing_it_had_said_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    said = 0
    for _ in range(3):
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert writer.stdout is not None
        for line in writer.stdout:
            said = int(line)
            if said % 20 == 0:
                writer.send_signal(signal.SIGKILL)
                break
        writer.wait()
        entries = read_ledger(JournalReader(LocalStore(tmp_path)))
        assert len(entries) >= said
        assert [one.started for one in entries] == [
            10.0 * number for number in range(len(entries))
        ], "each slice once, in order"
        assert total(entries).busy_seconds == 10.0 * len(entries)
        said = len(entries)
        time.sleep(0)
