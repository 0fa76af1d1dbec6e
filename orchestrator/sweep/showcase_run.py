"""Cluster tasks that make a showcase page for each of a sweep's best trials."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import ray

from orchestrator.config.run_config import RunConfig, parse_config, to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.coordinator.coordinator import CoordinatorHandle
from orchestrator.data.open_data import open_data
from orchestrator.ray_cluster.worker_failures import failure_reason
from orchestrator.report.formatting import joined
from orchestrator.report.showcase import Clip, Showcase, Strip
from orchestrator.report.showcase_choice import SHOWCASE_FILE, spread_over_classes, trials_to_show
from orchestrator.report.showcase_page import showcase_html
from orchestrator.search.space import apply_space
from orchestrator.sweep.final_evaluation import (
    Evaluated,
    newest_checkpoint,
    on_cluster,
    record_cost,
)
from orchestrator.sweep.plan import Plan
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState
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
from prp_core.training.loop import PretrainData
from prp_core.world import World, best_device, use_threads

NOTE = "showcases"  # of the sweep: the numbers of the trials that have one
NUM_CLIPS = 4
JPEG_QUALITY = 85


def keep_showcases(
    plan: Plan,
    coordinator: CoordinatorHandle,
    views: Sequence[TrialView],
    taken: int | None,
    say: Callable[[str], None],
) -> list[int]:
    """Make the missing showcases and store each in its trial's run; the trials that have one.

    Numbers ascend. A showcase that cannot be made ends nothing: one line says why, and a resume
    tries again.
    """
    scores = {view.number: view.objective for view in views if view.state == TrialState.FINISHED}
    there = set(json.loads(ray.get(coordinator.recorder.note.remote(NOTE)) or "[]"))
    missing = [
        number
        for number in trials_to_show(scores, plan.config.showcase.num_trials, taken)
        if number not in there
    ]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        say(
            f"making the showcase{plural} of trial{plural} "
            f"{joined([str(number) for number in missing])}"
        )
    values = {view.number: view.values for view in views}
    pending = {
        number: make_showcase(
            plan.spec, number, to_tree(apply_space(plan.config, values[number])), values[number]
        )
        for number in missing
    }
    for number, page in pending.items():
        try:
            found = ray.get(page)
            record_cost(plan.config, coordinator, "showcase", number, found)
            ray.get(
                coordinator.recorder.log_trial_text.remote(
                    number, SHOWCASE_FILE, found.files[SHOWCASE_FILE].decode()
                )
            )
        # hours of training end well whatever a picture runs into; the person is told
        except Exception as error:  # noqa: BLE001
            say(f"trial {number} has no showcase: {failure_reason(error)}")
            continue
        there.add(number)
        ray.get(coordinator.recorder.note.remote(NOTE, json.dumps(sorted(there))))
    return sorted(there)


def make_showcase(
    spec: SweepSpec, number: int, tree: Mapping[str, Any], values: Mapping[str, Any]
) -> Any:
    """Start the task that makes trial `number`'s page; a future of `Evaluated`.

    The page is its file `SHOWCASE_FILE`. `tree` is the trial's config, `values` what its
    space suggested.
    """
    return on_cluster(parse_config(tree), _showcase).remote(spec, number, dict(tree), dict(values))


def _showcase(
    spec: SweepSpec, number: int, tree: dict[str, Any], values: dict[str, Any]
) -> Evaluated:
    config = parse_config(tree)
    use_threads(int(config.resources.cpus_per_worker))
    world = World.alone(best_device())
    network = rebuild_network(config, *newest_checkpoint(spec, config, number)).to(world.device)
    with open_data(spec, config, world) as data:
        found = show(
            network, config, data, world, sweep_id=spec.sweep_id, trial=number, values=values
        )
    return Evaluated({}, {SHOWCASE_FILE: showcase_html(found).encode()})


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
    val = data.parts.val
    shown = [val[index].key for index in spread_over_classes(val)[: config.showcase.num_queries]]
    retrieved = find_neighbours(network.encoder, config, data.validation, world, shown=shown)
    strips, unread = read_strips(
        {record.key: record for record in (*train, *val)}, keys_of(retrieved), data.source, config
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
