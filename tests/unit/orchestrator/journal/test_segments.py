"""Which entries are merged into which objects, and which objects a reader reads, as tables."""

from __future__ import annotations

import pytest

from orchestrator.journal.segments import (
    Merge,
    MergeSizes,
    Segment,
    cover,
    next_merge,
    parse_segment,
    superseded,
)

SMALL = MergeSizes(smallest=4, fan_in=2, largest=16)


def segments(*pairs: tuple[int, int]) -> list[Segment]:
    return [Segment(first, last) for first, last in pairs]


@pytest.mark.parametrize(
    ("known", "start", "expected"),
    [
        ([], 0, []),
        ([(0, 3), (4, 7)], 0, [(0, 3), (4, 7)]),
        ([(0, 3), (4, 7), (0, 7)], 0, [(0, 7)]),
        ([(0, 7), (8, 11)], 5, [(0, 7), (8, 11)]),
        ([(4, 7)], 0, []),
        ([(0, 3), (8, 11)], 0, [(0, 3)]),
        ([(0, 3)], 4, []),
    ],
)
def test_the_fewest_segments_that_hold_what_is_wanted(
    known: list[tuple[int, int]], start: int, expected: list[tuple[int, int]]
) -> None:
    assert cover(segments(*known), start) == segments(*expected)


@pytest.mark.parametrize(
    ("known", "num_entries", "target", "parts"),
    [
        ([], 3, None, []),
        ([], 4, (0, 3), []),
        ([], 100, (0, 3), []),
        ([(0, 3)], 7, None, []),
        ([(0, 3)], 8, (4, 7), []),
        ([(0, 3), (4, 7)], 11, (0, 7), [(0, 3), (4, 7)]),
        ([(0, 3), (4, 7)], 12, (8, 11), []),
        ([(0, 7), (0, 3), (4, 7)], 11, None, []),
        ([(0, 7), (8, 11), (12, 15)], 16, (8, 15), [(8, 11), (12, 15)]),
        ([(0, 7), (8, 15)], 16, (0, 15), [(0, 7), (8, 15)]),
        ([(0, 15), (16, 31)], 35, None, []),
        ([(0, 3), (8, 11)], 16, (4, 7), []),
    ],
)
def test_what_is_merged_next(
    known: list[tuple[int, int]],
    num_entries: int,
    target: tuple[int, int] | None,
    parts: list[tuple[int, int]],
) -> None:
    expected = Merge(Segment(*target), tuple(segments(*parts))) if target else None
    assert next_merge(segments(*known), num_entries, SMALL) == expected


def test_segments_within_larger_ones_are_superseded() -> None:
    known = segments((0, 3), (4, 7), (0, 7), (8, 11), (8, 15), (16, 19))
    assert superseded(known) == segments((0, 3), (4, 7), (8, 11))


@pytest.mark.parametrize("sizes", [MergeSizes(), SMALL], ids=["default", "small"])
def test_the_number_of_objects_to_read_stays_small(sizes: MergeSizes) -> None:
    num_entries, known, num_merges = 100_000, set[Segment](), 0
    for count in range(sizes.smallest, num_entries + 1, sizes.smallest):
        while (due := next_merge(known, count, sizes)) is not None:
            known.add(due.target)
            num_merges += 1
        known -= set(superseded(known))
        if sizes is SMALL and count > 1000:
            break
    chosen = cover(known, 0)
    assert set(chosen) == known
    assert chosen[-1].last + 1 == (count if sizes is SMALL else 99_968)
    if sizes is not SMALL:
        assert len(chosen) <= 3 + 3 * 7
        assert num_merges < 1_800


@pytest.mark.parametrize("name", ["0-3.jsonl", "000000000000-000000000003.json", ".DS_Store"])
def test_other_names_are_no_segments(name: str) -> None:
    assert parse_segment(name) is None
    assert parse_segment(Segment(0, 3).name) == Segment(0, 3)
