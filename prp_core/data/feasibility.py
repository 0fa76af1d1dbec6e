"""Which rates and clip lengths a corpus allows, class by class: a rate that a whole class is too short for teaches who is short."""

from __future__ import annotations

from collections.abc import Sequence

from prp_core.data.manifest import VideoRecord, feasibility


def class_feasibility(records: Sequence[VideoRecord], rates: Sequence[int], clip_length: int) -> dict[str, dict[int, int]]:
    """Label -> rate -> how many of the class's videos are long enough; labels ascending, videos without a label left out."""
    labels = sorted({record.label for record in records if record.label is not None})
    return {label: feasibility([record for record in records if record.label == label], rates, clip_length) for label in labels}


def lost_classes(records: Sequence[VideoRecord], rates: Sequence[int], clip_length: int) -> dict[int, list[str]]:
    """Rate -> the classes of which no video is long enough; rates that lose none are left out."""
    table = class_feasibility(records, rates, clip_length)
    lost = {rate: [label for label, counts in table.items() if counts[rate] == 0] for rate in rates}
    return {rate: labels for rate, labels in lost.items() if labels}
