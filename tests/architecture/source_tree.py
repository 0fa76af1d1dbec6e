"""The project's own files, as the architecture tests walk them."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("prp_core", "orchestrator", "sweeps", "cluster")
FOLDERS = (*PACKAGES, "benchmarks", "tests", "docs", ".ci")


@functools.cache
def text_files() -> tuple[Path, ...]:
    """Every text file of the project, relative to its root, sorted; the lock file is no prose of
    ours, nor is the file by which a worktree of git names its repository.
    """
    return tuple(_walk())


def _walk() -> Iterator[Path]:
    top_level = (path for path in REPOSITORY.iterdir() if path.is_file() and path.name != ".git")
    inside = (
        path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*") if path.is_file()
    )
    for path in sorted([*top_level, *inside]):
        if "__pycache__" not in path.parts and path.name != "uv.lock" and _is_text(path):
            yield path.relative_to(REPOSITORY)


def python_files(*folders: str) -> Iterator[Path]:
    """The Python files below `folders` (default: all), relative to the root, sorted."""
    for path in text_files():
        if path.suffix == ".py" and (not folders or path.parts[0] in folders):
            yield path


def packages() -> Iterator[Path]:
    """The folders of the product's packages, relative to the root."""
    for path in python_files(*PACKAGES):
        if path.name == "__init__.py":
            yield path.parent


@functools.cache
def read(path: Path) -> str:
    """The text of `path`, which is relative to the project's root."""
    return (REPOSITORY / path).read_text(encoding="utf-8")


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        return b"\0" not in file.read(8192)


@dataclass(frozen=True)
class Import:
    """One import statement: the full name of the module asked for, and its line."""

    module: str
    line: int

    @property
    def library(self) -> str:
        """The top-level package."""
        return self.module.split(".")[0]


Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Statements:
    """The statements of a file that a rule of the house speaks of."""

    docstring: str
    functions: tuple[Function, ...]
    """Every function and method, however deep."""
    assignments: tuple[ast.Assign, ...]
    calls: tuple[ast.Call, ...]


@functools.cache
def statements_of(source: str) -> Statements:
    """What stands in `source`. It is parsed once, for every rule."""
    tree = ast.parse(source)
    found: dict[type[ast.AST], list[Any]] = {}
    for node in ast.walk(tree):
        found.setdefault(type(node), []).append(node)
    functions = found.get(ast.FunctionDef, []) + found.get(ast.AsyncFunctionDef, [])
    return Statements(
        ast.get_docstring(tree) or "",
        tuple(functions),
        tuple(found.get(ast.Assign, [])),
        tuple(found.get(ast.Call, [])),
    )


@functools.cache
def imports_of(source: str, path: Path) -> tuple[Import, ...]:
    """Every import in `source`, wherever it stands: at the top, in a function, under a condition,
    or by a literal name.
    """
    return tuple(_imports(source, path))


def _imports(source: str, path: Path) -> Iterator[Import]:
    package = path.with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(name.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (above, node.module) if part)
            yield Import(base, node.lineno)
            for name in node.names:
                yield Import(f"{base}.{name.name}", node.lineno)
        elif isinstance(node, ast.Call) and _imports_by_name(node.func):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield Import(argument.value, node.lineno)


def _imports_by_name(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in {"import_module", "__import__"}
