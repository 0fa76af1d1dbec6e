"""Every field of a config class has a sentence below it, and the reader finds it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from orchestrator.config.field_docs import FieldDoc, field_docs
from orchestrator.config.run_config import RunConfig, flatten

DOCS = field_docs()


@dataclass(frozen=True)
class Inner:
    """A table."""

    size: int = 8
    """How many
    of them, in GiB."""
    silent: bool = False


@dataclass(frozen=True)
class Parent:
    """What another class inherits."""

    seed: int = 1
    """The first of all."""


@dataclass(frozen=True)
class Outer(Parent):
    """A tree."""

    inner: Inner = field(default_factory=Inner)
    """A table that is there."""
    other: Inner | None = None
    """A table that is off."""
    sizes: tuple[int, ...] = field(default_factory=lambda: (1, 2))
    """Several values."""


def test_paths_types_defaults_and_sentences() -> None:
    inner = {
        "size": FieldDoc("int", 8, "How many of them, in GiB."),
        "silent": FieldDoc("bool", False, ""),
    }
    assert field_docs(Outer) == {
        "seed": FieldDoc("int", 1, "The first of all."),
        "inner": FieldDoc("Inner", {}, "A table that is there.", is_table=True),
        **{f"inner.{name}": doc for name, doc in inner.items()},
        "other": FieldDoc("Inner | None", None, "A table that is off.", is_table=True),
        **{f"other.{name}": doc for name, doc in inner.items()},
        "sizes": FieldDoc("tuple[int, ...]", (1, 2), "Several values."),
    }


def test_every_value_of_a_config_is_documented_with_its_default() -> None:
    values = flatten(RunConfig())
    assert {path: DOCS[path].default for path in values} == values


@pytest.mark.parametrize("path", DOCS)
def test_every_field_has_a_sentence(path: str) -> None:
    sentence = DOCS[path].sentence
    assert len(sentence) > 10 and sentence.endswith("."), f"{path}: write one below the field"
