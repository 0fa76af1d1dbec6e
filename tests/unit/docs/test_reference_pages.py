"""The documentation's generated references name all that there is; its messages exist."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.config.field_docs import field_docs

REPOSITORY = Path(__file__).parents[3]
DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The module that mkdocs loads."""
    spec = importlib.util.spec_from_file_location("reference_pages", DOCS / "reference_pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_config_reference_has_each_key_with_its_meaning(reference: ModuleType) -> None:
    page = reference.config_page()
    docs = {path: doc for path, doc in field_docs().items() if not doc.is_table}
    rows = re.findall(r"^\| `(\w+)` \| `.+` \| `.+` \| (.+) \|$", page, flags=re.MULTILINE)
    assert [name for name, _ in rows] == [path.rpartition(".")[2] for path in docs]
    assert "## clip\n" in page
    assert "| `length` | `int` | `16` |" in page


def test_the_command_reference_has_each_command_and_the_studys_options(
    reference: ModuleType,
) -> None:
    page = reference.commands_page()
    for words in ("prp status", "prp data index", "prp cache clear", "A study"):
        assert f"## {words}\n" in page
    assert "usage: prp data index" in page
    assert "--budget-gpu-hours H" in page


def test_each_message_of_the_troubleshooting_page_is_one_that_is_printed() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    wanted = set(re.findall(r"^### `(.+)`$", page, flags=re.MULTILINE))
    assert len(wanted) >= 15
    texts = [
        node.value
        for package in ("orchestrator", "prp_core", "cluster")
        for path in (REPOSITORY / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [part for part in wanted if not any(part in text for text in texts)] == []
