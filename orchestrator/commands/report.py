"""``prp report``: write the page of a sweep, from its records alone."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sweep, and where its page goes."""
    parser.add_argument("sweep", metavar="SWEEP", help="a sweep's id; `prp status` lists them")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="where the page goes (default: report.html in the sweep's state folder)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the page and print where it is."""
    from orchestrator.config.sweep_spec import home_dir, load_spec

    spec = load_spec(arguments.sweep, home_dir())
    path = Path(arguments.out or Path(spec.state_dir) / "report.html").expanduser().resolve()

    from orchestrator.report.page import sweep_page  # seconds, once the sweep is known to exist

    text = sweep_page(spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    beside.rename(path)
    print(path)
    return 0
