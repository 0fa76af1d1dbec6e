"""The ledger of a sweep: what each trial held, for how long, what of it was wasted, and what it
cost.

``<state dir>/ledger.jsonl`` is append-only, one JSON object a line, on the disk before `append`
returns; a last line that a crash tore is passed over. An entry is a slice of time of one trial, and
no two slices of a trial overlap, so adding lines up never counts anything twice:

| field | meaning | |---|---| | kind | ``train``, or what came beside the search: ``evaluation``,
``baseline``, ``recognition``, ``confirm``, ``test``, ``showcase`` | | trial, rung_epoch, attempt,
seed | whose; on the way to which rung (0: none); which start of its workers, from 1; of a
confirming run its seed | | started, ended | seconds since 1970, by the clock of the coordinator
| | gpus, cpus | what the workers held together | | busy_seconds | that workers held it: what is
paid for | | pending_seconds | between asking for resources and the workers' first word; nothing is
held, nothing is paid | | data_wait_seconds | of the busy ones: waiting for videos | |
redone_seconds | of the busy ones: steps that a killed worker had trained before, to the grain of
``training.log_every_steps`` | | late_seconds | of the busy ones: after the rung at which the trial
turned out to be pruned | | usd | by the price that `price` names; 0 with an empty `price` means
unknown, not free |
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prp_core.errors import UserError

HOUR = 3600.0
TRAIN = "train"
EVALUATION = "evaluation"


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One line; see the table above."""

    trial: int
    rung_epoch: int
    attempt: int
    started: float
    ended: float
    gpus: float
    cpus: float
    busy_seconds: float = 0.0
    pending_seconds: float = 0.0
    data_wait_seconds: float = 0.0
    redone_seconds: float = 0.0
    late_seconds: float = 0.0
    usd: float = 0.0
    price: str = ""
    kind: str = TRAIN
    seed: int | None = None

    @property
    def owner(self) -> tuple[str, int, int | None]:
        """Whose slice it is."""
        return self.kind, self.trial, self.seed


@dataclass(frozen=True)
class Totals:
    """Sums over entries. Hours are of single GPUs and CPUs, seconds are of trials, `is_priced`:
    every busy entry had a price.
    """

    gpu_hours: float = 0.0
    cpu_hours: float = 0.0
    usd: float = 0.0
    busy_seconds: float = 0.0
    pending_seconds: float = 0.0
    data_wait_seconds: float = 0.0
    redone_seconds: float = 0.0
    late_seconds: float = 0.0
    is_priced: bool = True

    @property
    def wasted_share(self) -> float:
        """The part of the paid time that taught nothing: waiting for videos, steps done twice,
        training after a lost verdict.
        """
        return (
            min(
                1.0,
                (self.data_wait_seconds + self.redone_seconds + self.late_seconds)
                / self.busy_seconds,
            )
            if self.busy_seconds
            else 0.0
        )

    def metrics(self) -> dict[str, float]:
        """As MLflow's metrics; dollars only where they are known."""
        costs = {"cost/gpu_hours": self.gpu_hours, "cost/cpu_hours": self.cpu_hours}
        if self.is_priced and self.usd:
            costs["cost/usd"] = self.usd
        kinds = ("pending_seconds", "data_wait_seconds", "redone_seconds", "late_seconds")
        return {
            **costs,
            **{f"waste/{kind}": getattr(self, kind) for kind in kinds},
            "waste/share": self.wasted_share,
        }


def total(
    entries: Iterable[LedgerEntry], keep: Callable[[LedgerEntry], bool] = lambda entry: True
) -> Totals:
    """The sums of the entries that `keep` takes."""
    kept = [entry for entry in entries if keep(entry)]
    return Totals(
        gpu_hours=sum(entry.gpus * entry.busy_seconds for entry in kept) / HOUR,
        cpu_hours=sum(entry.cpus * entry.busy_seconds for entry in kept) / HOUR,
        usd=sum(entry.usd for entry in kept),
        busy_seconds=sum(entry.busy_seconds for entry in kept),
        pending_seconds=sum(entry.pending_seconds for entry in kept),
        data_wait_seconds=sum(entry.data_wait_seconds for entry in kept),
        redone_seconds=sum(entry.redone_seconds for entry in kept),
        late_seconds=sum(entry.late_seconds for entry in kept),
        is_priced=all(entry.price for entry in kept if entry.busy_seconds),
    )


def total_of_trial(entries: Iterable[LedgerEntry], number: int) -> Totals:
    """What the search spent on trial `number`: training and evaluation, not what confirmed it
    later.
    """
    return total(entries, lambda entry: entry.trial == number and entry.kind in (TRAIN, EVALUATION))


def busy_after(entries: Iterable[LedgerEntry], number: int, epoch: int) -> float:
    """Seconds that trial `number` trained past the rung after `epoch` epochs."""
    return total(
        entries, lambda entry: entry.owner == (TRAIN, number, None) and entry.rung_epoch > epoch
    ).busy_seconds


class Ledger:
    """The file and its entries; one writer at a time (the sweep's coordinator)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries = read_ledger(path)
        _mend(path)

    def append(self, entry: LedgerEntry) -> None:
        """Write `entry` down; it is on the disk when this returns. A slice that is there already is
        not written again.
        """
        if any(
            other.owner == entry.owner
            and other.started == entry.started
            and other.ended == entry.ended
            for other in self.entries
        ):
            return
        with self._path.open("ab") as file:
            file.write(json.dumps(dataclasses.asdict(entry)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.entries.append(entry)

    def last_of(self, owner: tuple[str, int, int | None]) -> LedgerEntry | None:
        """The newest entry of `owner`."""
        return next((entry for entry in reversed(self.entries) if entry.owner == owner), None)


def read_ledger(path: Path) -> list[LedgerEntry]:
    """The entries of the ledger at `path`; none where there is no file. A torn last line is left
    out; fields of later versions, too.

    Raises `UserError` for a line that is damaged in the middle of the file: sums would be wrong in
    silence.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    entries = []
    for number, line in enumerate(
        lines[:-1], start=1
    ):  # what follows the last newline was never finished
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
