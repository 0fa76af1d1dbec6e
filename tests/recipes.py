"""The recipes of `docs/adding/`, applied to a copy of the project."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.source_tree import PACKAGES, REPOSITORY

PAGES = sorted((REPOSITORY / "docs" / "adding").glob("*.md"))
BLOCK = re.compile(r"^```(python|diff)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATH_LINE = re.compile(r"^`([\w./]+\.py)`(?::.*)?$", re.MULTILINE)
SUITE = re.compile(r"Contract suite: `(tests/contracts/\w+\.py)`")
COPIED = (*PACKAGES, "tests", "benchmarks", "pyproject.toml", "uv.lock", "docs", "CONTRIBUTING.md")


@dataclass(frozen=True)
class Change:
    """A new file (`is_new`) with `text`, or a diff that is to be applied to the file at `path`."""

    path: str
    text: str
    is_new: bool


@dataclass(frozen=True)
class Recipe:
    """A section of a page with all that it says to write, and the suite that tests the result."""

    title: str
    changes: tuple[Change, ...]
    suite: str


def read_recipes(page: str) -> list[Recipe]:
    """The recipes of `page`; a section without a block is prose."""
    recipes = []
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        changes = []
        for block in BLOCK.finditer(body):
            path = PATH_LINE.findall(body[: block.start()])[-1]
            changes.append(Change(path, block[2], block[1] == "python"))
        if changes:
            suite = SUITE.search(body)
            assert suite, f"{title}: names no contract suite"
            recipes.append(Recipe(title.strip(), tuple(changes), suite[1]))
    return recipes


def apply(recipe: Recipe, root: Path) -> None:
    """Write what `recipe` says below `root`; a diff whose lines are not there is an error."""
    for change in recipe.changes:
        file = root / change.path
        if change.is_new:
            assert not file.exists(), f"{recipe.title}: {change.path} is there already"
            file.write_text(change.text)
        else:
            assert file.is_file(), f"{recipe.title}: {change.path} is not there"
            file.write_text(_patched(file.read_text(), change.text, f"{recipe.title}: {file.name}"))


def _patched(text: str, diff: str, where: str) -> str:
    """`text` with the added lines of `diff` after the lines that stand before them.

    Where the context is the beginning of the file's docstring (cut short by ``...``), the added
    lines follow the docstring's text.
    """
    lines = diff.splitlines()
    context = [line[1:] for line in lines if line.startswith(" ")]
    added = [line[1:] for line in lines if line.startswith("+")]
    assert len(context) + len(added) == len(lines) and context and added, where
    if context[0].startswith('"""'):
        assert text.startswith(context[0].removesuffix("...")), where
        end = text.index('"""', 3)
        head = text[:end].rstrip("\n")
        return head + "\n" + "\n".join(added) + "\n" + text[end:]
    block = "\n".join(context) + "\n"
    assert text.count(block) == 1, f"{where}: {text.count(block)} places hold {context}"
    return text.replace(block, block + "\n".join(added) + "\n")


def copy_project(root: Path) -> None:
    """What the suites need of the project, below `root`."""
    ignored = shutil.ignore_patterns("*.pyc.*")  # bytecode goes along, unless it is being written
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=ignored)
        else:
            shutil.copy(source, root / name)
