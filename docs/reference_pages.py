"""The generated pages of the site: the config reference and the command reference.

mkdocs calls `on_files`. The pages are made from the code each time the site is built, so they
cannot say anything else than the code does.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Iterator
from typing import Any

from orchestrator.argument_parser import ArgumentParser
from orchestrator.commands.command import Command, Group
from orchestrator.commands.prp import ROOT
from orchestrator.config.field_docs import FieldDoc, field_docs, unit_of
from orchestrator.sweep.arguments import parse_arguments

COLUMNS = 88
"""Width of the help texts, in characters."""


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to `files`, those that mkdocs has found."""
    from mkdocs.structure.files import File

    for name, page in (("config", config_page()), ("commands", commands_page())):
        files.append(File.generated(config, f"reference/{name}.md", content=page))
    return files


def config_page() -> str:
    """Every key of the config in a table for each of its tables: type, default, unit, meaning."""
    lines = [
        "# Config reference",
        "",
        "Every key of the config, with type, default, unit and meaning. A preset is a TOML file of "
        "these tables; `--set TABLE.KEY=VALUE` replaces one value, and a study varies a key by the "
        "same dotted name. Keys of an optional table have an effect only where the table is given.",
    ]
    table = None
    for path, doc in field_docs().items():
        if doc.is_table:
            continue
        head = path.rpartition(".")[0]
        if head != table:
            table = head
            lines += ["", f"## {head or 'Top level'}", "", *_table_sentence(head)]
            lines += ["| key | type | default | unit | meaning |", "|---|---|---|---|---|"]
        lines.append(_row(path, doc))
    return "\n".join(lines) + "\n"


def _table_sentence(path: str) -> list[str]:
    doc = field_docs().get(path)
    return [_cell(doc.sentence), ""] if doc is not None and doc.sentence else []


def _row(path: str, doc: FieldDoc) -> str:
    cells = (
        f"`{path.rpartition('.')[2]}`",
        f"`{_cell(doc.type)}`",
        f"`{doc.default!r}`",
        unit_of(path),
        _cell(doc.sentence),
    )
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """`text` for a table's cell."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def commands_page() -> str:
    """The help of every command of ``prp``, and of a study."""
    lines = ["# Command reference", "", "What each command prints for `--help`.", ""]
    for words, command in commands(ROOT, "prp"):
        parser = ArgumentParser(prog=words, description=command.help, formatter_class=_formatter)
        command.load().add_arguments(parser)
        lines += [f"## {words}", "", "```text", parser.format_help().rstrip(), "```", ""]
    lines += ["## A study", "", "The options that every study takes.", ""]
    return "\n".join([*lines, "```text", study_help().rstrip(), "```", ""])


def commands(group: Group, words: str) -> Iterator[tuple[str, Command]]:
    """(the words that call it, the command) of each command below `group`."""
    for name, entry in group.commands.items():
        if isinstance(entry, Group):
            yield from commands(entry, f"{words} {name}")
        else:
            yield f"{words} {name}", entry


def study_help() -> str:
    """What a study prints for ``--help``."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        parse_arguments(["--help"], "")
    usage, _, options = printed.getvalue().partition("\n\n")
    return options or usage


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=COLUMNS)
