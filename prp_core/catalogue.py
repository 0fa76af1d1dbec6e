"""Lookup of a name in one of the dict literals that list what can be chosen."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from prp_core.errors import UserError

Entry = TypeVar("Entry")

MAX_LISTED = 20  # names in a message


def look_up(kind: str, name: str, catalogue: Mapping[str, Entry]) -> Entry:
    """The entry called `name`.

    Raises `UserError` with the choices and the nearest one:
    ``Unknown encoder 'r3dd'; known: c3d, r2plus1d, r3d. Did you mean 'r3d'?``
    """
    if name not in catalogue:
        raise unknown(kind, name, catalogue)
    return catalogue[name]


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not among `known`, with the nearest one as a suggestion."""
    choices = sorted(known)
    near = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    if len(choices) > MAX_LISTED:
        listed = f"{', '.join(choices[:MAX_LISTED])} and {len(choices) - MAX_LISTED} more"
    else:
        listed = ", ".join(choices)
    return UserError(f"Unknown {kind} {name!r}; known: {listed}.{hint}")
