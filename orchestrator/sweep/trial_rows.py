"""The trials of a sweep as rows of the live screen, and as lines of a log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from orchestrator.report.formatting import metric_title, short_name
from orchestrator.sweep.fitting_table import Column, fitted_table
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState
from prp_core.evaluation.sentinels import alarms

STATE_STYLES = {
    TrialState.RUNNING: "cyan",
    TrialState.WAITING: "dim",
    TrialState.FINISHED: "green",
    TrialState.PRUNED: "yellow",
    TrialState.FAILED: "red",
}
ROW_ORDER = list(STATE_STYLES)
FIRST_VALUES = ("pretext.playback_rate.rates", "clip.length")  # which a screen of 80 shows
RANK_OF_RUNGS = 20
RANK_OF_OTHERS = 10


def is_starting(view: TrialView) -> bool:
    """Whether a trial is handed out and its workers have reported nothing yet."""
    return view.state == TrialState.RUNNING and view.step == 0 and view.epoch == 0


def state_words(view: TrialView, now: float) -> str:
    """``running``, or ``starting workers (37 s)``; `now` is in seconds since 1970."""
    if not is_starting(view):
        return str(view.state)
    seconds = max(0, round(now - view.started)) if view.started else 0
    return f"starting workers ({minutes(seconds) if seconds >= 100 else f'{seconds} s'})"


def trial_table(
    views: Sequence[TrialView], objective: str, *, width: int, max_rows: int, now: float
) -> list[RenderableType]:
    """Trials as rows within `width`: what runs first, then the best of those that ended; of more
    than `max_rows` the rest is counted.
    """
    ranked = sorted(views, key=_row_order)
    rows = ranked[:max_rows]
    columns = [
        Column(title="trial", cells=[str(view.number) for view in rows], rank=0, is_number=True),
        Column(title="state", cells=[state_words(view, now) for view in rows], rank=1),
        Column(
            title="epoch",
            cells=["" if is_starting(view) else f"{view.epoch}/{view.num_epochs}" for view in rows],
            rank=2,
            is_number=True,
        ),
        Column(
            title=metric_title(objective),
            cells=["" if math.isnan(view.objective) else f"{view.objective:.3f}" for view in rows],
            rank=3,
            is_number=True,
        ),
        *value_columns(views, rows),
        Column(
            title="rungs",
            cells=[
                " ".join(f"{epoch}:{value:.3f}" for epoch, value in sorted(view.rungs.items()))
                for view in rows
            ],
            rank=RANK_OF_RUNGS,
        ),
    ]
    styles = [STATE_STYLES.get(view.state, "") for view in rows]
    found = fitted_table(columns, width, styles)
    if more := ranked[max_rows:]:
        found.insert(1, Text(f"+{len(more)} more: {counts_of(more)}", style="dim"))
    return found


def value_columns(views: Sequence[TrialView], rows: Sequence[TrialView]) -> list[Column]:
    """A column for each value that any of `views` sampled, with the cells of `rows`; rates and
    length go before the others.
    """
    names = value_names(views)
    first = [name for name in FIRST_VALUES if name in names]
    ordered = [*first, *(name for name in names if name not in first)]
    return [
        Column(
            title=short_name(name),
            cells=[short(view.values[name]) if name in view.values else "-" for view in rows],
            rank=4 + place if name in first else RANK_OF_OTHERS + place,
        )
        for place, name in enumerate(ordered)
    ]


def counts_of(views: Sequence[TrialView]) -> str:
    """``2 running, 1 finished``, in the order of `STATE_STYLES`."""
    counts = {state: sum(view.state == state for view in views) for state in STATE_STYLES}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def event_line(view: TrialView, objective: str) -> str:
    """One line for a log: what happened to a trial."""
    values = ", ".join(
        f"{name.rsplit('.', 1)[-1]} {short(value)}" for name, value in view.values.items()
    )
    state = "starts its workers" if is_starting(view) else f"{view.state} at epoch {_epoch(view)}"
    score = "" if math.isnan(view.objective) else f", {objective} {view.objective:.3f}"
    reason = f" ({view.reason})" if view.reason else ""
    rings = alarms(view.metrics) if view.state.is_over else []
    alarm = "".join(f"; ALARM: {one}" for one in rings)
    return f"trial {view.number} {state}{score}{reason} [{values}]{alarm}"


def value_names(views: Sequence[TrialView]) -> list[str]:
    """The dotted paths that any of `views` sampled, in the order of their first appearance."""
    return list(dict.fromkeys(name for view in views for name in view.values))


def short(value: Any) -> str:
    """A sampled value in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def minutes(seconds: float) -> str:
    """``4m10s``, ``2h05m``."""
    whole = max(0, round(seconds))
    return (
        f"{whole // 3600}h{whole % 3600 // 60:02d}m"
        if whole >= 3600
        else f"{whole // 60}m{whole % 60:02d}s"
    )


def _epoch(view: TrialView) -> str:
    return f"{view.epoch}/{view.num_epochs}"


def _row_order(view: TrialView) -> tuple[int, float]:
    order = ROW_ORDER.index(view.state) if view.state in ROW_ORDER else len(ROW_ORDER)
    return order, -math.inf if math.isnan(view.objective) else -view.objective
