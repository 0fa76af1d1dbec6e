"""The comparison that ``prp reproduce`` prints: a table of metrics, and whether they agree."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from orchestrator.commands.common_arguments import print_json
from orchestrator.config.run_config import RunConfig
from orchestrator.tracking.reading import RunFacts, read_history
from orchestrator.trial.reproduce_run import Repeated
from orchestrator.trial.reproduction import (
    NOT_COMPARED,
    Point,
    agrees,
    compare,
    reasons_to_differ,
    table_rows,
)


def print_comparison(
    tracking_uri: str,
    recorded: RunFacts,
    config: RunConfig,
    again: Repeated,
    differences: Sequence[str],
    *,
    strict: bool,
    as_json: bool = False,
) -> int:
    """Print the table, and whether the figures agree (or both `as_json`); the exit code."""
    names = [name for name in recorded.metrics if not name.startswith(NOT_COMPARED)]
    histories = {name: read_history(tracking_uri, recorded.run_id, name) for name in names}
    last_step = max(histories["epoch"])
    reasons = reasons_to_differ(recorded, config, differences)
    points = compare(histories, again.values, last_step)
    if as_json:
        does = agrees(points, reasons=reasons, strict=strict)
        print_json(
            {
                "run": recorded.run_id,
                "agrees": does,
                "points": points,
                "reasons": list(reasons),
                "failure": again.failure,
            }
        )
        return 0 if does else 1
    print_table(points, reasons, strict=strict)
    if again.failure:
        print(f"training again ended with: {again.failure}")
    if agrees(points, reasons=reasons, strict=strict):
        exact = all(point.agreement == "exact" for point in points)
        print(
            f"agrees: {len(points)} metrics, "
            + ("every value equal" if exact else f"not all equal, because: {'; '.join(reasons)}")
        )
        return 0
    wrong = [point.metric for point in points if point.agreement != "exact"]
    print(
        f"does not agree: {len(wrong)} of {len(points)} metrics"
        + (f" ({'; '.join(reasons)})" if reasons else "")
    )
    return 1


def print_table(points: Sequence[Point], reasons: Sequence[str], *, strict: bool) -> None:
    """metric, points, recorded, now, agree."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("metric", "points", "recorded", "now", "agree"):
        table.add_column(
            name, justify="left" if name in ("metric", "agree") else "right", no_wrap=True
        )
    for row in table_rows(points, reasons=reasons, strict=strict):
        table.add_row(*row)
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160).print(table)
