"""Sizes, widths, docstrings, tests that assert, and words that do not belong."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.source_tree import (
    FOLDERS,
    PACKAGES,
    REPOSITORY,
    packages,
    python_files,
    read,
    statements_of,
    text_files,
)

MAX_LINES_OF_FILE = 400
MAX_LINES_OF_TEST_FILE = 600
MAX_LINES_OF_FUNCTION = 60
MAX_COLUMNS = 100

# `print` belongs to the command line; numbers over time are metrics, not log lines.
MAY_PRINT = (
    "orchestrator/commands/",
    "orchestrator/exit_codes.py",
    "orchestrator/sweep/live_screen.py",
    "benchmarks/",
    "tests/tools/",
)

# What the project's files may not hold. A class of one letter keeps a pattern from matching its own
# line.
DOES_NOT_BELONG = {
    "somebody's home directory": (
        r"/hom[e]/(?!ray\b|ubuntu\b|me\b)\w|/User[s]/\w|/roo[t]/|/wor[k]/|[A-Z]:\\User[s]"
    ),
    "an access key": r"\bAKI[A][0-9A-Z]{16}\b|\bASI[A][0-9A-Z]{16}\b|BEGIN [A-Z ]*PRIVATE KE[Y]",
    "a package registry's host": r"pyp[i]\.org|pythonhoste[d]\.org",
    "work left for later": r"#\s*(TOD[O]|FIXM[E]|XX[X])|raise NotImplementedErro[r]",
    "a test that does not run": r"pytest\.mark\.(ski[p]|xfai[l])\b",
    "an error swallowed": r"except Exceptio[n]:\s*pass|excep[t]:\s*$",
    "a mark of a merge": r"^(<{7}|>{7}) ",
}
ANYTHING_FOREIGN = re.compile("|".join(f"(?:{one})" for one in DOES_NOT_BELONG.values()))


def size_faults(path: Path, source: str) -> list[str]:
    """What in the file is larger than its wall."""
    is_test = path.parts[0] == "tests"
    wall = MAX_LINES_OF_TEST_FILE if is_test else MAX_LINES_OF_FILE
    num_lines = len(source.splitlines())
    faults = (
        [f"{path}: {num_lines} lines, the wall is {wall}: make it two rooms"]
        if num_lines > wall
        else []
    )
    for function in () if is_test else statements_of(source).functions:
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > MAX_LINES_OF_FUNCTION:
            faults.append(
                f"{path}:{function.lineno} {function.name}: {length} lines, the wall is "
                f"{MAX_LINES_OF_FUNCTION}"
            )
    return faults


def width_faults(path: Path, source: str) -> list[str]:
    """Lines that are wider than `MAX_COLUMNS`, and lines that assign several attributes at once."""
    faults = [
        f"{path}:{number}: {len(line)} columns, the wall is {MAX_COLUMNS}"
        for number, line in enumerate(source.splitlines(), start=1)
        if len(line) > MAX_COLUMNS
    ]
    for node in statements_of(source).assignments:
        targets, values = node.targets[0], node.value
        both = isinstance(targets, ast.Tuple) and isinstance(values, ast.Tuple)
        if both and any(isinstance(target, ast.Attribute) for target in ast.walk(targets)):
            faults.append(f"{path}:{node.lineno}: one assignment a line")
    return faults


def unlisted_modules(package: Path) -> list[str]:
    """The modules and packages in the folder `package` that its docstring does not name."""
    docstring = statements_of(read(package / "__init__.py")).docstring
    entries = (REPOSITORY / package).iterdir()
    names = [
        entry.stem
        for entry in entries
        if (entry.suffix == ".py" or (entry / "__init__.py").is_file())
        and not entry.name.startswith("__")
    ]
    return sorted(name for name in names if not re.search(rf"\b{name}\b", docstring))


def door_faults(path: Path, source: str) -> list[str]:
    """Whether the file lacks its sign: a docstring whose first line stands alone and says what
    lives there.
    """
    docstring = statements_of(source).docstring
    if not source.strip() and path.name == "__init__.py":
        return []
    if not docstring:
        return [f"{path}: no docstring; its first line says what lives here"]
    return (
        []
        if docstring.splitlines()[0].endswith((".", "?", ":"))
        else [f"{path}: the docstring's first line is not a sentence of its own"]
    )


def print_faults(path: Path, source: str) -> list[str]:
    """Calls of `print` outside the rooms that speak to a terminal."""
    if path.as_posix().startswith(MAY_PRINT):
        return []
    calls = [
        node for node in statements_of(source).calls if getattr(node.func, "id", "") == "print"
    ]
    return [f"{path}:{call.lineno}: print belongs to {', '.join(MAY_PRINT)}" for call in calls]


def silent_tests(path: Path, source: str) -> list[str]:
    """Test functions that assert nothing: no `assert`, no `raises` or `warns`, no call of a helper
    named for checking.
    """
    return [
        f"{path}:{function.lineno} {function.name} asserts nothing"
        for function in statements_of(source).functions
        if function.name.startswith("test")
        and not any(_asserts(node) for node in ast.walk(function))
    ]


def _asserts(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        name = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        return name in {"raises", "warns"} or name.startswith(
            ("assert_", "check_", "verify_", "expect_")
        )
    return isinstance(node, ast.Assert)


def foreign_words(path: Path, source: str) -> list[str]:
    """Lines that hold something of `DOES_NOT_BELONG`."""
    return [
        f"{path}:{number}: {what}: {line.strip()[:100]}"
        for number, line in enumerate(source.splitlines(), start=1)
        if ANYTHING_FOREIGN.search(line)
        for what, pattern in DOES_NOT_BELONG.items()
        if re.search(pattern, line)
    ]


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder not in ("docs", ".ci")])
def test_files_and_functions_are_small(folder: str) -> None:
    assert [fault for path in python_files(folder) for fault in size_faults(path, read(path))] == []


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder not in ("docs", ".ci")])
def test_every_module_says_what_lives_there(folder: str) -> None:
    assert [fault for path in python_files(folder) for fault in door_faults(path, read(path))] == []


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder not in ("docs", ".ci")])
def test_lines_are_narrow_and_assign_once(folder: str) -> None:
    faults = [fault for path in python_files(folder) for fault in width_faults(path, read(path))]
    assert faults == []


@pytest.mark.parametrize("package", sorted(packages()), ids=str)
def test_every_package_lists_its_modules(package: Path) -> None:
    assert unlisted_modules(package) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_describes_itself(package: str) -> None:
    docstring = statements_of(read(Path(package) / "__init__.py")).docstring
    assert 5 <= len(docstring.splitlines()) <= 20


def test_print_belongs_to_the_command_line() -> None:
    assert [
        fault
        for path in python_files(*PACKAGES, "tests")
        for fault in print_faults(path, read(path))
    ] == []


def test_every_test_asserts() -> None:
    tests = [path for path in python_files("tests") if path.name.startswith("test_")]
    assert len(tests) >= 3
    assert [fault for path in tests for fault in silent_tests(path, read(path))] == []


def test_nothing_is_written_that_does_not_belong() -> None:
    files = list(text_files())
    assert len(files) >= 50
    assert [fault for path in files for fault in foreign_words(path, read(path))] == []


LONG_FUNCTION = '"""Door."""\n\n\ndef long() -> None:\n' + "    x = 1\n" * MAX_LINES_OF_FUNCTION
# (the check, the path, the source, a part of the fault; "" where there is none)
PLANTED = [
    (size_faults, "prp_core/a.py", "x = 1\n" * 401, "401 lines, the wall is 400"),
    (size_faults, "tests/unit/test_a.py", "x = 1\n" * 601, "601 lines, the wall is 600"),
    (size_faults, "tests/unit/test_a.py", "x = 1\n" * 600, ""),
    (size_faults, "prp_core/a.py", LONG_FUNCTION, "long: 61 lines, the wall is 60"),
    (size_faults, "tests/unit/test_a.py", LONG_FUNCTION, ""),
    (width_faults, "prp_core/a.py", "x = " + "1" * 97 + "\n", "101 columns, the wall is 100"),
    (width_faults, "prp_core/a.py", "x = " + "1" * 96 + "\n", ""),
    (width_faults, "prp_core/a.py", "self.a, self.b = 1, 2\n", "one assignment a line"),
    (door_faults, "prp_core/a.py", "import os\n", "no docstring"),
    (
        door_faults,
        "prp_core/a.py",
        '"""Half a sentence that\ngoes on."""\n',
        "not a sentence of its own",
    ),
    (door_faults, "prp_core/data/__init__.py", "", ""),
    (print_faults, "prp_core/a.py", "print('loss', 1)\n", "prp_core/a.py:1: print belongs to"),
    (print_faults, "orchestrator/commands/prp.py", "print('usage')\n", ""),
    (
        silent_tests,
        "tests/unit/test_a.py",
        "def test_it():\n    run()\n",
        "test_it asserts nothing",
    ),
    (
        silent_tests,
        "tests/unit/test_a.py",
        "def test_it():\n    with pytest.raises(ValueError):\n        run()\n",
        "",
    ),
    (foreign_words, "docs/a.md", "see /hom" + "e/anna/videos", "somebody's home directory"),
    (foreign_words, "cluster/aws/a.yaml", "dir: /hom" + "e/ray/prp", ""),
    (foreign_words, "prp_core/a.py", "raise NotImplementedErro" + "r", "work left for later"),
    (foreign_words, "docs/a.md", "key AKI" + "AABCDEFGHIJKLMNOP", "an access key"),
]


@pytest.mark.parametrize(
    ("check", "path", "source", "fault"),
    PLANTED,
    ids=[f"{row[0].__name__}-{number}" for number, row in enumerate(PLANTED)],
)
def test_a_planted_fault_is_found(check, path: str, source: str, fault: str) -> None:
    found = check(Path(path), source)
    assert any(fault in text for text in found) if fault else found == []
