"""A journal in a folder that others have written to: one clear error, which names the object."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.object_journal import JournalReader
from orchestrator.journal.segments import MergeSizes
from prp_core.data.object_store import LocalStore
from prp_core.errors import CorruptObject

SMALL = MergeSizes(smallest=4, fan_in=2, largest=8)
ENTRY_2 = "journal/entries/000000000/000000000002.jsonl"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A journal of an opening and five entries, the first four merged."""
    store = LocalStore(tmp_path / "sweep")
    writer = JournalWriter(store, epoch=1, holder="driver", sizes=SMALL, merges_in_background=False)
    for number in range(5):
        writer.append([{"kind": "step", "number": number}])
    writer.merge()
    return store


def numbers(store: LocalStore, sizes: MergeSizes = MergeSizes()) -> list[int]:  # noqa: B008
    return [record["number"] for record in JournalReader(store, sizes=sizes).read("step")]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "it ends where the header of entry 2 belongs"),
        (b'{"entry": 2', "it ends where the header of entry 2 belongs"),
        (b"[" * 200_000 + b"\n", "the header of entry 2 is not JSON"),
        (b"<html></html>\n", "the header of entry 2 is not JSON"),
    ],
)
def test_an_entry_that_is_none(store: LocalStore, content: bytes, text: str) -> None:
    store.write(ENTRY_2, content)
    with pytest.raises(
        CorruptObject, match=f"^file://.*/{ENTRY_2} does not belong to a journal: {text}"
    ):
        numbers(store)
    with pytest.raises(CorruptObject, match=text):
        JournalWriter(store, epoch=2, holder="driver")


def test_an_entry_that_was_removed(store: LocalStore) -> None:
    store.delete(ENTRY_2)
    assert numbers(store) == [0, 1, 2, 3, 4], "a segment has it"
    (segment,) = store.list("journal/segments/")
    store.delete(segment.key)
    text = f"/journal lacks entry 2, .*: somebody removed {ENTRY_2}; a journal's objects must stay"
    with pytest.raises(CorruptObject, match=text):
        JournalReader(store)
    with pytest.raises(CorruptObject, match=text):
        JournalWriter(store, epoch=2, holder="driver")


def test_a_segment_that_is_none_may_be_removed(store: LocalStore) -> None:
    (segment,) = store.list("journal/segments/")
    store.write(segment.key, b"[]")
    text = "does not belong to a journal: .*; delete it: it is a copy of entries, and the journal"
    with pytest.raises(CorruptObject, match=f"{segment.key} {text}"):
        numbers(store, MergeSizes(smallest=2, fan_in=2, largest=8))
    store.delete(segment.key)
    assert numbers(store, SMALL) == [0, 1, 2, 3, 4]


def test_an_entry_of_somebody_who_never_opened_the_journal(store: LocalStore) -> None:
    foreign = LocalStore(store.root.parent / "other")
    other = JournalWriter(foreign, epoch=1, holder="another")
    for number in range(6):
        other.append([{"kind": "step", "number": number}])
    key = "journal/entries/000000000/000000000006.jsonl"
    store.write(key, b"".join(foreign.read(key)))
    with pytest.raises(CorruptObject, match="entry 6 is of a writer '[0-9a-f]{16}' who had not op"):
        numbers(store)


def test_files_of_other_names_are_left_alone(store: LocalStore) -> None:
    for name in (".DS_Store", "journal/entries/readme.txt", "journal/entries/000000000/1.jsonl"):
        store.write(name, b"x")
    assert numbers(store) == [0, 1, 2, 3, 4]


def test_what_a_sweep_keeps_is_for_its_user_alone(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "sweep", is_private=True)
    JournalWriter(store, epoch=1, holder="driver").append([{"kind": "step"}])
    for path in (tmp_path / "sweep").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
