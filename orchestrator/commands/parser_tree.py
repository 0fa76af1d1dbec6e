"""The parser of the whole command tree, for shell completion and the command reference."""

from __future__ import annotations

import argparse

from orchestrator.commands.command import Command, Group
from orchestrator.config.shipped import studies
from orchestrator.sweep.arguments import add_study_arguments


def whole_parser(root: Group) -> argparse.ArgumentParser:
    """The parser of ``prp`` with that of every command below it; imports every command's module."""
    parser = argparse.ArgumentParser(prog="prp", description=root.help)
    parser.add_argument("--version", action="version", version="prp", help="print the version")
    _add_commands(parser, root)
    return parser


def _add_commands(parser: argparse.ArgumentParser, group: Group) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, entry in group.commands.items():
        below = commands.add_parser(name, help=entry.help, description=entry.help)
        if isinstance(entry, Group):
            _add_commands(below, entry)
        elif name == "sweep":
            _add_studies(below)
        else:
            entry.load().add_arguments(below)


def _add_studies(parser: argparse.ArgumentParser) -> None:
    """The shipped studies, each with the options of all."""
    names = parser.add_subparsers(metavar="STUDY", required=True)
    for name in studies():
        add_study_arguments(names.add_parser(name, help="a shipped study"))


def leaves(group: Group, words: tuple[str, ...] = ("prp",)) -> list[tuple[str, Command]]:
    """(the words that call it, the command) of each command of the tree."""
    found = []
    for name, entry in group.commands.items():
        path = (*words, name)
        found += leaves(entry, path) if isinstance(entry, Group) else [(" ".join(path), entry)]
    return found
