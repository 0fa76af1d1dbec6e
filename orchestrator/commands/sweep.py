"""``prp sweep``: run a study, a shipped one by its name or one's own file, from any folder."""

from __future__ import annotations

import argparse
import ast
import runpy
import sys
from pathlib import Path

from orchestrator.commands.command import run_module
from orchestrator.config.shipped import studies
from prp_core.catalogue import unknown
from prp_core.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study; what follows it are the study's own options."""
    parser.add_argument(
        "study",
        metavar="STUDY",
        nargs="?",
        help="the name of a shipped study, or the path of a file of one's own "
        "(default: list the shipped ones)",
    )
    parser.add_argument(
        "options",
        metavar="...",
        nargs=argparse.REMAINDER,
        help="the study's options: see `prp sweep STUDY --help`",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the study as ``python FILE OPTIONS`` does; its exit code."""
    if arguments.study is None:
        for name, path in studies().items():
            print(f"{name:<18}{first_sentence(path)}")
        return 0
    path = study_file(arguments.study)
    sys.argv = [str(path), *arguments.options]
    sys.path.insert(0, str(path.parent))
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    raise UserError(
        f"{path} started no sweep: it has to end in "
        "`if __name__ == '__main__': raise SystemExit(main(space))`, as the shipped studies do"
    )


def study_file(name: str) -> Path:
    """The absolute path of the study called `name`, or of the file. Raises `UserError`."""
    shipped = studies()
    if name.replace("-", "_") in shipped:
        return shipped[name.replace("-", "_")]
    path = Path(name).expanduser().resolve()
    if path.suffix != ".py" and not path.is_file():
        raise unknown("study", name, shipped)
    if not path.is_file():
        raise UserError(f"There is no study {str(path)!r}; shipped ones: {', '.join(shipped)}")
    return path


def first_sentence(path: Path) -> str:
    """The first paragraph of the docstring of a study's file, as one line."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split())


if __name__ == "__main__":
    raise SystemExit(run_module("sweep"))
