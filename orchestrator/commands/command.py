"""A command of the tree ``prp``: its one-line help, and its module, imported when it is chosen."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from orchestrator.argument_parser import ArgumentParser
from orchestrator.exit_codes import run_command


class CommandModule(Protocol):
    """What the module of a command offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments to `parser`; imports nothing that takes long."""
        ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Do what the parsed `arguments` say; the exit code. Imports what it needs itself."""
        ...


@dataclass(frozen=True)
class Command:
    """A command: `help` is one line, `load` imports its module."""

    help: str
    load: Callable[[], CommandModule]


@dataclass(frozen=True)
class Group:
    """Commands under one name: ``prp data index``, ``prp data show``."""

    help: str
    commands: Mapping[str, Command | Group]


def run_module(name: str) -> int:
    """Run the command whose module was started by ``python -m``; `name` is what ``prp`` calls it.

    Without this, such a module would do nothing and exit with 0.
    """
    module = cast(CommandModule, sys.modules["__main__"])
    parser = ArgumentParser(prog=f"prp {name}", description=module.__doc__)
    module.add_arguments(parser)
    return run_command(lambda: module.run(parser.parse_args()))
