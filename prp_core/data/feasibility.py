"""Which rates and clip lengths a corpus allows, over all videos and class by class.

A rate for which every video of a class is too short would teach which class is short.
"""

from __future__ import annotations

from collections.abc import Sequence

from prp_core.data.clip_config import ClipConfig
from prp_core.data.manifest import VideoRecord
from prp_core.errors import UserError


def eligible_counts(
    records: Sequence[VideoRecord], rates: Sequence[int], clip: ClipConfig
) -> dict[int, int]:
    """For each rate, how many of `records` are long enough for a clip of `clip` at it."""
    return {
        rate: sum(record.num_frames >= clip.frames_needed(rate) for record in records)
        for rate in rates
    }


def eligible_counts_by_class(
    records: Sequence[VideoRecord], rates: Sequence[int], clip: ClipConfig
) -> dict[str, dict[int, int]]:
    """`eligible_counts` of each label, labels ascending; videos without a label are left out."""
    labels = sorted({record.label for record in records if record.label is not None})
    return {
        label: eligible_counts([record for record in records if record.label == label], rates, clip)
        for label in labels
    }


def lost_classes(
    records: Sequence[VideoRecord], rates: Sequence[int], clip: ClipConfig
) -> dict[int, list[str]]:
    """Rate -> the classes of which no video is long enough; rates that lose none are left out."""
    table = eligible_counts_by_class(records, rates, clip)
    lost = {rate: [label for label, counts in table.items() if counts[rate] == 0] for rate in rates}
    return {rate: labels for rate, labels in lost.items() if labels}


def check_feasible(records: Sequence[VideoRecord], rates: Sequence[int], clip: ClipConfig) -> None:
    """Raise `UserError` with the counts per rate if ``clip.short_videos`` leaves a rate undrawn."""
    counts = eligible_counts(records, rates, clip)
    must_fit = {"resample": list(rates), "max-rate": [min(rates)], "loop": []}[clip.short_videos]
    impossible = [rate for rate in must_fit if counts[rate] == 0]
    if not impossible:
        return
    table = ", ".join(f"rate {rate}: {count} of {len(records)}" for rate, count in counts.items())
    needed = clip.frames_needed(impossible[0])
    longest = max((record.num_frames for record in records), default=0)
    raise UserError(
        f"no video long enough for rate {impossible[0]} x clip length {clip.length} = {needed} "
        f"frames (long enough: {table}; the longest has {longest}); "
        "use lower rates, a shorter clip or clip.short_videos = 'loop'"
    )
