"""The cost breakdown: hours by activity, what of them was lost, and the cost of a point."""

from __future__ import annotations

from orchestrator.report import spending
from orchestrator.report.content import Row
from tests.small_sweep import LEDGER, UNTRAINED, entry, record, trial


def test_where_the_hours_went_adds_up() -> None:
    *rows, everything = spending.spendings(LEDGER)
    assert [(row.activity, row.num_runs, row.held, row.usd) for row in rows] == [
        ("training to epoch 3", 2, 3.0, 9.0),
        ("training from epoch 3 to 6", 1, 0.5, 1.5),
        ("asynchronous rung evaluation", 1, 0.5, 2.0),
        ("confirmation with new seeds", 2, 1.0, 3.0),
    ]
    first, second = rows[:2]
    assert (first.data_wait, first.recomputed, first.after_pruning, first.queued) == (
        0.2,
        0.25,
        0.0,
        0.5,
    )
    assert second.after_pruning == 0.125
    assert (everything.activity, everything.held, everything.usd) == (
        "total",
        sum(row.held for row in rows),
        15.5,
    )
    assert (
        spending.spendings(()) == [] == spending.spendings((entry(0, queued_seconds=9.0, cpus=1),))
    )


def test_the_table_of_hours_says_what_was_lost() -> None:
    table = spending.spending_table(spending.spendings(LEDGER), (1, "GPU h"))
    assert table.head == (
        *("activity", "runs", "GPU h", "$", "share"),
        *("waiting for data", "recomputed steps", "after pruning", "queued"),
    )
    assert table.rows[0] == Row(
        ("training to epoch 3", "2", "3", "9.00", "60%", "7%", "8%", "", "0.5")
    )
    assert table.rows[-1].emphasis == "best"
    assert table.rows[-1].cells[:5] == ("total", "5", "5", "15.50", "100%")
    unpriced = spending.spending_table(
        spending.spendings((entry(0, cpus=1, busy_seconds=60, price=""),)), (60, "CPU min")
    )
    assert unpriced.head[2:4] == ("CPU min", "share")
    assert unpriced.rows[0].cells[2:4] == ("1", "100%")


def test_what_a_point_of_recall_cost() -> None:
    best = trial(0, "1-2", 0.5)
    assert spending.cost_per_point(record(best, baselines=UNTRAINED, ledger=LEDGER)) == (
        "0.25 GPU h, $0.78 (for 20.0 points of recall@1 above random initialisation)"
    )
    assert "not above random initialisation" in spending.cost_per_point(
        record(trial(0, "1-2", 0.3), baselines=UNTRAINED, ledger=LEDGER)
    )
    assert (
        spending.cost_per_point(record(best, ledger=LEDGER))
        == ""
        == spending.cost_per_point(record(best, baselines=UNTRAINED))
    )
