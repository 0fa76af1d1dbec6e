"""The metadata probe: whether a video's length, frame rate, size and codec give its label away.

A naive Bayes classifier that sees no pixel, fitted on some videos and measured on others. Where it
names the playback rate, the rate classifier has nothing to see either: short videos, which can only
be drawn at low rates, are the usual cause.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from statistics import fmean

from prp_core.data.clip_config import ClipConfig
from prp_core.data.clip_dataset import ClipDataset
from prp_core.data.manifest import VideoRecord
from prp_core.data.spans import SpanSampling

NUM_BINS = 12
MAX_VIDEOS = 2000
NUM_EPOCHS = 4


def metadata_rate_metrics(
    train: Sequence[VideoRecord],
    held_out: Sequence[VideoRecord],
    clip: ClipConfig,
    sampling: SpanSampling,
    seed: int,
) -> dict[str, float]:
    """``metadata/rate_accuracy``: of the probe, fitted on the rates that training draws for `train`
    and measured on those that it would draw for `held_out`; ``metadata/rate_chance``: of guessing.
    Empty where no rate can be drawn for `held_out`.
    """
    longest = max((record.num_frames for record in held_out), default=0)
    if longest < clip.frames_needed(min(sampling.rates)) and clip.short_videos != "loop":
        return {}
    rates = tuple(
        rate
        for rate in sampling.rates
        if clip.short_videos != "resample" or longest >= clip.frames_needed(rate)
    )
    held = SpanSampling(rates, sampling.positions, sampling.reversed_share)
    known, asked = (
        _drawn_rates(records, clip, one, seed)
        for records, one in ((train, sampling), (held_out, held))
    )
    return {
        "metadata/rate_accuracy": metadata_accuracy(known, asked),
        "metadata/rate_chance": 1 / len({rate for _, rate in asked}),
    }


def metadata_accuracy(
    known: Sequence[tuple[VideoRecord, Hashable]], asked: Sequence[tuple[VideoRecord, Hashable]]
) -> float:
    """The balanced accuracy (mean over labels) on `asked` of a classifier that was fitted on the
    labels of `known` and sees length, frame rate, size and codec alone.
    """
    edges = [_edges([number(record) for record, _ in known]) for number in NUMBERS]
    counts: dict[tuple[int, Hashable, Hashable], int] = defaultdict(int)
    labels = Counter(label for _, label in known)
    for record, label in known:
        for place, value in enumerate(_facts(record, edges)):
            counts[place, value, label] += 1

    def log_likelihood(facts: Sequence[Hashable], label: Hashable) -> float:
        total = 0.0  # every label is as likely at first
        for place, value in enumerate(facts):
            total += math.log((counts[place, value, label] + 1) / (labels[label] + NUM_BINS))
        return total

    def named(record: VideoRecord) -> Hashable:
        facts = _facts(record, edges)
        return max(labels, key=lambda label: log_likelihood(facts, label))

    hits: dict[Hashable, list[bool]] = defaultdict(list)
    for record, label in asked:
        hits[label].append(named(record) == label)
    return fmean(fmean(found) for found in hits.values())


NUMBERS = (
    lambda record: record.num_frames,
    lambda record: record.fps,
    lambda record: record.width * record.height,
)


def _edges(values: Sequence[float]) -> list[float]:
    """The quantiles that divide `values` into `NUM_BINS` bins; of a few kinds of value each is a
    bin of its own, however rare it is.
    """
    kinds = sorted(set(values))
    if len(kinds) <= NUM_BINS:
        return kinds[1:]
    ranked = sorted(values)
    return sorted({ranked[len(ranked) * place // NUM_BINS] for place in range(1, NUM_BINS)})


def _facts(record: VideoRecord, edges: Sequence[Sequence[float]]) -> tuple[Hashable, ...]:
    bins = (bisect_right(edge, number(record)) for edge, number in zip(edges, NUMBERS, strict=True))
    return (*bins, record.codec)


def _drawn_rates(
    records: Sequence[VideoRecord], clip: ClipConfig, sampling: SpanSampling, seed: int
) -> list[tuple[VideoRecord, Hashable]]:
    """The videos of a few epochs, each with the rate that was drawn for it."""
    step = -(-len(records) // MAX_VIDEOS)
    dataset = ClipDataset(records[::step], clip, sampling, seed)
    draws = (
        dataset.draw(epoch, index)
        for epoch in range(NUM_EPOCHS)
        for index in range(len(dataset.records))
    )
    return [(dataset.records[draw.video_index], draw.rate) for draw in draws]
