"""Documents from outside: JSON and TOML that others wrote, parsed and turned into typed records.

Whatever is wrong with one (torn, not UTF-8, nested a hundred thousand deep, a text where a number
belongs) is a `ValueError`, which whoever knows the file turns into an error of its own.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

Record = TypeVar("Record")

MAX_DEPTH = 100


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text of at most `MAX_DEPTH` levels. Raises `ValueError`."""
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    opened = (b"[", b"{") if isinstance(data, bytes) else ("[", "{")
    if sum(map(data.count, opened)) > MAX_DEPTH:  # type: ignore[arg-type]
        _refuse_depth(value)
    return value


def parse_json_object(data: bytes | str) -> dict[str, Any]:
    """The object of a JSON text. Raises `ValueError`, also for any other value."""
    value = parse_json(data)
    if not isinstance(value, dict):
        raise ValueError(f"it holds {str(value)[:60]}, not an object")
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text of at most `MAX_DEPTH` levels. Raises `ValueError`."""
    try:
        tree = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _refuse_depth(tree)
    return tree


def record_from(record_class: type[Record], values: Any) -> Record:
    """The dataclass instance that a parsed JSON object describes, each value of its field's type.

    A list becomes a tuple where the field is one; a whole number serves as a float. Raises
    `ValueError` for a name that is missing or unknown and for a value of another type; the class
    may raise its own errors for values that it refuses.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{record_class.__name__} is {str(values)[:60]}, not an object")
    hints = _hints(record_class)  # type: ignore[arg-type]
    unknown = sorted(set(map(str, values)) - set(hints))
    if unknown:
        raise ValueError(f"{record_class.__name__} has no {unknown[0]!r}")
    found = {name: _typed(hints[name], value, name) for name, value in values.items()}
    try:
        return record_class(**found)
    except TypeError as error:  # a field is missing
        raise ValueError(str(error)) from None


@cache
def _hints(record_class: type) -> dict[str, Any]:
    assert dataclasses.is_dataclass(record_class), record_class
    hints = typing.get_type_hints(record_class)
    return {entry.name: hints[entry.name] for entry in dataclasses.fields(record_class)}


def _typed(hint: Any, value: Any, name: str) -> Any:
    """`value` as a field of type `hint` holds it."""
    if hint is Any or hint is object:
        return value
    origin = typing.get_origin(hint)
    if origin is types.UnionType or origin is typing.Union:
        options = typing.get_args(hint)
        if value is None and types.NoneType in options:
            return None
        return _typed(next(one for one in options if one is not types.NoneType), value, name)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return value  # the class itself lists its choices
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return record_from(hint, value)
    if origin is tuple and isinstance(value, list):
        return _typed_tuple(typing.get_args(hint), value, name)
    if origin in (dict, collections.abc.Mapping) and isinstance(value, dict):
        inner = typing.get_args(hint)[1]
        return {str(key): _typed(inner, one, f"{name}.{key}") for key, one in value.items()}
    if type(value) is hint or (hint is float and type(value) is int and abs(value) < 1 << 1000):
        return hint(value)
    kind = getattr(hint, "__name__", hint)
    raise ValueError(f"{name} is {str(value)[:60]!r}, not of type {kind}")


def _typed_tuple(hints: tuple[Any, ...], values: list[Any], name: str) -> tuple[Any, ...]:
    if len(hints) == 2 and hints[1] is Ellipsis:
        return tuple(_typed(hints[0], value, name) for value in values)
    if len(hints) != len(values):
        raise ValueError(f"{name} has {len(values)} values, not {len(hints)}")
    return tuple(_typed(hint, value, name) for hint, value in zip(hints, values, strict=True))


def _refuse_depth(value: Any) -> None:
    """Raise `ValueError` for a value so deep that what walks it later would fail."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += [inner for inner in one.values() if isinstance(inner, dict | list)]
            elif isinstance(one, list):
                below += [inner for inner in one if isinstance(inner, dict | list)]
        if not below:
            return
        level = below
    raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
