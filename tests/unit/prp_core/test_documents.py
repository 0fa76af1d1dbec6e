"""Documents from outside become typed records, or a `ValueError` that says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from prp_core.documents import parse_json, parse_json_object, parse_toml, record_from


@dataclass(frozen=True)
class Inner:
    name: str


@dataclass(frozen=True)
class Outer:
    count: int
    share: float
    inner: Inner
    label: str | None = None
    pairs: tuple[tuple[str, int], ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


GOOD = {"count": 3, "share": 1, "inner": {"name": "a"}}


def test_a_record_has_the_types_that_its_class_states() -> None:
    record = record_from(Outer, {**GOOD, "pairs": [["x", 1]], "notes": {"free": [None]}})
    assert record == Outer(3, 1.0, Inner("a"), None, (("x", 1),), {"free": [None]})
    assert type(record.share) is float


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"count": "3"}, "count is '3', not of type int"),
        ({"count": True}, "count is 'True', not of type int"),
        ({"count": 3.0}, "count is '3.0', not of type int"),
        ({"share": None}, "share is 'None', not of type float"),
        ({"share": 10**400}, "share is '1000.*not of type float"),
        ({"inner": "a"}, "Inner is a, not an object"),
        ({"inner": {}}, "missing 1 required positional argument: 'name'"),
        ({"label": 3}, "label is '3', not of type str"),
        ({"pairs": [["x"]]}, "pairs has 1 values, not 2"),
        ({"other": 1}, "Outer has no 'other'"),
    ],
    ids=str,
)
def test_any_other_value_is_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        record_from(Outer, {**GOOD, **change})


@pytest.mark.parametrize("depth", [101, 200_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    for text in ("[" * depth + "]" * depth, "[" * depth, '{"a":' * depth):
        with pytest.raises(ValueError, match=r"nested|Expecting"):
            parse_json(text)
    with pytest.raises(ValueError, match=r"nested"):
        parse_toml("a = " + "[" * depth + "]" * depth)
    assert parse_json("[" * 99 + "]" * 99)


def test_an_object_is_one() -> None:
    assert parse_json_object(b'{"a": 1}') == {"a": 1}
    for data in (b"[1]", b"null", b"\xff", b"", b"9" * 5000):
        with pytest.raises(ValueError, match=r"."):
            parse_json_object(data)
