"""Which rates and clip lengths a corpus allows, class by class: a rate that a whole class is too
short for teaches who is short.
"""

from __future__ import annotations

from collections.abc import Sequence

from prp_core.data.dilated_sampling import num_starts, span_length
from prp_core.data.manifest import VideoRecord
from prp_core.errors import UserError


def class_feasibility(
    records: Sequence[VideoRecord], rates: Sequence[int], clip_length: int
) -> dict[str, dict[int, int]]:
    """Label -> rate -> how many of the class's videos are long enough; labels ascending, videos
    without a label left out.
    """
    labels = sorted({record.label for record in records if record.label is not None})
    return {
        label: feasibility(
            [record for record in records if record.label == label], rates, clip_length
        )
        for label in labels
    }


def lost_classes(
    records: Sequence[VideoRecord], rates: Sequence[int], clip_length: int
) -> dict[int, list[str]]:
    """Rate -> the classes of which no video is long enough; rates that lose none are left out."""
    table = class_feasibility(records, rates, clip_length)
    lost = {rate: [label for label, counts in table.items() if counts[rate] == 0] for rate in rates}
    return {rate: labels for rate, labels in lost.items() if labels}


def feasibility(
    records: Sequence[VideoRecord], rates: Sequence[int], clip_length: int
) -> dict[int, int]:
    """For each rate, how many of `records` are long enough for a clip of `clip_length` frames at
    it.
    """
    return {
        rate: sum(num_starts(record.num_frames, clip_length, rate) > 0 for record in records)
        for rate in rates
    }


def check_feasible(
    records: Sequence[VideoRecord],
    rates: Sequence[int],
    clip_length: int,
    short_videos: str = "resample",
) -> None:
    """Raise `UserError` with the counts per rate if some rate can never be drawn (`short_videos`: a
    key of `SHORT_VIDEO_POLICIES`).
    """
    counts = feasibility(records, rates, clip_length)
    must_fit = {"resample": list(rates), "max-rate": [min(rates)], "loop": []}[short_videos]
    impossible = [rate for rate in must_fit if counts[rate] == 0]
    if not impossible:
        return
    table = ", ".join(f"rate {rate}: {count} of {len(records)}" for rate, count in counts.items())
    longest = max((record.num_frames for record in records), default=0)
    raise UserError(
        f"no video long enough for rate {impossible[0]} x clip length {clip_length} = "
        f"{span_length(clip_length, impossible[0])} frames "
        f"(long enough: {table}; the longest has {longest}); use lower rates, a shorter "
        "clip or clip.short_videos = 'loop'"
    )
