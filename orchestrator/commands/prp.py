"""The command line ``prp``: its tree of commands, and how every command of this project ends.

What a command finds goes to stdout, what it says on the way to stderr. Exit codes: 0 done, 1 the
world failed, 2 the input is wrong (one line that says what to do), 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from orchestrator.commands import report as report_command
from orchestrator.commands import reproduce as reproduce_command
from orchestrator.commands import status as status_command
from orchestrator.commands.cache import CACHE_COMMANDS
from orchestrator.commands.data import (
    _add_feasibility_arguments,
    _add_index_arguments,
    _add_show_arguments,
    _feasibility,
    _index,
    _show,
)
from orchestrator.commands.prepare import add_prepare_arguments, run_prepare
from orchestrator.exit_codes import run_command
from prp_core.errors import UserError


@dataclass(frozen=True)
class Command:
    """A leaf of the tree: what it does in one line, its arguments, and the function that does it
    and returns the exit code.
    """

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error of ours does."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """The program ``prp``; the exit code."""
    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    command: Command = arguments.command
    return command.run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="prp", description="Playback Rate Perception at cluster scale.")
    groups = parser.add_subparsers(metavar="COMMAND", required=True)
    for group_name, entry in COMMANDS.items():
        if isinstance(entry, Command):
            _add_leaf(groups, group_name, entry)
            continue
        group_help, commands = entry
        group = groups.add_parser(group_name, help=group_help, description=group_help)
        leaves = group.add_subparsers(metavar="COMMAND", required=True)
        for name, command in commands.items():
            _add_leaf(leaves, name, command)
    return parser


def _add_leaf(leaves: argparse._SubParsersAction, name: str, command: Command) -> None:
    leaf = leaves.add_parser(name, help=command.help, description=command.help)
    command.add_arguments(leaf)
    leaf.set_defaults(command=command)


# ---- prp data


# A name of the first level is a group of commands, or a command itself.
COMMANDS: dict[str, Command | tuple[str, dict[str, Command]]] = {
    "status": Command(
        "How a sweep stands, live; without a sweep, the list of sweeps.",
        status_command.add_arguments,
        status_command.run,
    ),
    "report": Command(
        "Write the report of a sweep as one HTML page; prints where it is.",
        report_command.add_arguments,
        report_command.run,
    ),
    "reproduce": Command(
        "Train a trial again from its MLflow run alone and say whether the metrics agree.",
        reproduce_command.add_arguments,
        reproduce_command.run,
    ),
    "cache": (
        "This node's cache of objects and decoded frames.",
        {name: Command(*leaf) for name, leaf in CACHE_COMMANDS.items()},
    ),
    "data": (
        "Videos and their manifests.",
        {
            "index": Command(
                "Verify every video of a folder or bucket and write the manifest; prints its URI.",
                _add_index_arguments,
                _index,
            ),
            "prepare": Command(
                "Turn the videos of a folder or bucket into shards that train many times faster.",
                add_prepare_arguments,
                run_prepare,
            ),
            "show": Command(
                "What a manifest holds, and which videos are quarantined and why.",
                _add_show_arguments,
                _show,
            ),
            "feasibility": Command(
                "How many videos are long enough for each rate and clip length.",
                _add_feasibility_arguments,
                _feasibility,
            ),
        },
    ),
}
