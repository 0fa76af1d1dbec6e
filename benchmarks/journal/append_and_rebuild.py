"""What an append to a sweep's journal costs, and rebuilding an Optuna study from its objects.

    python -m benchmarks.journal.append_and_rebuild [--records 2000 100000] [--stores folder s3]

A trial is an ask (the trial, eight values and a note: one entry of ten records), three rungs (a
score and a pruning decision: an entry of two) and an end with its ledger entry (three records): 19
records in five entries. The study is real (`RandomSampler`), and so is the S3 server (Ceph's
gateway on loopback, `tests/tools/rgw.sh`). Merging runs in the background, as in a sweep.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import optuna

from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.object_journal import JournalReader
from orchestrator.search.journal_backend import open_study_storage
from orchestrator.storage.open_store import open_store
from prp_core.data.object_store import ObjectInfo, ObjectStore
from tests.fixtures_s3 import running_server

RECORDS_PER_TRIAL = 19
NUM_VALUES = 8


@dataclass
class CountingStore:
    """`inner`, and how many requests of each verb were made."""

    inner: ObjectStore
    counts: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def uri(self) -> str:
        return self.inner.uri

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        self._count("list")
        for number, info in enumerate(self.inner.list(prefix, after=after)):
            if number and number % 1000 == 0:  # as many as a page of S3 has
                self._count("list")
            yield info

    def read(
        self, key: str, *, start: int = 0, num_bytes: int | None = None, etag: str | None = None
    ) -> Iterator[bytes]:
        self._count("read")
        return self.inner.read(key, start=start, num_bytes=num_bytes, etag=etag)

    def write(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        self._count("write")
        return self.inner.write(key, data, if_absent=if_absent, if_match=if_match)

    def delete(self, key: str) -> None:
        self._count("delete")
        self.inner.delete(key)

    def take(self) -> str:
        """What was counted since the last call, in words."""
        with self._lock:
            counts = self.counts
            self.counts = {}
        words = ", ".join(f"{count} {verb}" for verb, count in sorted(counts.items()))
        return f"{sum(counts.values())} requests ({words})"

    def _count(self, verb: str) -> None:
        with self._lock:
            self.counts[verb] = self.counts.get(verb, 0) + 1


class TimedWriter(JournalWriter):
    """A writer that notes how long each entry took to be in the store."""

    seconds: list[float]

    def flush(self) -> None:
        started = time.perf_counter()
        super().flush()
        self.seconds.append(time.perf_counter() - started)


def main() -> None:
    """Print a paragraph for each store and number of records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, nargs="+", default=[2_000, 100_000])
    parser.add_argument("--stores", nargs="+", default=["folder", "s3"], choices=["folder", "s3"])
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in arguments.stores:
        with store_of(name) as uri:
            for num_records in arguments.records:
                store = CountingStore(open_store(f"{uri}/sweeps/of-{num_records}"))
                print(f"{name}, {num_records} records")
                write(store, num_records)
                rebuild(store)


@contextlib.contextmanager
def store_of(name: str) -> Iterator[str]:
    """The URI of an empty store."""
    if name == "folder":
        with tempfile.TemporaryDirectory() as folder:
            yield folder
        return
    with running_server() as server:
        os.environ.update(server.environment)
        yield f"s3://{server.make_bucket()}"


def write(store: CountingStore, num_records: int) -> None:
    """Run a study of so many records, and print what an append cost."""
    journal = TimedWriter(store, epoch=1, holder="benchmark")
    journal.seconds = []
    cpu = time.process_time()
    study = optuna.create_study(
        storage=open_study_storage(journal),
        study_name="sweep",
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
        load_if_exists=True,
    )
    for number in range(num_records // RECORDS_PER_TRIAL):
        with journal.batch():
            trial = study.ask()
            for value in range(NUM_VALUES):
                trial.suggest_float(f"value_{value}", 1e-3, 10.0, log=True)
            trial.set_user_attr("values", "{}")
        for epoch in (10, 30, 90):
            with journal.batch():
                trial.report(number / (epoch + 1), epoch)
                trial.set_user_attr(f"decision/{epoch}", '{"go_on": true, "reason": ""}')
        with journal.batch():
            journal.append([{"kind": "ledger", "trial": number, "seconds": 0.1, "gpus": 1}] * 2)
            study.tell(trial, number / 100)
    cpu = time.process_time() - cpu
    journal.close()
    quantiles = statistics.quantiles(journal.seconds, n=100)
    print(
        f"  append: median {quantiles[49] * 1e3:.2f} ms, 99 of 100 within "
        f"{quantiles[98] * 1e3:.1f} ms, longest {max(journal.seconds) * 1e3:.0f} ms; with Optuna "
        f"{cpu / journal.num_entries * 1e3:.2f} ms of CPU; {journal.num_entries} entries, "
        f"{store.take()}"
    )


def rebuild(store: CountingStore) -> None:
    """Read the journal and replay the study, and print what that cost."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    reader = JournalReader(store)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(f"  rebuild: {store.take()}, {seconds:.2f} s, {cpu:.2f} s of CPU")
    started = time.perf_counter()
    study = optuna.load_study(storage=open_study_storage(reader), study_name="sweep")
    num_trials = len(study.get_trials(deepcopy=False))
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        f"  Optuna's replay of {reader.num_records('study')} records, {num_trials} trials: "
        f"{time.perf_counter() - started:.2f} s; peak memory {more / 1024:.0f} MB more"
    )
    reader.refresh()
    print(f"  a look at a journal with nothing new: {store.take()}")


if __name__ == "__main__":
    main()
