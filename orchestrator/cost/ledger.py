"""The cost ledger of a sweep: what each run held, for how long, and what of it was wasted.

The ledger is the records of kind ``ledger`` in the sweep's journal, in the storage before `append`
returns. An entry (`LedgerEntry`) is a slice of time of one run, and no two slices of a run overlap,
so adding them up never counts anything twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.object_journal import JournalReader
from prp_core.errors import UserError

HOUR = 3600.0
LEDGER = "ledger"  # the kind of its records in the journal
TRAIN = "train"
EVALUATION = "evaluation"
WASTED = ("data_wait_seconds", "recomputed_seconds", "after_pruning_seconds")

Owner = tuple[str, int, int | None]
"""Whose slice it is: kind, number of the trial, seed of a confirming run."""


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One entry of the ledger; times are seconds since 1970 by the coordinator's clock."""

    trial: int
    """The number of the trial."""
    rung_epoch: int
    """The epoch of the rung that the run was on the way to; 0: none."""
    attempt: int
    """Which start of the run's workers, from 1."""
    started: float
    ended: float
    gpus: float
    """What the workers held together, as `cpus`."""
    cpus: float
    busy_seconds: float = 0.0
    """Held by workers: what is paid for."""
    queued_seconds: float = 0.0
    """Between the request for resources and the workers' first message; not paid for."""
    data_wait_seconds: float = 0.0
    """Of the busy ones: waiting for videos."""
    recomputed_seconds: float = 0.0
    """Of the busy ones: steps that a killed worker had trained before, to the grain of
    ``training.log_every_steps``."""
    after_pruning_seconds: float = 0.0
    """Of the busy ones: past the rung at which the trial was pruned, before it heard of it."""
    usd: float = 0.0
    """By the price that `price` names; 0 with an empty `price` means unknown, not free."""
    price: str = ""
    kind: str = TRAIN
    """``train``, or what comes beside the search: ``evaluation``, ``baseline``, ``export``,
    ``recognition``, ``time_panel``, ``confirm``, ``test``, ``showcase``."""
    seed: int | None = None
    """Of a confirming run."""

    @property
    def owner(self) -> Owner:
        """Whose slice it is."""
        return self.kind, self.trial, self.seed


FIELDS = frozenset(field.name for field in dataclasses.fields(LedgerEntry))


@dataclass(frozen=True)
class Totals:
    """Sums over entries: hours of single GPUs and CPUs, seconds of runs, as in `LedgerEntry`.

    `is_priced`: every busy entry had a price.
    """

    gpu_hours: float = 0.0
    cpu_hours: float = 0.0
    usd: float = 0.0
    busy_seconds: float = 0.0
    queued_seconds: float = 0.0
    data_wait_seconds: float = 0.0
    recomputed_seconds: float = 0.0
    after_pruning_seconds: float = 0.0
    is_priced: bool = True

    @property
    def wasted_share(self) -> float:
        """The part of the paid time, 0 to 1, that taught nothing: waiting for videos, recomputed
        steps, training after pruning.
        """
        wasted = sum(getattr(self, name) for name in WASTED)
        return min(1.0, wasted / self.busy_seconds) if self.busy_seconds else 0.0

    def metrics(self) -> dict[str, float]:
        """As MLflow's metrics; dollars only where they are known."""
        costs = {"cost/gpu_hours": self.gpu_hours, "cost/cpu_hours": self.cpu_hours}
        if self.is_priced and self.usd:
            costs["cost/usd"] = self.usd
        seconds = ("queued_seconds", *WASTED)
        return {
            **costs,
            **{f"waste/{name}": getattr(self, name) for name in seconds},
            "waste/share": self.wasted_share,
        }


class RunningTotals:
    """`Totals` that grow entry by entry, so that reading them costs the same however many."""

    def __init__(self) -> None:
        self._gpu_seconds = 0.0
        self._cpu_seconds = 0.0
        self._sums = dict.fromkeys(("usd", "busy_seconds", *WASTED, "queued_seconds"), 0.0)
        self._is_priced = True

    def add(self, entry: LedgerEntry) -> None:
        """Count `entry`."""
        self._gpu_seconds += entry.gpus * entry.busy_seconds
        self._cpu_seconds += entry.cpus * entry.busy_seconds
        for name in self._sums:
            self._sums[name] += getattr(entry, name)
        self._is_priced = self._is_priced and (bool(entry.price) or not entry.busy_seconds)

    @property
    def totals(self) -> Totals:
        """The sums so far."""
        return Totals(
            gpu_hours=self._gpu_seconds / HOUR,
            cpu_hours=self._cpu_seconds / HOUR,
            is_priced=self._is_priced,
            **self._sums,
        )


