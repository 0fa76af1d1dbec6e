"""A report of byte-identical copies among the videos of a manifest, with what contradicts them.

Copies (equal sha256) in training and validation would make a validation figure a figure of memory;
`manifest.parts` keeps them together.
"""

from __future__ import annotations

from collections.abc import Iterable

from prp_core.data.manifest import VideoRecord, copies_of_each_video


def describe_copies(records: Iterable[VideoRecord]) -> str:
    """One line for a person on the copies among `records`; "" where there are none."""
    found = copies_of_each_video(records)
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
