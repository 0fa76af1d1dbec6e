"""The command line ``prp``: its tree of commands, parsed before anything heavy is imported.

What a command finds goes to stdout, what it says on the way to stderr. Exit codes: 0 done, 1 the
world failed, 2 the input is wrong (one line that says what to do), 130 interrupted.

A command's module is imported when it is chosen, and Ray, MLflow, Optuna and PyTorch when it runs:
``prp --help``, a command's ``--help`` and a mistyped option answer within half a second.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.argument_parser import ArgumentParser
from orchestrator.commands.cache import CACHE_COMMANDS
from orchestrator.commands.command import Command, CommandModule, Group
from orchestrator.commands.data import DATA_COMMANDS
from orchestrator.exit_codes import run_command
from prp_core.catalogue import look_up
from prp_core.errors import UserError


def _status() -> CommandModule:
    from orchestrator.commands import status

    return status


def _sweep() -> CommandModule:
    from orchestrator.commands import sweep

    return sweep


def _config() -> CommandModule:
    from orchestrator.commands import config

    return config


def _completion() -> CommandModule:
    from orchestrator.commands.completion import CompletionCommand

    return CompletionCommand(ROOT)


def _report() -> CommandModule:
    from orchestrator.commands import report

    return report


def _ui() -> CommandModule:
    from orchestrator.commands import ui

    return ui


def _publish() -> CommandModule:
    from orchestrator.commands import publish

    return publish


def _doctor() -> CommandModule:
    from orchestrator.commands import doctor

    return doctor


def _export_study() -> CommandModule:
    from orchestrator.commands import export_study

    return export_study


def _delete() -> CommandModule:
    from orchestrator.commands import delete

    return delete


def _reproduce() -> CommandModule:
    from orchestrator.commands import reproduce

    return reproduce


def _import_official() -> CommandModule:
    from orchestrator.commands import import_official

    return import_official


def _evaluate() -> CommandModule:
    from orchestrator.commands import evaluate

    return evaluate


def _embed() -> CommandModule:
    from orchestrator.commands import embed

    return embed


def _search() -> CommandModule:
    from orchestrator.commands import search

    return search


def _finetune() -> CommandModule:
    from orchestrator.commands import finetune

    return finetune


def _export() -> CommandModule:
    from orchestrator.commands import export

    return export


def _steering(action: str) -> Callable[[], CommandModule]:
    def load() -> CommandModule:
        from orchestrator.commands.steer import SteeringCommand

        return SteeringCommand(action)

    return load


COMMANDS: dict[str, Command | Group] = {
    "sweep": Command("Run a study: a hyperparameter search on this machine or a cluster.", _sweep),
    "config": Command("Print every config key with its value, default, unit and meaning.", _config),
    "status": Command("Show a sweep's progress, live; without a sweep, list the sweeps.", _status),
    "report": Command("Write a sweep's report as one HTML page and print its path.", _report),
    "ui": Command("Open MLflow on a sweep's results; without a sweep, on the newest.", _ui),
    "publish": Command("Send MLflow the pending records of a sweep without a driver.", _publish),
    "doctor": Command(
        "Check cluster, storage, videos and MLflow as the workers see them, before a sweep.",
        _doctor,
    ),
    "delete": Command(
        "Delete a sweep that is not running from its storage; MLflow keeps its runs.", _delete
    ),
    "export-study": Command(
        "Write a sweep's Optuna study to a SQLite file, for optuna-dashboard.", _export_study
    ),
    "reproduce": Command(
        "Retrain a trial from its MLflow run alone and compare the metrics.",
        _reproduce,
    ),
    "stop": Command(
        "Stop a running sweep (--resume continues it), or end one of its trials.",
        _steering("stop"),
    ),
    "pause": Command("Keep a running sweep from starting more trials.", _steering("pause")),
    "continue": Command("Let a paused sweep start trials again.", _steering("continue")),
    "try": Command("Make a running sweep try given values next.", _steering("try")),
    "extend": Command(
        "Continue an ended trial to more epochs, as a new trial.",
        _steering("extend"),
    ),
    "import-official": Command(
        "Make an encoder from published weights; say which of them were matched.", _import_official
    ),
    "evaluate": Command(
        "Measure an encoder by the published protocol, beside the figures of papers.", _evaluate
    ),
    "embed": Command("Write a feature vector for each video as a Parquet table.", _embed),
    "search": Command("The videos of such a table that are nearest to a video.", _search),
    "finetune": Command(
        "Train a whole encoder to tell the classes of labelled videos apart.", _finetune
    ),
    "export": Command(
        "Write an encoder for other software (torch.export, ONNX, official, torchvision).", _export
    ),
    "cache": Group("This node's cache of objects and decoded frames.", CACHE_COMMANDS),
    "data": Group("Videos and their manifests.", DATA_COMMANDS),
    "completion": Command("Print the shell completion script.", _completion),
}
ROOT = Group("Playback Rate Perception at cluster scale.", COMMANDS)


def main(argv: Sequence[str] | None = None) -> int:
    """The program ``prp``; the exit code."""
    return run_command(lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def _run(words: list[str]) -> int:
    prog = "prp"
    entry: Command | Group = ROOT
    while isinstance(entry, Group):
        if not words or words[0].startswith("-"):
            _answer_without_command(prog, entry, words)
        entry = look_up(f"{prog} command", words[0], entry.commands)
        prog = f"{prog} {words.pop(0)}"
    module = entry.load()
    parser = ArgumentParser(prog=prog, description=entry.help)
    module.add_arguments(parser)
    return module.run(parser.parse_args(words))


class _PrintVersion(argparse.Action):
    """Prints the version and exits. Looking it up imports much, so only who asks for it waits."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"{parser.prog} {version('prp')}")
        parser.exit()


def _answer_without_command(prog: str, group: Group, words: Sequence[str]) -> None:
    """Print the help or the version and exit; raise `UserError` for all other `words`."""
    parser = ArgumentParser(prog=prog, description=group.help)
    if group is ROOT:
        told = "show program's version number and exit"
        parser.add_argument("--version", action=_PrintVersion, nargs=0, help=told)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, entry in group.commands.items():
        commands.add_parser(name, help=entry.help)
    parser.parse_args(words)
    raise UserError(f"{words[0]!r} goes before the command; see {prog} --help")


if __name__ == "__main__":
    raise SystemExit(main())
