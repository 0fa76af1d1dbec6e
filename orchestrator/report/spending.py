"""Where a sweep's hours went: for what, on the way to which rung, and how much of it taught
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.cost.ledger import EVALUATION, HOUR, TRAIN, LedgerEntry
from orchestrator.report.formatting import metric_title, readable_unit
from orchestrator.report.record import BASELINE_PREFIX, SweepRecord

# What came beside the trials, in the order in which a sweep does it.
BESIDE = {
    EVALUATION: "evaluating rungs beside training",
    "confirm": "confirming with new seeds",
    "baseline": "baselines",
    "recognition": "fine-tuning for recognition",
    "test": "the test part",
    "showcase": "showcases",
}
HEAD = (
    "what for",
    "runs",
    "",
    "of all",
    "waiting for videos",
    "steps done twice",
    "after its verdict",
    "waiting for a place",
)


@dataclass(frozen=True)
class Spending:
    """What `num_runs` runs held, in hours of a GPU (of a CPU where nothing has one); `usd` None: no
    price is known for all of it.

    A run that did nothing there but learn that it was over is not counted. Of `held`, `data_wait`
    waited for videos, `redone` repeated steps after a loss, and `late` came after the rung whose
    verdict ended the trial. `pending` held nothing and is not part of it: hours of waiting for a
    place.
    """

    what: str
    num_runs: int
    held: float
    usd: float | None
    data_wait: float
    redone: float
    late: float
    pending: float


def is_on_gpu(entries: Iterable[LedgerEntry]) -> bool:
    """Whether hours are counted of GPUs."""
    return any(entry.gpus > 0 for entry in entries)


def spendings(ledger: Sequence[LedgerEntry]) -> list[Spending]:
    """Training, rung by rung, then what came beside it; the last one is all of it. Empty where
    nothing was held yet.
    """
    on_gpu = is_on_gpu(ledger)
    rungs = sorted({entry.rung_epoch for entry in ledger if entry.kind == TRAIN})
    rows = []
    for place, epoch in enumerate(rungs):
        what = (
            f"training from epoch {rungs[place - 1]} to {epoch}"
            if place
            else f"training to epoch {epoch}"
        )
        rows.append(
            _sum(
                what,
                [entry for entry in ledger if entry.kind == TRAIN and entry.rung_epoch == epoch],
                on_gpu,
            )
        )
    kinds = [kind for kind in BESIDE if any(entry.kind == kind for entry in ledger)]
    rows += [
        _sum(BESIDE[kind], [entry for entry in ledger if entry.kind == kind], on_gpu)
        for kind in kinds
    ]
    everything = _sum("all of it", ledger, on_gpu)
    return [*rows, everything] if everything.held else []


def _sum(what: str, entries: Sequence[LedgerEntry], on_gpu: bool) -> Spending:
    def hours(name: str) -> float:
        return (
            sum(
                (entry.gpus if on_gpu else entry.cpus) * getattr(entry, f"{name}_seconds")
                for entry in entries
            )
            / HOUR
        )

    is_priced = all(entry.price for entry in entries if entry.busy_seconds)
    usd = sum(entry.usd for entry in entries) if is_priced else None
    used: dict[tuple[str, int, int | None], float] = {}
    for entry in entries:
        used[entry.owner] = used.get(entry.owner, 0.0) + entry.busy_seconds - entry.late_seconds
    num_runs = sum(seconds > 1e-3 for seconds in used.values())
    return Spending(
        what,
        num_runs,
        hours("busy"),
        usd,
        hours("data_wait"),
        hours("redone"),
        hours("late"),
        hours("pending"),
    )


def table_of(
    rows: Sequence[Spending], on_gpu: bool
) -> tuple[tuple[str, ...], list[tuple[str, tuple[str, ...]]]]:
    """(head, rows) as `markup.table` takes them, the last row in bold; a unit is chosen in which
    the sum is a number of a few digits.
    """
    factor, unit = readable_unit("GPU h" if on_gpu else "CPU h", rows[-1].held)
    with_money = any(row.usd for row in rows)
    head = (*HEAD[:2], unit, *(["$"] if with_money else []), *HEAD[3:])
    lines = []
    for row in rows:
        money = ["" if row.usd is None else f"{row.usd:.2f}"] if with_money else []
        lost = [
            f"{part / row.held:.0%}" if row.held and part else ""
            for part in (row.data_wait, row.redone, row.late)
        ]
        pending = f"{row.pending * factor:.3g}" if row.pending else ""
        cells = (
            row.what,
            str(row.num_runs),
            f"{row.held * factor:.3g}",
            *money,
            f"{row.held / rows[-1].held:.0%}",
            *lost,
            pending,
        )
        lines.append(("best" if row is rows[-1] else "", cells))
    return head, lines


def price_of_a_point(record: SweepRecord) -> str:
    """What the whole sweep paid for a point (0.01) of the objective above random initialisation;
    empty where that is not known.
    """
    untrained = record.baselines.get(f"{BASELINE_PREFIX}random_init/{record.objective}")
    rows = spendings(record.ledger or ())
    if record.best is None or untrained is None or not rows:
        return ""
    points = 100 * (record.best.objective - untrained)
    held = rows[-1].held
    if points <= 0:
        return f"none: the best trial is not above random initialisation ({untrained:.3f})"
    factor, unit = readable_unit("GPU h" if is_on_gpu(record.ledger or ()) else "CPU h", held)
    money = "" if rows[-1].usd is None or not rows[-1].usd else f", ${rows[-1].usd / points:.2f}"
    return (
        f"{held * factor / points:.3g} {unit}{money} (for {points:.1f} points of "
        f"{metric_title(record.objective)} above random initialisation)"
    )
