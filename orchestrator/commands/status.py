"""`prp status [SWEEP]`: the live screen of a sweep after a disconnect, or a list of the sweeps of
this machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Group

    from orchestrator.config.sweep_spec import SweepSpec
    from orchestrator.sweep.live_screen import Progress
    from orchestrator.sweep.status import SweepStatus

REFRESH_SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "sweep", metavar="SWEEP", nargs="?", help="a sweep's id (default: list the sweeps)"
    )
    parser.add_argument(
        "--once", action="store_true", help="look once and leave, instead of until the sweep ends"
    )


def run(arguments: argparse.Namespace) -> int:
    """Show the sweep, or the list."""
    from orchestrator.config.sweep_spec import home_dir, load_spec

    if arguments.sweep is None:
        return list_sweeps()
    return watch(load_spec(arguments.sweep, home_dir()), once=arguments.once)


def list_sweeps() -> int:
    """Print every sweep of this machine with its state, oldest first."""
    from orchestrator.config.sweep_spec import home_dir, load_spec

    home = home_dir()
    paths = sorted((home / "sweeps").glob("*/sweep.json"), key=lambda path: path.stat().st_mtime)
    if not paths:
        print(
            f"no sweeps under {home / 'sweeps'}; start one with: uv run python "
            "sweeps/rate_search.py"
        )
        return 0
    from rich.console import Console
    from rich.table import Table

    from orchestrator.sweep.status import read_status, summary_rows

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("sweep", "state", "trials", "best", "cost", ""):
        table.add_column(name, overflow="fold", no_wrap=name in ("sweep", "state", "cost"))
    for row in summary_rows([read_status(load_spec(path.parent.name, home)) for path in paths]):
        table.add_row(*row)
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200).print(table)
    return 0


def watch(spec: SweepSpec, *, once: bool, wait: Callable[[float], None] = time.sleep) -> int:
    """Show the sweep until it has no driver any more; a terminal gets the screen, anything else a
    line for each event.
    """
    from orchestrator.sweep.live_screen import Progress
    from orchestrator.sweep.status import read_status

    status = read_status(spec)
    clock = _clock_from(status)
    progress = Progress(
        list,
        title=spec.sweep_id,
        num_trials=status.num_trials,
        objective=status.objective,
        clock=clock,
    )
    if once or status.state != "running":
        _show_once(status, progress)
        return 0
    if not sys.stdout.isatty():
        return _say_events(spec, status, wait)
    return _draw(spec, status, progress, wait)


def _draw(
    spec: SweepSpec, status: SweepStatus, progress: Progress, wait: Callable[[float], None]
) -> int:
    from rich.console import Console
    from rich.live import Live

    from orchestrator.sweep.status import read_status

    with Live(console=Console(file=sys.stdout), auto_refresh=False, transient=True) as live:
        while status.state == "running":
            live.update(_screen(status, progress), refresh=True)
            wait(REFRESH_SECONDS)
            status = read_status(spec)
    _show_once(status, progress)
    return 0


def _say_events(spec: SweepSpec, status: SweepStatus, wait: Callable[[float], None]) -> int:
    from orchestrator.sweep.live_screen import event_line
    from orchestrator.sweep.status import read_status, views_of

    said: dict[int, str] = {}
    while True:
        for view in views_of(status):
            line = event_line(view, status.objective)
            if said.get(view.number) != line:
                said[view.number] = line
                print(line, flush=True)
        if status.state != "running":
            print(f"{status.sweep_id}: {status.advice}", flush=True)
            return 0
        wait(REFRESH_SECONDS)
        status = read_status(spec)


def _show_once(status: SweepStatus, progress: Progress) -> None:
    from rich.console import Console

    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200).print(
        _screen(status, progress)
    )


def _screen(status: SweepStatus, progress: Progress) -> Group:
    from rich.console import Group
    from rich.text import Text

    from orchestrator.sweep.status import views_of

    lines = [Text(f"{status.state}: {status.advice}")] + (
        [Text(status.warning)] if status.warning else []
    )
    return Group(progress.screen(views_of(status), status.cost), *lines)


def _clock_from(status: SweepStatus) -> Callable[[], float]:
    """A clock for `Progress` that reads the sweep's start first, so that the time gone is the
    sweep's; it stands still where nothing runs.
    """
    first = [status.started or time.time()]
    last = max((trial.ended for trial in status.trials), default=0.0) or first[0]
    now = time.time if status.state == "running" else lambda: last
    return lambda: first.pop() if first else now()
