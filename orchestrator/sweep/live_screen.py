"""The live screen of a sweep: a table on a terminal; in a log, events and a heartbeat."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from orchestrator.data.health_line import advice_line, health_line
from orchestrator.report.formatting import metric_title
from orchestrator.sweep.quiet_watch import QuietWatch
from orchestrator.sweep.trial_rows import (
    STATE_STYLES,
    event_line,
    is_starting,
    minutes,
    trial_table,
)
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState

HEARTBEAT_SECONDS = 180.0
LINES_BESIDE = 13  # of the screen, around the table, where every line is there
FEWEST_ROWS = 4


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
        """Show what `get_views` returns, and what `get_cost` says of the spending so far. Both may
        raise; the context ends when they have returned.

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
        self._quiet = QuietWatch(clock)
        self._cost = ""
        self._said: dict[int, tuple[object, ...]] = {}
        self._beat_at = self._started
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()  # whatever it still asks for: Ray must not disconnect meanwhile

    def _run(self) -> None:
        if not self._console.is_terminal:
            while not self._stop.wait(1.0):
                self.say_events(self._poll())
            self.say_events(self._poll(), is_last=True)
            return
        with Live(console=self._console, refresh_per_second=2, transient=True) as live:
            views: Sequence[TrialView] | None = None
            while not self._stop.wait(0.5):
                polled = self._poll()
                views = polled or views
                if views is not None:
                    live.update(self.screen(views, self._cost, self._quiet.look(polled)))

    def why_quiet(self, views: Sequence[TrialView]) -> str:
        """Why `views` show nothing new for a minute; empty while they do."""
        return self._quiet.look(views)

    def _poll(self) -> Sequence[TrialView] | None:
        try:
            self._cost = self._get_cost() if self._get_cost else ""
            return self._get_views()
        # a screen that misses one look is no reason to end a sweep; the driver sees real failures
        # itself
        except Exception:  # noqa: BLE001
            return None

    def screen(
        self,
        views: Sequence[TrialView],
        cost: str = "",
        quiet: str = "",
        *,
        console: Console | None = None,
    ) -> Group:
        """The whole screen for `views`, as large as `console`; `cost` is a phrase on what was
        spent, `quiet` says why nothing changes.
        """
        size = (console or self._console).size
        running = [view.metrics for view in views if view.state == TrialState.RUNNING]
        lines = [
            Text(health_line(running)),
            Text(advice_line(running), style="yellow"),
            Text(quiet, style="yellow"),
        ]
        table = trial_table(
            views,
            self._objective,
            width=size.width,
            max_rows=max(FEWEST_ROWS, size.height - LINES_BESIDE),
            now=time.time(),
        )
        return Group(
            Text(self._title, style="bold"),
            Text(self.headline(views, cost)),
            *filter(None, lines),
            *table,
        )

    def headline(self, views: Sequence[TrialView], cost: str) -> str:
        """How far the sweep is, in one line."""
        counts = {state: sum(view.state == state for view in views) for state in STATE_STYLES}
        starting = sum(is_starting(view) for view in views)
        counts[TrialState.RUNNING] -= starting
        ended = sum(view.state.is_over for view in views)
        num_trials = max(self._num_trials, len(views))  # extensions come on top
        parts = [
            f"{ended} of {num_trials} trials ended",
            f"{starting} starting" if starting else "",
            *(f"{counts[state]} {state}" for state in STATE_STYLES if counts[state]),
            f"best {self._best(views)}",
            f"{minutes(self._clock() - self._started)} elapsed",
            cost,
            self._left(views, ended),
        ]
        return " · ".join(part for part in parts if part)

    def _best(self, views: Sequence[TrialView]) -> str:
        known = [view for view in views if not math.isnan(view.objective)]
        if not known:
            return f"{metric_title(self._objective)} none yet"
        best = max(known, key=lambda view: view.objective)
        return f"{metric_title(self._objective)} {best.objective:.3f} (trial {best.number})"

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

    def say_events(self, views: Sequence[TrialView] | None, *, is_last: bool = False) -> None:
        """Print what is new, and every few minutes where the sweep is, as lines of a log."""
        for view in views or ():
            event = (view.state, len(view.rungs), is_starting(view))
            if self._said.get(view.number) != event:
                self._said[view.number] = event
                self._say(event_line(view, self._objective))
        quiet = self._quiet.look(views)
        now = self._clock()
        if not is_last and now - self._beat_at >= HEARTBEAT_SECONDS:
            self._beat_at = now
            self._say(" · ".join(filter(None, [self._beat(views), quiet])))

    def _beat(self, views: Sequence[TrialView] | None) -> str:
        if views is None:
            return f"{self._title}: still here"
        now_running = [
            f"trial {view.number} epoch {view.epoch}/{view.num_epochs}"
            for view in views
            if view.state == TrialState.RUNNING and not is_starting(view)
        ]
        return " · ".join(filter(None, [self.headline(views, self._cost), ", ".join(now_running)]))

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)
