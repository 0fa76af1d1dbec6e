"""Each dependency in `pyproject.toml` says which file needs it, and that file does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.architecture.source_tree import REPOSITORY, imports_of, read

# What a distribution is called in an import, or in the text of a file that is not Python, where its
# own name differs.
NAME_IN_USE = {
    "nvidia-ml-py": "pynvml",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "scikit-learn": "sklearn",
    "pyyaml": "yaml",
    "types-pyyaml": "yaml",
    "types-jsonschema": "jsonschema",
    "boto3-stubs": "boto3",
    "pytest-timeout": "--timeout",
    "import-linter": "lint-imports",
    "optuna-dashboard": "optuna_dashboard",
    "mkdocs-material": "mkdocs",
}

DEPENDENCY_LINE = re.compile(r'^    "(?P<name>[A-Za-z0-9_.-]+)[^"]*",\s*(?:#\s*(?P<comment>.*))?$')
PATH_IN_COMMENT = re.compile(r"(?<![\w/])\.?[\w-]+(?:/[\w.-]*)+|[\w-]+\.(?:py|toml|ini)\b")


def dependency_lines(text: str) -> list[tuple[str, str]]:
    """(name, comment) of each line of the runtime, optional and development dependencies."""
    blocks = re.findall(
        r"^(?:dependencies|decord|dev|docs) = \[\n(.*?)^\]", text, flags=re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 4, "runtime, extra, development and documentation"
    lines = [
        line
        for block in blocks
        for line in block.splitlines()
        if line.strip() and not line.strip().startswith("#")
    ]
    matches = [(line, DEPENDENCY_LINE.match(line)) for line in lines]
    assert [line for line, match in matches if match is None] == [], "one dependency a line"
    return [(match["name"].lower(), match["comment"] or "") for _, match in matches if match]


def uses(path: Path, name: str) -> bool:
    """Whether the file at `path`, or one below it, imports `name`; a file that is not Python need
    only mention it.
    """
    files = (
        [file.relative_to(REPOSITORY) for file in (REPOSITORY / path).rglob("*.py")]
        if (REPOSITORY / path).is_dir()
        else [path]
    )
    if any(
        item.library == name
        for file in files
        if file.suffix == ".py"
        for item in imports_of(read(file), file)
    ):
        return True
    return any(name in read(file) for file in files if file.suffix != ".py")


def fault(name: str, comment: str) -> str:
    """What is wrong with one dependency's comment; empty when it names a file that is there and
    needs the dependency.
    """
    paths = [Path(text) for text in PATH_IN_COMMENT.findall(comment)]
    if not paths:
        return f"{name}: the comment {comment!r} names no file"
    if missing := [path.as_posix() for path in paths if not (REPOSITORY / path).exists()]:
        return f"{name}: {', '.join(missing)} is not there"
    used_as = NAME_IN_USE.get(name, name)
    return (
        ""
        if any(uses(path, used_as) for path in paths)
        else f"{name}: none of {', '.join(map(str, paths))} uses {used_as}"
    )


DEPENDENCIES = dependency_lines(read(Path("pyproject.toml")))


@pytest.mark.parametrize(("name", "comment"), DEPENDENCIES, ids=[name for name, _ in DEPENDENCIES])
def test_the_comment_names_a_file_that_needs_it(name: str, comment: str) -> None:
    assert fault(name, comment) == ""


PLANTED = [
    ("numpy", "", "numpy: the comment '' names no file"),
    ("numpy", "prp_core/gone.py: frames", "numpy: prp_core/gone.py is not there"),
    ("flask", "prp_core/randomness.py", "flask: none of prp_core/randomness.py uses flask"),
    ("torch", "prp_core/: networks; the rest too", ""),
    ("ruff", ".ci/run", ""),
]


@pytest.mark.parametrize(("name", "comment", "expected"), PLANTED)
def test_a_planted_fault_is_named(name: str, comment: str, expected: str) -> None:
    assert fault(name, comment) == expected
