"""``prp export-study``: a sweep's Optuna study as a SQLite file, for optuna-dashboard and Optuna.

The file is a copy of the study as it is now; the sweep is only read, and may go on meanwhile.
"""

from __future__ import annotations

import argparse

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import (
    add_json_argument,
    add_store_arguments,
    add_sweep_argument,
    named_sweep,
    print_json,
)
from orchestrator.commands.output_file import output_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sweep and the file."""
    add_sweep_argument(parser)
    parser.add_argument("file", metavar="FILE", help="the SQLite file to write, such as study.db")
    parser.add_argument("--force", action="store_true", help="replace FILE where it exists")
    add_json_argument(parser)
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the file; print what is in it and how to look at it."""
    spec = named_sweep(arguments)
    file = output_file(arguments.file, "FILE")

    from orchestrator.search.study_export import export_study

    num_trials = export_study(spec, file, replace=arguments.force)
    url = f"sqlite:///{file}"
    if arguments.json:
        print_json({"study": spec.sweep_id, "url": url, "num_trials": num_trials})
        return 0
    print(f"{file}: study {spec.sweep_id}, {num_trials} trials")
    print(f"look at it with: uvx optuna-dashboard {url}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_module("export-study"))
