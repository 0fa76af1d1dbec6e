"""The live screen of a sweep: a table on a terminal, a line for each event in a log."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.data.health_line import advice_line, health_line
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState

STATE_STYLES = {
    TrialState.RUNNING: "cyan",
    TrialState.WAITING: "dim",
    TrialState.FINISHED: "green",
    TrialState.PRUNED: "yellow",
    TrialState.FAILED: "red",
}
MAX_ROWS = 16


class Progress:
    """The screen of a sweep, polled on a thread of its own while the context is open."""

    def __init__(
        self,
        get_views: Callable[[], Sequence[TrialView]],
        *,
        title: str,
        num_trials: int,
        objective: str,
        clock: Callable[[], float],
        get_cost: Callable[[], str] | None = None,
    ):
        """Show what `get_views` returns, and what `get_cost` says of the spending so far.

        `clock` is in seconds; `num_trials` is how many there will be, `objective` their metric.
        """
        self._get_cost = get_cost
        self._get_views = get_views
        self._title = title
        self._num_trials = num_trials
        self._objective = objective
        self._clock = clock
        self._console = Console(file=sys.stdout)
        self._started = clock()
        self._cost = ""
        self._said: dict[int, tuple[str, int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        if not self._console.is_terminal:
            while not self._stop.wait(1.0):
                self._say_events(self._poll())
            self._say_events(self._poll())
            return
        with Live(console=self._console, refresh_per_second=2, transient=True) as live:
            while not self._stop.wait(0.5):
                views = self._poll()
                if views is not None:
                    live.update(self.screen(views, self._cost))

    def _poll(self) -> Sequence[TrialView] | None:
        try:
            self._cost = self._get_cost() if self._get_cost else ""
            return self._get_views()
        # a screen that misses one look is no reason to end a sweep; the driver sees real failures
        # itself
        except Exception:  # noqa: BLE001
            return None

    def screen(self, views: Sequence[TrialView], cost: str = "") -> Group:
        """The whole screen for `views`; `cost` is a phrase on what was spent."""
        running = [view.metrics for view in views if view.state == TrialState.RUNNING]
        lines = [Text(health_line(running)), Text(advice_line(running), style="yellow")]
        return Group(
            Text(self._title, style="bold"),
            Text(self._headline(views, cost)),
            *filter(None, lines),
            trial_table(views, self._objective),
        )

    def _headline(self, views: Sequence[TrialView], cost: str) -> str:
        counts = {state: sum(view.state == state for view in views) for state in STATE_STYLES}
        ended = sum(view.state.is_over for view in views)
        best = max(
            (view.objective for view in views if not math.isnan(view.objective)), default=math.nan
        )
        best_text = "none yet" if math.isnan(best) else f"{best:.3f}"
        parts = [
            f"{ended} of {self._num_trials} trials ended",
            *(f"{counts[state]} {state}" for state in STATE_STYLES if counts[state]),
        ]
        parts += [
            f"best {self._objective} {best_text}",
            f"{minutes(self._clock() - self._started)} gone",
        ]
        return " · ".join(part for part in (*parts, cost, self._left(views, ended)) if part)

    def _left(self, views: Sequence[TrialView], ended: int) -> str:
        """How long the trials that are left may take; nothing where none is."""
        if ended >= self._num_trials:
            return ""
        if not ended:
            return "time left: known after the first trial"
        elapsed = self._clock() - self._started
        partly = sum(
            min(1.0, view.epoch / max(1, view.num_epochs))
            for view in views
            if view.state == TrialState.RUNNING
        )
        left = elapsed / (ended + partly) * max(0.0, self._num_trials - ended - partly)
        return f"about {minutes(left)} left"

    def _say_events(self, views: Sequence[TrialView] | None) -> None:
        for view in views or ():
            event = (view.state, len(view.rungs))
            if self._said.get(view.number) != event:
                self._said[view.number] = event
                self._console.print(
                    event_line(view, self._objective), soft_wrap=True, highlight=False, markup=False
                )


def trial_table(views: Sequence[TrialView], objective: str) -> Table:
    """Trials as rows: what runs first, then the best of those that ended."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("trial", "state", "epoch", objective, "rungs", *value_names(views)):
        table.add_column(
            name.rsplit(".", 1)[-1],
            justify="right" if name in ("trial", "epoch", objective) else "left",
        )
    for view in sorted(views, key=_row_order)[:MAX_ROWS]:
        rungs = " ".join(f"{epoch}:{value:.3f}" for epoch, value in sorted(view.rungs.items()))
        score = "" if math.isnan(view.objective) else f"{view.objective:.3f}"
        values = [short(view.values.get(name, "")) for name in value_names(views)]
        row = [
            str(view.number),
            view.state,
            f"{view.epoch}/{view.num_epochs}",
            score,
            rungs,
            *values,
        ]
        table.add_row(*row, style=STATE_STYLES.get(view.state, ""))
    return table


def event_line(view: TrialView, objective: str) -> str:
    """One line for a log: what happened to a trial."""
    values = ", ".join(
        f"{name.rsplit('.', 1)[-1]} {short(value)}" for name, value in view.values.items()
    )
    score = "" if math.isnan(view.objective) else f", {objective} {view.objective:.3f}"
    reason = f" ({view.reason})" if view.reason else ""
    return (
        f"trial {view.number} {view.state} at epoch "
        f"{view.epoch}/{view.num_epochs}{score}{reason} [{values}]"
    )


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


def _row_order(view: TrialView) -> tuple[int, float]:
    order = {
        TrialState.RUNNING: 0,
        TrialState.WAITING: 1,
        TrialState.FINISHED: 2,
        TrialState.PRUNED: 3,
        TrialState.FAILED: 4,
    }.get(view.state, 5)
    return order, -math.inf if math.isnan(view.objective) else -view.objective
