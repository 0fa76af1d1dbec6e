"""``prp ui``: MLflow's page, opened on a sweep's answer.

Where the sweep's runs are in a file of this machine, MLflow's server is started on it and runs
until Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import signal

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import (
    add_store_arguments,
    add_sweep_argument,
    given_store,
    named_sweep,
    storage_uri,
)
from orchestrator.config.sweep_spec import SweepSpec
from prp_core.errors import UserError

DEFAULT_PORT = 5000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sweep, the port of a server that is started here, and whether a browser is."""
    add_sweep_argument(parser, is_optional=True)
    parser.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help="of the server that is started here (default: %(default)s, or a free one)",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address and open nothing"
    )
    parser.add_argument(
        "--print-link",
        action="store_true",
        help="print the address that the server would have, and leave",
    )
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the link, open it, and serve until Ctrl-C where the server is ours."""
    spec = named_sweep(arguments) if arguments.sweep else _newest(arguments)

    from orchestrator.tracking.ui_server import MlflowUi

    ui = MlflowUi(spec.tracking_uri, arguments.port)
    link = ui.link(str(spec.config["sweep"]["name"]), spec.sweep_id, _objective_of(spec))
    if arguments.print_link:
        print(link)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the server ends, too
    with ui:
        print(link, flush=True)
        if not arguments.no_browser:
            _open(link)
        if ui.is_ours:
            with contextlib.suppress(KeyboardInterrupt):  # this is how it is meant to end
                print("MLflow's server runs until Ctrl-C", flush=True)
                ui.wait()
    return 0


def _open(link: str) -> None:
    """Open `link` in a browser where this machine has a screen; say nothing where it has none."""
    import os
    import sys
    import webbrowser

    has_screen = sys.platform in ("darwin", "win32") or any(
        name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if has_screen:
        webbrowser.open(link)


def _objective_of(spec: SweepSpec) -> str:
    from orchestrator.config.run_config import parse_config

    return parse_config(spec.config).sweep.objective


def _newest(arguments: argparse.Namespace) -> SweepSpec:
    """The sweep that was started last, of those in the storage. Raises `UserError` without one."""
    from orchestrator.journal.stored_sweep import iterate_sweeps, known_places

    storage = storage_uri(arguments)
    found = [
        sweep.spec
        for sweep in iterate_sweeps(storage, given_store(arguments))
        if not isinstance(sweep, str)
    ]
    if not found:
        places = storage or ", ".join(place.uri for place in known_places())
        raise UserError(f"There are no sweeps in {places}; start one, or name its --storage")
    return max(found, key=lambda spec: spec.sweep_id.split("-")[-3:])


if __name__ == "__main__":
    raise SystemExit(run_module("ui"))
