"""``prp report``: write the page of a sweep, from its records alone."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import (
    add_json_argument,
    add_store_arguments,
    add_sweep_argument,
    named_sweep,
    print_json,
)
from orchestrator.commands.output_file import output_file

if TYPE_CHECKING:
    from orchestrator.config.sweep_spec import SweepSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sweep, and where its page goes."""
    add_sweep_argument(parser)
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="where the page goes (default: report.html in the sweep's folder under ~/.prp)",
    )
    add_json_argument(parser)
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the page and print where it is."""
    spec = named_sweep(arguments)
    path = output_file(arguments.out, "--out") if arguments.out else _default(spec)

    from orchestrator.report.page import sweep_page  # seconds, once the sweep is known to exist

    text = sweep_page(spec)
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    beside.rename(path)
    if arguments.json:
        print_json({"sweep": spec.sweep_id, "report": path})
    else:
        print(path)
    return 0


def _default(spec: SweepSpec) -> Path:
    folder = spec.state_dir
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "report.html"


if __name__ == "__main__":
    raise SystemExit(run_module("report"))
