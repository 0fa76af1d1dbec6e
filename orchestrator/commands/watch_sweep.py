"""What ``prp status`` shows: the list of sweeps, and the screen of one until its driver has gone.

All of it is read from the sweep's records; its driver is not asked.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.coordinator.publishing import close_dead
from orchestrator.sweep.live_screen import Progress
from orchestrator.sweep.status import (
    SweepPhase,
    SweepStatus,
    SweepWatch,
    read_status,
    summary_rows,
    views_of,
)
from orchestrator.sweep.trial_rows import event_line
from orchestrator.tracking.dead_runs import close_left_runs

REFRESH_SECONDS = 2.0
WIDTH_OF_LOG = 200


def list_sweeps(specs: Sequence[SweepSpec]) -> int:
    """Print each sweep with its phase, in the order of `specs`; the exit code.

    What died is closed in MLflow, here as by all that looks at sweeps (`close_dead`).
    """
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("sweep", "state", "trials", "best (protocol)", "cost", ""):
        table.add_column(name, overflow="fold", no_wrap=name in ("sweep", "state", "cost"))
    statuses = [read_status(spec) for spec in specs]
    _close_dead(specs, statuses)
    for row in summary_rows(statuses):
        table.add_row(*row)
    _console().print(table)
    return 0


def rows_of(specs: Sequence[SweepSpec], *, with_trials: bool) -> list[dict[str, object]]:
    """How each sweep stands, for ``--json``; with its answer and each trial where asked for."""
    statuses = [SweepWatch(spec, with_answer=with_trials).status() for spec in specs]
    _close_dead(specs, statuses)
    return [
        _row(spec, status, with_trials=with_trials)
        for spec, status in zip(specs, statuses, strict=True)
    ]


def _row(spec: SweepSpec, status: SweepStatus, *, with_trials: bool) -> dict[str, object]:
    rows: dict[str, object] = {
        "sweep": status.sweep_id,
        "phase": str(status.phase),
        "driver": status.driver,
        "num_trials": status.num_trials,
        "num_ended": status.num_ended,
        "objective": status.objective,
        "protocol": status.protocol,
        "best": status.best,
        "started": status.started,
        "cost": status.cost,
        "advice": status.advice,
        "warning": status.warning,
        "storage": spec.storage_uri,
        "tracking_uri": spec.tracking_uri,
    }
    if with_trials:
        rows["answer"] = None if status.answer is None else status.answer.text
        rows["trials"] = [
            {
                "number": trial.number,
                "state": str(trial.state),
                "objective": trial.objective,
                "values": trial.values,
                "reason": trial.reason,
                "epoch": trial.epoch,
                "num_epochs": trial.num_epochs,
                "metrics": trial.metrics,
                "run_id": trial.run_id,
            }
            for trial in status.trials
        ]
    return rows


def watch(spec: SweepSpec, *, once: bool, wait: Callable[[float], None] = time.sleep) -> int:
    """Show the sweep until no process drives it; the exit code.

    A terminal gets the screen, anything else a line for each event. `once` shows it once.
    """
    sweep = SweepWatch(spec, with_answer=True)
    status = sweep.status()
    _close_dead([spec], [status])
    progress = Progress(
        list,
        title=spec.title,
        num_trials=status.num_trials,
        objective=status.objective,
        clock=clock_of(status),
    )
    if once or status.phase != SweepPhase.RUNNING:
        console = _console()
        console.print(_screen(status, progress, console))
        return 0
    if not sys.stdout.isatty():
        return _print_events(sweep, status, wait)
    console = _console()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while status.phase == SweepPhase.RUNNING:
            live.update(_screen(status, progress, console), refresh=True)
            wait(REFRESH_SECONDS)
            status = sweep.status()
    console.print(_screen(status, progress, console))
    return 0


def _print_events(sweep: SweepWatch, status: SweepStatus, wait: Callable[[float], None]) -> int:
    shown: dict[int, str] = {}
    while True:
        for view in views_of(status):
            line = event_line(view, status.objective)
            if shown.get(view.number) != line:
                shown[view.number] = line
                print(line, flush=True)
        if status.phase != SweepPhase.RUNNING:
            print(f"{status.sweep_id}: {status.advice}", flush=True)
            return 0
        wait(REFRESH_SECONDS)
        status = sweep.status()


def _screen(status: SweepStatus, progress: Progress, console: Console) -> Group:
    lines = [Text(f"{status.phase}: {status.advice}"), *map(Text, answer_lines(status))]
    if status.warning:
        lines.append(Text(status.warning))
    views = views_of(status)
    quiet = progress.why_quiet(views) if status.phase == SweepPhase.RUNNING else ""
    return Group(progress.screen(views, status.cost, quiet, console=console), *lines)


def answer_lines(status: SweepStatus) -> list[str]:
    """The answer of the sweep as its report has it; so far, where it still runs."""
    if status.answer is None:
        return []
    so_far = "" if status.phase == SweepPhase.ENDED else "So far: "
    return [f"{so_far}{status.answer.headline}", *status.answer.notes]


def clock_of(status: SweepStatus) -> Callable[[], float]:
    """A clock for `Progress`, in seconds, whose first reading is the start of the sweep.

    Then it reads the time now, or the end of the last trial of a sweep that no process drives.
    """
    first = [status.started or time.time()]
    last = max((trial.ended for trial in status.trials), default=0.0) or first[0]
    now = time.time if status.phase == SweepPhase.RUNNING else lambda: last
    return lambda: first.pop() if first else now()


def _close_dead(specs: Sequence[SweepSpec], statuses: Sequence[SweepStatus]) -> None:
    """Close in MLflow what runs of those sweeps that have no driver, and of commands that died."""
    close_dead([spec for spec, one in zip(specs, statuses, strict=True) if one.driver is None])
    close_left_runs(dict.fromkeys(spec.tracking_uri for spec in specs))


def _console() -> Console:
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else WIDTH_OF_LOG)
