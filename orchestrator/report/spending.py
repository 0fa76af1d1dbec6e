"""The cost breakdown of a sweep: hours by activity and rung, and what of them was lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.cost.ledger import EVALUATION, HOUR, TRAIN, LedgerEntry
from orchestrator.report.content import Row, Table
from orchestrator.report.findings import cost_of, hours_unit
from orchestrator.report.formatting import metric_title, readable_unit
from orchestrator.report.record import BASELINE_PREFIX, SweepRecord

# The kinds of ledger entries beside training, in the order in which a sweep does them.
ACTIVITIES = {
    EVALUATION: "asynchronous rung evaluation",
    "confirm": "confirmation with new seeds",
    "baseline": "baselines",
    "export": "encoders",
    "recognition": "fine-tuning for recognition",
    "time_panel": "measuring whether retrieval needs time",
    "test": "evaluation on the test part",
    "showcase": "showcases",
}
TOTAL = "total"


@dataclass(frozen=True)
class Spending:
    """The cost of one activity, in hours of a GPU (of a CPU where no entry has a GPU).

    `num_runs` counts the runs that held something. Of `held`, `data_wait` waited for data,
    `recomputed` repeated steps after a failure, and `after_pruning` came after the rung at which
    the trial was pruned. `queued` held nothing and is no part of it. `usd` is None where not all of
    it has a price.
    """

    activity: str
    num_runs: int
    held: float
    usd: float | None
    data_wait: float
    recomputed: float
    after_pruning: float
    queued: float


def is_on_gpu(entries: Iterable[LedgerEntry]) -> bool:
    """Whether hours are GPU hours."""
    return any(entry.gpus > 0 for entry in entries)


def spendings(ledger: Sequence[LedgerEntry]) -> list[Spending]:
    """Training rung by rung, then the other activities, then the total.

    Empty where nothing was held yet.
    """
    on_gpu = is_on_gpu(ledger)
    rungs = sorted({entry.rung_epoch for entry in ledger if entry.kind == TRAIN})
    rows = []
    for previous, epoch in zip([None, *rungs], rungs, strict=False):
        entries = [entry for entry in ledger if entry.kind == TRAIN and entry.rung_epoch == epoch]
        span = f"to epoch {epoch}" if previous is None else f"from epoch {previous} to {epoch}"
        rows.append(_sum(f"training {span}", entries, on_gpu))
    for kind, activity in ACTIVITIES.items():
        entries = [entry for entry in ledger if entry.kind == kind]
        if entries:
            rows.append(_sum(activity, entries, on_gpu))
    everything = _sum(TOTAL, ledger, on_gpu)
    return [*rows, everything] if everything.held else []


def _sum(activity: str, entries: Sequence[LedgerEntry], on_gpu: bool) -> Spending:
    def hours(name: str) -> float:
        seconds = sum(
            (entry.gpus if on_gpu else entry.cpus) * getattr(entry, f"{name}_seconds")
            for entry in entries
        )
        return seconds / HOUR

    is_priced = all(entry.price for entry in entries if entry.busy_seconds)
    used: dict[tuple[str, int, int | None], float] = {}
    for entry in entries:
        used[entry.owner] = (
            used.get(entry.owner, 0.0) + entry.busy_seconds - entry.after_pruning_seconds
        )
    return Spending(
        activity=activity,
        num_runs=sum(seconds > 1e-3 for seconds in used.values()),
        held=hours("busy"),
        usd=sum(entry.usd for entry in entries) if is_priced else None,
        data_wait=hours("data_wait"),
        recomputed=hours("recomputed"),
        after_pruning=hours("after_pruning"),
        queued=hours("queued"),
    )


def time_unit(record: SweepRecord) -> tuple[float, str]:
    """(factor from hours, unit) of every cost in the report: one unit, in which the largest trial's
    cost has few digits.
    """
    on_gpu = any(trial.gpus for trial in record.trials) or is_on_gpu(record.ledger or ())
    costs = [cost_of(record, trial).amount for trial in record.trials]
    return readable_unit(hours_unit(on_gpu), max(costs, default=0.0))


def spending_table(
    rows: Sequence[Spending], unit_of_time: tuple[float, str], caption: str = ""
) -> Table:
    """The breakdown as a table, the total emphasised, in `unit_of_time`."""
    factor, unit = unit_of_time
    with_money = any(row.usd for row in rows)
    head = (
        "activity",
        "runs",
        unit,
        *(["$"] if with_money else []),
        "share",
        "waiting for data",
        "recomputed steps",
        "after pruning",
        "queued",
    )
    lines = []
    for row in rows:
        money = ["" if row.usd is None else f"{row.usd:.2f}"] if with_money else []
        lost = [
            f"{part / row.held:.0%}" if row.held and part else ""
            for part in (row.data_wait, row.recomputed, row.after_pruning)
        ]
        cells = (
            row.activity,
            str(row.num_runs),
            f"{row.held * factor:.3g}",
            *money,
            f"{row.held / rows[-1].held:.0%}",
            *lost,
            f"{row.queued * factor:.3g}" if row.queued else "",
        )
        lines.append(Row(cells, "best" if row is rows[-1] else ""))
    return Table(head=head, rows=tuple(lines), numeric=range(1, len(head)), caption=caption)


def cost_per_point(record: SweepRecord) -> str:
    """The sweep's total cost per 0.01 of the objective above random initialisation.

    Empty where that is not known.
    """
    untrained = record.baselines.get(f"{BASELINE_PREFIX}random_init/{record.objective}")
    ledger = record.ledger or ()
    rows = spendings(ledger)
    if record.best is None or untrained is None or not rows:
        return ""
    points = 100 * (record.best.objective - untrained)
    if points <= 0:
        return f"none, the best trial is not above random initialisation ({untrained:.3f})"
    held, usd = rows[-1].held, rows[-1].usd
    factor, unit = time_unit(record)
    money = f", ${usd / points:.2f}" if usd else ""
    return (
        f"{held * factor / points:.3g} {unit}{money} (for {points:.1f} points of "
        f"{metric_title(record.objective)} above random initialisation)"
    )
