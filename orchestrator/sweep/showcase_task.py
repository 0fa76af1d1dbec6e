"""A showcase task, as a node runs it: a trial's neighbours, reconstructed clips, and its page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from orchestrator.config.run_config import RunConfig, parse_config
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.data.open_data import open_data
from orchestrator.report.showcase import Clip, Showcase, Strip
from orchestrator.report.showcase_choice import spread_over_classes
from orchestrator.report.showcase_page import showcase_html
from orchestrator.sweep.final_tasks import newest_checkpoint
from prp_core.data.clip_dataset import ClipDataset
from prp_core.data.frame_source import FrameSource
from prp_core.data.manifest import VideoRecord
from prp_core.data.shards.jpeg_codec import encode_jpegs
from prp_core.errors import BrokenVideo
from prp_core.evaluation.neighbours import RetrievalExamples, find_neighbours
from prp_core.evaluation.video_strip import video_strip
from prp_core.pretext.network import PrpNetwork
from prp_core.pretext.reconstruction_sample import choose_draws, read_span, reconstruct
from prp_core.training.encoder_export import rebuild_network
from prp_core.training.pretrain_data import PretrainData
from prp_core.world import World, best_device, use_threads

NUM_CLIPS = 4
JPEG_QUALITY = 85


def showcase_of_trial(
    spec: SweepSpec, number: int, tree: Mapping[str, Any], values: Mapping[str, Any]
) -> str:
    """The page of trial `number`, whose config is `tree`, as HTML."""
    config = parse_config(tree)
    use_threads(int(config.resources.cpus_per_worker))
    world = World.alone(best_device())
    network = rebuild_network(config, *newest_checkpoint(spec, config, number)).to(world.device)
    with open_data(spec, config, world) as data:
        found = show(
            network, config, data, world, sweep_id=spec.sweep_id, trial=number, values=values
        )
    return showcase_html(found)


def show(
    network: PrpNetwork,
    config: RunConfig,
    data: PretrainData,
    world: World,
    *,
    sweep_id: str,
    trial: int,
    values: Mapping[str, Any],
) -> Showcase:
    """The showcase of `trial`: the neighbours of its queries, and reconstructed clips.

    `network` is in evaluation mode.
    """
    train = data.parts.train
    gallery, val, source = data.parts.gallery, data.parts.val, data.validation.source
    shown = [val[index].key for index in spread_over_classes(val)[: config.showcase.num_queries]]
    retrieved = find_neighbours(network.encoder, config, data.validation, world, shown=shown)
    strips, unread = read_strips(
        {record.key: record for record in (*gallery, *val)}, keys_of(retrieved), source, config
    )
    clips, unread_clips = reconstruct_clips(network, config, train, data.source)
    missing = [(key, reason) for key, reason in retrieved.unreadable_queries if key in shown]
    return Showcase(
        sweep_id=sweep_id,
        trial=trial,
        values=values,
        config=config,
        retrieved=retrieved,
        strips=strips,
        clips=clips,
        left_out=tuple(dict.fromkeys([*missing, *unread, *unread_clips])),
    )


def keys_of(retrieved: RetrievalExamples) -> Iterable[str]:
    """Every video that is shown, once."""
    return dict.fromkeys(
        key
        for query in retrieved.shown
        for key in (query.key, *(one.key for one in query.neighbours))
    )


def read_strips(
    records: Mapping[str, VideoRecord], keys: Iterable[str], source: FrameSource, config: RunConfig
) -> tuple[dict[str, Strip], list[tuple[str, str]]]:
    """(the strip of each video of `keys` that can be read, the others with the reason)."""
    strips = {}
    unread = []
    for key in keys:
        try:
            strip = video_strip(records[key], source, config.clip)
        except BrokenVideo as broken:
            unread.append((key, broken.reason))
            continue
        strips[key] = Strip(_jpegs(strip.frames_NHWC), strip.positions, strip.num_frames)
    return strips, unread


def reconstruct_clips(
    network: PrpNetwork, config: RunConfig, train: Sequence[VideoRecord], source: FrameSource
) -> tuple[list[Clip], list[tuple[str, str]]]:
    """(what the network makes of `NUM_CLIPS` training videos, those that cannot be read with the
    reason); none where the task taught nothing.
    """
    tasks = config.pretext
    rates = config.pretext.playback_rate.rate_list
    clips: list[Clip] = []
    unread: list[tuple[str, str]] = []
    if not tasks.slow_motion.loss_weight:
        return clips, unread
    # Reconstructions are shown forwards, whatever share of the spans was trained on backwards.
    sampling = replace(tasks.span_sampling(config.clip.length), reversed_share=0.0)
    dataset = ClipDataset(train, config.clip, sampling, config.seed)
    for draw in choose_draws(train, spread_over_classes(train), config.clip, rates, NUM_CLIPS):
        record = train[draw.video_index]
        try:
            span = read_span(dataset, draw, source)
        except BrokenVideo as broken:
            unread.append((record.key, broken.reason))
            continue
        sample = reconstruct(network, record, span, config.clip, tasks)
        rows = {
            "clip": sample.clip_NHWC,
            "target": sample.target_NHWC,
            "output": sample.output_NHWC,
        }
        if sample.attention_NHW is not None:
            rows["attention"] = np.repeat(sample.attention_NHW[..., None], 3, axis=-1)
        clips.append(Clip(sample, {name: _jpegs(pictures) for name, pictures in rows.items()}))
    return clips, unread


def _jpegs(frames_NHWC: np.ndarray) -> tuple[bytes, ...]:
    return tuple(encode_jpegs(frames_NHWC, JPEG_QUALITY))
