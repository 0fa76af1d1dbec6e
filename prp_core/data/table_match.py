"""Matching of a table's names to the keys of a corpus: exact ends first, then looser ones.

Corpora are re-encoded (``.avi`` became ``.mp4``), moved to other folders and spelt in two ways
(UCF101's ``HandstandPushups`` and ``HandStandPushups``).
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

Said = TypeVar("Said")

VIDEO_SUFFIX = re.compile(
    r"\.(?:avi|mp4|m4v|mov|mkv|webm|mpe?g|m2ts|mts|ts|flv|wmv|asf|ogv|ogg|gif|3gp)$"
)


def match_table(table: Mapping[str, Said], keys: Iterable[str]) -> tuple[dict[str, str], set[str]]:
    """(the table's name for each key that it names, the names that match no key).

    A name matches a key that is it or ends with it. Where no name is the end of a key, a name that
    differs in case, in the suffix of a video or in Windows' backslashes counts, unless two say
    different things. Where nothing matches at all, the names are tried without the folders that
    they all have in common.
    """
    keys = tuple(keys)
    names = {name: name for name in table}
    found = _match(table, {_plain(name): name for name in names}, keys)
    if not found:
        slashed = {name: _plain(name.replace("\\", "/")) for name in names}
        common = os.path.commonpath(slashed.values()) if len(names) > 1 else ""
        shorter = {slashed[name].removeprefix(common).lstrip("/"): name for name in names}
        shorter.pop("", None)
        found = _match(table, shorter, keys) if common else {}
    return found, set(names) - set(found.values())


def _match(
    table: Mapping[str, Said], names: Mapping[str, str], keys: Iterable[str]
) -> dict[str, str]:
    loose: dict[str, str] = {}
    for plain, name in names.items():
        other = loose.setdefault(_loose(plain), name)
        if other and table[other] != table[name]:
            loose[_loose(plain)] = ""
    found: dict[str, str] = {}
    for key in keys:
        name = next((names[end] for end in _ends(key) if end in names), "") or next(
            (loose[end] for end in _ends(_loose(key)) if end in loose), ""
        )
        if name:
            found[key] = name
    return found


def _plain(name: str) -> str:
    """`name` without ``./`` before it and doubled or final slashes."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _loose(name: str) -> str:
    return VIDEO_SUFFIX.sub("", _plain(name.casefold().replace("\\", "/")))


def _ends(key: str) -> Iterator[str]:
    """The key, then ever shorter ends of it."""
    while key:
        yield key
        key = key.partition("/")[2]
