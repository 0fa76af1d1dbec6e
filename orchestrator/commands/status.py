"""``prp status``: the live screen of a sweep after a disconnect, or a list of all sweeps."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sweep, and for how long it is watched."""
    parser.add_argument(
        "sweep", metavar="SWEEP", nargs="?", help="a sweep's id (default: list the sweeps)"
    )
    parser.add_argument(
        "--once", action="store_true", help="look once and leave, instead of until the sweep ends"
    )


def run(arguments: argparse.Namespace) -> int:
    """Show the sweep, or the list."""
    from orchestrator.config.sweep_spec import home_dir, load_spec

    home = home_dir()
    if arguments.sweep is not None:
        spec = load_spec(arguments.sweep, home)

        from orchestrator.commands.watch_sweep import watch

        return watch(spec, once=arguments.once)
    paths = sorted((home / "sweeps").glob("*/sweep.json"), key=lambda path: path.stat().st_mtime)
    if not paths:
        print(
            f"no sweeps under {home / 'sweeps'}; start one with: uv run python "
            "sweeps/rate_search.py"
        )
        return 0

    from orchestrator.commands.watch_sweep import list_sweeps

    return list_sweeps([load_spec(path.parent.name, home) for path in paths])
