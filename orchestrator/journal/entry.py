"""The format of a journal's objects: entries of a header line and one JSON record a line.

An entry is what one append wrote; a segment is entries one after the other, byte for byte:

    {"entry":42,"epoch":3,"writer":"5f0c...","kinds":["study","ledger"],"sha256":"9a1e..."}
    {"kind":"study", ...}
    {"kind":"ledger", ...}

The SHA-256 covers the header's other fields and the lines of the records, because a store's reply
can be damaged on its way without the client noticing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prp_core.documents import parse_json
from prp_core.errors import PrpError

KIND = re.compile(r"[a-z][a-z_]*")


class BadEntry(PrpError):
    """Bytes that are no entries of a journal; the text says why, and whoever read them says
    where.
    """


@dataclass(frozen=True, slots=True)
class Entry:
    """What one append wrote: its number, its writer's epoch and token, and its records as JSON
    lines with the kind of each.
    """

    number: int
    epoch: int
    writer: str
    kinds: tuple[str, ...]
    lines: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """The entry as it is stored."""
        header = {
            "entry": self.number,
            "epoch": self.epoch,
            "writer": self.writer,
            "kinds": self.kinds,
            "sha256": self._sha256(),
        }
        return json.dumps(header, separators=(",", ":")).encode() + b"\n" + b"".join(self.lines)

    def _sha256(self) -> str:
        words = f"{self.number} {self.epoch} {self.writer} {' '.join(self.kinds)}\n"
        digest = hashlib.sha256(words.encode())
        for line in self.lines:
            digest.update(line)
        return digest.hexdigest()


def record_line(record: Mapping[str, Any]) -> tuple[str, bytes]:
    """``(kind, JSON line)`` of one record, which is a JSON object with a ``kind``.

    Raises `ValueError` for a record without one and for what is nested too deeply, `TypeError` for
    a value that JSON does not know.
    """
    kind = record.get("kind")
    if not isinstance(kind, str) or not KIND.fullmatch(kind):
        raise ValueError(f"A record of a journal needs a kind such as 'study'; this has {kind!r}")
    try:
        return kind, json.dumps(record, separators=(",", ":")).encode() + b"\n"
    except RecursionError:
        raise ValueError(f"A record of kind {kind!r} is nested too deeply for JSON") from None


def parse_record(line: bytes) -> dict[str, Any]:
    """The record of one line. Raises `BadEntry`."""
    return _json_object(line, "a record")


def parse_entries(data: bytes, first: int, last: int) -> list[Entry]:
    """The entries `first` to `last`, which are all that `data` holds. Raises `BadEntry`."""
    lines = iter(data.splitlines(keepends=True))
    entries = [_parse_entry(lines, number) for number in range(first, last + 1)]
    if next(lines, None) is not None:
        raise BadEntry(f"something follows entry {last}, which is the last of this object")
    return entries


def _parse_entry(lines: Iterator[bytes], number: int) -> Entry:
    header = _json_object(next(lines, b""), f"the header of entry {number}")
    kinds = header.get("kinds")
    if (
        header.keys() != {"entry", "epoch", "writer", "kinds", "sha256"}
        or header["entry"] != number
        or type(header["epoch"]) is not int
        or not isinstance(header["writer"], str)
        or not isinstance(kinds, list)
        or not all(isinstance(kind, str) and KIND.fullmatch(kind) for kind in kinds)
    ):
        raise BadEntry(f"it has {str(header)[:100]} where the header of entry {number} belongs")
    records = tuple(next(lines, b"") for _ in kinds)
    entry = Entry(number, header["epoch"], header["writer"], tuple(kinds), records)
    if entry._sha256() != header["sha256"]:
        raise BadEntry(f"entry {number} is torn or was changed: its SHA-256 is another")
    return entry


def _json_object(line: bytes, what: str) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise BadEntry(f"it ends where {what} belongs")
    try:
        value = parse_json(line)
    except ValueError as error:
        raise BadEntry(f"{what} is not JSON ({str(error)[:80]})") from None
    if not isinstance(value, dict):
        raise BadEntry(f"{what} is not a JSON object: {line[:60]!s}")
    return value
