"""``prp completion``: the script that completes commands and options in bash, zsh or tcsh."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from orchestrator.commands.command import Group

SHELLS = ("bash", "zsh", "tcsh")


@dataclass(frozen=True)
class CompletionCommand:
    """The command for the tree below `root`."""

    root: Group

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The shell."""
        parser.add_argument(
            "shell",
            choices=SHELLS,
            help='for bash: eval "$(prp completion bash)" in ~/.bashrc',
        )

    def run(self, arguments: argparse.Namespace) -> int:
        """Print the script."""
        import shtab

        from orchestrator.commands.parser_tree import whole_parser

        print(shtab.complete(whole_parser(self.root), shell=arguments.shell))
        return 0
