"""The format of a journal's objects: what is written is read, and nothing else is."""

from __future__ import annotations

import json

import pytest

from orchestrator.journal.entry import BadEntry, Entry, parse_entries, parse_record, record_line


def entry(number: int, *records: dict[str, object]) -> Entry:
    lines = [record_line(record) for record in records]
    kinds, texts = tuple(kind for kind, _ in lines), tuple(line for _, line in lines)
    return Entry(number, 3, "5f0c", kinds, texts)


FIRST = entry(7, {"kind": "study", "log": {"value": 0.1}}, {"kind": "ledger", "text": "a\nb\u2028"})
SECOND = entry(8, {"kind": "study", "log": None})


def test_a_segment_is_its_entries_one_after_the_other() -> None:
    data = FIRST.to_bytes() + SECOND.to_bytes()
    assert parse_entries(data, 7, 8) == [FIRST, SECOND]
    assert parse_entries(FIRST.to_bytes(), 7, 7) == [FIRST]
    assert [parse_record(line) for line in FIRST.lines][1]["text"] == "a\nb\u2028"
    header = json.loads(data.splitlines()[0])
    assert (header["entry"], header["epoch"], header["kinds"]) == (7, 3, ["study", "ledger"])


def test_an_entry_without_records_is_whole() -> None:
    empty = Entry(0, 1, "w", (), ())
    assert parse_entries(empty.to_bytes(), 0, 0) == [empty]


@pytest.mark.parametrize("position", range(0, len(FIRST.to_bytes()), 7))
def test_no_changed_byte_is_read(position: int) -> None:
    data = bytearray(FIRST.to_bytes())
    data[position] ^= 0x04
    with pytest.raises(BadEntry):
        parse_entries(bytes(data), 7, 7)


@pytest.mark.parametrize("length", range(0, len(FIRST.to_bytes()), 11))
def test_no_torn_entry_is_read(length: int) -> None:
    with pytest.raises(BadEntry):
        parse_entries(FIRST.to_bytes()[:length], 7, 7)


FOREIGN = {
    "empty": (b"", "it ends where the header of entry 7 belongs"),
    "no JSON": (b"<html>\n", "the header of entry 7 is not JSON"),
    "nested": (
        b"[" * 200_000 + b"\n",
        r"the header of entry 7 is not JSON \(it is nested too deeply",
    ),
    "nested objects": (b'{"entry":' * 100_000 + b"\n", r"not JSON \(it is nested too deeply"),
    "long number": (b"9" * 5000 + b"\n", r"the header of entry 7 is not JSON \(Exceeds"),
    "binary": (bytes(range(256)) + b"\n", "the header of entry 7 is not JSON"),
    "a list": (b"[7]\n", "the header of entry 7 is not a JSON object"),
    "another's JSON": (b'{"entry": 7}\n', "where the header of entry 7 belongs"),
    "another entry": (SECOND.to_bytes(), "where the header of entry 7 belongs"),
    "too many": (FIRST.to_bytes() + SECOND.to_bytes(), "something follows entry 7"),
    "too few": (FIRST.to_bytes().splitlines(keepends=True)[0], "entry 7 is torn or was changed"),
}


@pytest.mark.parametrize(("data", "text"), FOREIGN.values(), ids=FOREIGN.keys())
def test_something_else_is_named(data: bytes, text: str) -> None:
    with pytest.raises(BadEntry, match=text):
        parse_entries(data, 7, 7)


@pytest.mark.parametrize("kind", [None, "", "Study", "a b", 3])
def test_a_record_has_a_kind(kind: object) -> None:
    with pytest.raises(ValueError, match="needs a kind such as 'study'"):
        record_line({"kind": kind})


def test_what_json_cannot_hold_is_refused_before_it_is_written() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="'study' is nested too deeply"):
        record_line({"kind": "study", "value": deep})
    with pytest.raises(TypeError):
        record_line({"kind": "study", "value": {1, 2}})
