"""The cost ledger of a sweep: what each run held, for how long, and what of it was wasted.

``<state dir>/ledger.jsonl`` is append-only, one JSON object a line, on the disk before `append`
returns; a last line that a crash tore is passed over. An entry (`LedgerEntry`) is a slice of time
of one run, and no two slices of a run overlap, so adding lines up never counts anything twice.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prp_core.errors import UserError

HOUR = 3600.0
TRAIN = "train"
EVALUATION = "evaluation"
WASTED = ("data_wait_seconds", "recomputed_seconds", "after_pruning_seconds")

Owner = tuple[str, int, int | None]
"""Whose slice it is: kind, number of the trial, seed of a confirming run."""


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One line of the ledger; times are seconds since 1970 by the coordinator's clock."""

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
    ``recognition``, ``confirm``, ``test``, ``showcase``."""
    seed: int | None = None
    """Of a confirming run."""

    @property
    def owner(self) -> Owner:
        """Whose slice it is."""
        return self.kind, self.trial, self.seed


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
    """The file, its entries, and their sums; one writer at a time (the sweep's coordinator)."""

    def __init__(self, path: Path) -> None:
        """Read the ledger at `path`, if there is one. Raises as `read_ledger`."""
        self._path = path
        self._slices: set[tuple[Owner, float, float]] = set()
        self._by_owner: dict[Owner, list[LedgerEntry]] = {}
        self._of_all = RunningTotals()
        self._of_trial: dict[int, RunningTotals] = {}
        for entry in read_ledger(path):
            self._count(entry)
        _mend(path)

    def __len__(self) -> int:
        return len(self._slices)

    def append(self, entry: LedgerEntry) -> None:
        """Write `entry`; it is on the disk when this returns. A slice that is there already is not
        written again.
        """
        if (entry.owner, entry.started, entry.ended) in self._slices:
            return
        with self._path.open("ab") as file:
            file.write(json.dumps(dataclasses.asdict(entry)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._count(entry)

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


def read_ledger(path: Path) -> list[LedgerEntry]:
    """The entries of the ledger at `path`; none where there is no file.

    A torn last line is left out, and so are fields of later versions. Raises `UserError` for a line
    that is damaged in the middle of the file: sums would be wrong in silence.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline was never finished
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(_entry(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{path}, line {number} is no ledger entry ({error}): {line[:80]!r}; "
                "remove the line to go on without it"
            ) from None
    return entries


def _entry(fields: dict[str, Any]) -> LedgerEntry:
    known = {entry.name for entry in dataclasses.fields(LedgerEntry)}
    return LedgerEntry(**{name: value for name, value in fields.items() if name in known})


def _mend(path: Path) -> None:
    """Cut a torn last line off, so that the next one starts a line of its own."""
    if path.is_file():
        whole = path.read_bytes().rfind(b"\n") + 1
        if whole < path.stat().st_size:
            with path.open("r+b") as file:
                file.truncate(whole)
                os.fsync(file.fileno())
