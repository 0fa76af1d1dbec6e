"""Held-out checks at a run's end: is the playback rate named on videos that training never saw?

The accuracy on training clips alone cannot tell a rate that is seen from one that is remembered, or
that the length of a video gives away (`metadata_probe`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prp_core.agreement import first_alone
from prp_core.data.clip_dataset import ClipDataset
from prp_core.data.frame_source import FrameSource
from prp_core.data.manifest import VideoRecord
from prp_core.data.metadata_probe import metadata_rate_metrics
from prp_core.data.spans import SpanBatch
from prp_core.errors import BrokenVideo
from prp_core.pretext.network import PrpNetwork
from prp_core.pretext.targets import build_pretext_batch
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.pretrain_data import PretrainData
from prp_core.world import World

TASK = "playback_rate"
MAX_VIDEOS = 64


def held_out_checks(
    network: PrpNetwork, config: PretrainConfig, data: PretrainData, world: World
) -> dict[str, float]:
    """``held_out/rate_accuracy`` and ``held_out/rate_accuracy_over_chance`` on at most `MAX_VIDEOS`
    validation videos, in evaluation mode, and what `metadata_rate_metrics` says; the same on
    every worker. Empty where the playback-rate task is off, or no video is long enough.
    """
    if TASK not in config.pretext.active:
        return {}
    sampling = config.pretext.span_sampling(config.clip.length)

    def measure() -> dict[str, float]:
        train, val = data.parts.train, data.validation
        found = metadata_rate_metrics(train, val.queries, config.clip, sampling, config.seed)
        return {**_accuracy(network, config, val.queries, val.source), **found} if found else {}

    return first_alone(world, "checking rates on held-out videos", measure)


def _accuracy(
    network: PrpNetwork,
    config: PretrainConfig,
    held_out: Sequence[VideoRecord],
    source: FrameSource,
) -> dict[str, float]:
    clip = config.clip.without_augmentation()
    sampling = config.pretext.span_sampling(clip.length)
    needed = clip.frames_needed(max(sampling.rates))
    long_enough = [record for record in held_out if record.num_frames >= needed]
    if not long_enough:  # with shorter ones the length would name the rate
        return {}
    records = long_enough[:: -(-len(long_enough) // MAX_VIDEOS)]
    dataset = ClipDataset(records, clip, sampling, config.seed)
    device = next(network.parameters()).device
    was_training = network.training
    hits = []
    network.eval()
    try:
        for index in range(len(records) * len(sampling.rates)):
            draw = dataset.draw(0, index)
            positions, frame_numbers = dataset.positions(draw)
            try:
                frames_NHWC = source.frames(records[draw.video_index], frame_numbers)
            except BrokenVideo:
                continue
            spans = SpanBatch((draw.sample(frames_NHWC, positions),))
            batch = build_pretext_batch(spans, clip, config.pretext, device, ())
            with torch.no_grad():
                named = network(batch.clip_BCTHW)[TASK].argmax(dim=1)
            hits.append(float((named == batch.targets[TASK]).double().mean()))
    finally:
        network.train(was_training)
    if not hits:
        return {}
    accuracy = sum(hits) / len(hits)
    chance = 1 / len(sampling.rates)
    return {
        "held_out/rate_accuracy": accuracy,
        "held_out/rate_accuracy_over_chance": (accuracy - chance) / (1 - chance),
    }