def total(
    entries: Iterable[LedgerEntry], keep: Callable[[LedgerEntry], bool] = lambda entry: True
) -> Totals:
    """The sums of the entries that `keep` takes."""
    sums = RunningTotals()
    for entry in entries:
        if keep(entry):
            sums.add(entry)
    return sums.totals


def is_of_search(entry: LedgerEntry) -> bool:
    """Whether the search spent it on its trial; not a baseline, a confirming run or a showcase."""
    return entry.kind in (TRAIN, EVALUATION)


def total_of_trial(entries: Iterable[LedgerEntry], number: int) -> Totals:
    """What the search spent on trial `number`: training and evaluation, not what confirmed it
    later.
    """
    return total(entries, lambda entry: entry.trial == number and is_of_search(entry))


def busy_after(entries: Iterable[LedgerEntry], epoch: int) -> float:
    """Seconds that a trial, whose training's `entries` these are, trained past the rung after
    `epoch` epochs.
    """
    return sum(entry.busy_seconds for entry in entries if entry.rung_epoch > epoch)


class Ledger:
    """The entries in a journal, and their sums; one writer at a time (the sweep's coordinator)."""

    def __init__(self, journal: JournalWriter) -> None:
        """Read the entries that `journal` holds. Raises as `read_ledger`."""
        self._journal = journal
        self._slices: set[tuple[Owner, float, float]] = set()
        self._by_owner: dict[Owner, list[LedgerEntry]] = {}
        self._of_all = RunningTotals()
        self._of_trial: dict[int, RunningTotals] = {}
        for entry in read_ledger(journal):
            self._count(entry)

    def __len__(self) -> int:
        return len(self._slices)

    def append(self, entry: LedgerEntry) -> None:
        """Write `entry`; it is in the storage when this returns, unless a batch of the journal is
        open. A slice that is there already is not written again.

        Raises what `JournalWriter.append` does; where it is not known whether the entry is in the
        storage, it is counted, because the journal's next write makes up for it.
        """
        if (entry.owner, entry.started, entry.ended) in self._slices:
            return
        self._count(entry)
        self._journal.append([{"kind": LEDGER, "entry": dataclasses.asdict(entry)}])

    def of(self, owner: Owner) -> Sequence[LedgerEntry]:
        """The entries of `owner`, oldest first."""
        return self._by_owner.get(owner, ())

    def totals(self) -> Totals:
        """The sums of the whole sweep."""
        return self._of_all.totals

    def totals_of_trial(self, number: int) -> Totals:
        """As the function `total_of_trial`."""
        sums = self._of_trial.get(number)
        return sums.totals if sums else Totals()

    def _count(self, entry: LedgerEntry) -> None:
        self._slices.add((entry.owner, entry.started, entry.ended))
        self._by_owner.setdefault(entry.owner, []).append(entry)
        self._of_all.add(entry)
        if is_of_search(entry):
            self._of_trial.setdefault(entry.trial, RunningTotals()).add(entry)


def read_ledger(journal: JournalReader) -> list[LedgerEntry]:
    """The entries that `journal` holds.

    Raises `UserError` for a record that is no entry, or has a field of another release: sums
    without it would be wrong in silence.
    """
    entries = []
    for number, record in enumerate(journal.read(LEDGER), start=1):
        try:
            fields = dict[str, Any](record["entry"])
            unknown = sorted(fields.keys() - FIELDS)
            entry = LedgerEntry(**{name: fields[name] for name in fields.keys() & FIELDS})
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{journal.uri}: ledger entry {number} is invalid ({error}): {str(record)[:80]}"
            ) from None
        if unknown:
            raise UserError(
                f"{journal.uri}: ledger entry {number} has fields that this release does not know: "
                f"{', '.join(unknown)}. Read this sweep with the release that wrote it"
            )
        entries.append(entry)
    return entries
