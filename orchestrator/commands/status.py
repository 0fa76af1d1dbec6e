"""``prp status``: the live screen of a sweep after a disconnect, or a list of all sweeps.

It also closes the MLflow runs of sweeps and commands whose process has died.
"""

from __future__ import annotations

import argparse
import os

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import (
    add_json_argument,
    add_store_arguments,
    add_sweep_argument,
    given_store,
    named_sweep,
    print_json,
    storage_uri,
)
from orchestrator.config.typed_command import prp
from prp_core.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sweep, and for how long it is watched."""
    add_sweep_argument(parser, is_optional=True)
    parser.add_argument(
        "--once", action="store_true", help="look once and leave, instead of until the sweep ends"
    )
    add_json_argument(parser)
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show the sweep, or the list."""
    if arguments.sweep is not None:
        spec = named_sweep(arguments)

        from orchestrator.commands.watch_sweep import rows_of, watch

        if arguments.json:
            print_json(rows_of([spec], with_trials=True)[0])
            return 0
        return watch(spec, once=arguments.once)

    from orchestrator.journal.stored_sweep import (
        iterate_sweeps,
        known_places,
        sweeps_of_earlier_releases,
    )

    storage = storage_uri(arguments)
    found = list(iterate_sweeps(storage, given_store(arguments)))
    problems = [line for line in found if isinstance(line, str)]
    specs = [sweep.spec for sweep in found if not isinstance(sweep, str)]
    _close_left_runs()
    if arguments.json:
        from orchestrator.commands.watch_sweep import rows_of

        print_json({"sweeps": rows_of(specs, with_trials=False), "problems": problems})
        return 0
    for line in problems:
        print(line)
    old = [] if storage else sweeps_of_earlier_releases()
    if old:
        print(
            f"of an earlier release, which this one does not read: {', '.join(old)}; end them with "
            "that release, or begin with what they found: --warm-start SWEEP"
        )
    if not specs:
        places = storage or ", ".join(place.uri for place in known_places())
        if problems and storage:
            raise UserError(problems[0])
        print(f"no sweeps in {places}; start one with: {prp('sweep rate_search')}")
        return 0

    from orchestrator.commands.watch_sweep import list_sweeps

    return list_sweeps(specs)


def _close_left_runs() -> None:
    """Close the MLflow runs of commands that have died, at this machine's MLflow and wherever it
    has left any. Imports nothing that takes long where there are none.
    """
    from orchestrator.journal.open_runs import read_notes

    if os.environ.get("MLFLOW_TRACKING_URI") or any(read_notes()):
        from orchestrator.sweep.settings import default_mlflow
        from orchestrator.tracking.dead_runs import close_left_runs

        default = default_mlflow()
        close_left_runs([default] if default else [])


if __name__ == "__main__":
    raise SystemExit(run_module("status"))
