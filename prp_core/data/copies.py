"""Byte-identical copies among the videos of a manifest: they are one group, and are reported.

Copies (equal sha256) in training and validation would make a validation figure a figure of memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prp_core.data.manifest import VideoRecord


def group_copies(records: Sequence[VideoRecord]) -> tuple[VideoRecord, ...]:
    """`records`, where groups that hold copies of one video have one name: the first of theirs.

    A record without a sha256 is nobody's copy.
    """
    parent: dict[str, str] = {}

    def root(group: str) -> str:
        while group in parent:
            group = parent[group]
        return group

    for copies in _copies(records):
        roots = sorted({root(record.group) for record in copies})
        parent.update(dict.fromkeys(roots[1:], roots[0]))
    return tuple(
        replace(record, group=root(record.group)) if record.group in parent else record
        for record in records
    )


def describe_copies(records: Iterable[VideoRecord]) -> str:
    """One line for a person on the copies among `records`; "" where there are none."""
    found = _copies(records)
    if not found:
        return ""
    first, second = (record.key for record in found[0][:2])
    said = [
        f"{sum(map(len, found)) - len(found)} videos are byte for byte copies of others "
        f"({second!r} of {first!r}); copies are one group, which is never divided"
    ]
    labels = sum(len({record.label for record in copies}) > 1 for copies in found)
    if labels:
        said.append(f"{labels} videos have copies with other labels, which are kept")
    splits = sum(len({record.split for record in copies}) > 1 for copies in found)
    if splits:
        said.append(f"{splits} videos have copies in other stated splits, which are kept: leakage")
    return "; ".join(said)


def _copies(records: Iterable[VideoRecord]) -> list[list[VideoRecord]]:
    """The usable videos of each sha256 that occurs more than once."""
    by_content: dict[str, list[VideoRecord]] = {}
    for record in records:
        if record.sha256 and not record.reason:
            by_content.setdefault(record.sha256, []).append(record)
    return [copies for copies in by_content.values() if len(copies) > 1]
