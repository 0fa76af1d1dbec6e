"""Pretrained encoders against their own random initialisation, over several seeds.

    uv run python -m benchmarks.demo.representation --seeds 0-1-2 --demo-seed 1 --scenes 40

Every seed trains the preset's config from its own initialisation on the same training part, without
Ray. Queries are `--part` of the videos that generator seed `--demo-seed` draws, the gallery is the
training part. `--scenes` beyond the demo's own draws further scenes, all of them queries: training,
gallery and the demo's own parts stay what they are, and the intervals over scenes become narrower.
With ``--part further`` they are the only queries: videos that no sweep, no choice and no earlier
test has seen. ``--compare PATH=VALUE`` (repeatable, the values together) trains the same seeds once
more with these values, and compares query by query.

Printed: recall@1, and the differences query by query, each with two intervals of 95 %: over seeds
(Student's t) and over scenes (bootstrap of whole scenes, since the videos of one scene succeed and
fail together); pixel baselines; the accuracies of the pretext tasks on the queries' spans;
effective rank of the features. Exit code 1 when, over seeds or over scenes, the intervals of
pretrained and random initialisation are not apart.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from orchestrator.config.run_config import RunConfig, load_config
from orchestrator.config.sweep_spec import home_dir
from orchestrator.confirmation import mean_interval
from orchestrator.data import demo_videos
from orchestrator.data.demo_videos import DemoSettings
from orchestrator.data.index import IndexJob, index
from prp_core.data.loader import SpanLoader
from prp_core.data.manifest import Manifest, Parts, VideoRecord, parts
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.evaluation.baselines import PIXEL_BASELINES
from prp_core.evaluation.feature_health import feature_health
from prp_core.evaluation.features import (
    Describe,
    FeatureTable,
    encoder_feature,
    extract_tables,
    in_evaluation_mode,
)
from prp_core.evaluation.intervals import Interval, bootstrap_interval
from prp_core.evaluation.retrieval import hits_at_k
from prp_core.pretext.network import PrpNetwork, build_network
from prp_core.pretext.targets import build_pretext_batch
from prp_core.reporting import MemoryReporter
from prp_core.training.checkpoint import CheckpointFolder, from_bytes
from prp_core.training.loop import PretrainData, pretrain
from prp_core.training.metrics import RunningMean
from prp_core.world import World, use_threads

ALONE = World.alone()
RANDOM = "random initialisation"
PRETRAINED = "pretrained"
PIXELS: dict[str, Describe] = {
    "first_frame": lambda clips_BCTHW: clips_BCTHW[:, :, 0],
    **PIXEL_BASELINES,
}
"""The first frame of each view holds looks alone; the mean frame has some motion in it, as blur."""
Hits = dict[str, list[list[float]]]
"""For each kind of network: a row per seed, 1.0 or 0.0 for each query."""
Networks = dict[str, list[PrpNetwork]]
"""For each kind of network: one per seed."""


def main() -> int:
    """Train, measure, print; 0 when the intervals are apart, else 1."""
    arguments = parse()
    use_threads(1)
    # One evaluation, after the last epoch.
    settings = [*arguments.settings, "training.first_rung_epochs=100000"]
    kinds = {PRETRAINED: settings}
    if arguments.compared:
        kinds[f"with {', '.join(arguments.compared)}"] = [*settings, *arguments.compared]
    seeds = arguments.seeds.split("-")
    configs = {
        kind: [load_config(arguments.preset, [*values, f"seed={seed}"]) for seed in seeds]
        for kind, values in kinds.items()
    }
    first = configs[PRETRAINED][0]
    folder, split, queries = chosen_videos(arguments, settings)
    print(
        f"{len(split.train)} training videos; queries: {len(queries)} videos of "
        f"{len({record.group for record in queries})} scenes",
        flush=True,
    )
    with VideoSource(LocalStore(folder), None, first.loader) as source:
        networks: Networks = {
            RANDOM: [build_network(config) for config in configs[PRETRAINED]],
            **{
                kind: [trained_network(config, source, split) for config in of_seeds]
                for kind, of_seeds in configs.items()
            },
        }
        accuracies = {
            kind: [
                task_accuracies(network, config, source, queries)
                for network, config in zip(networks[kind], of_seeds, strict=True)
            ]
            for kind, of_seeds in configs.items()
        }
        gallery = tables_of(networks, first, source, split.train)
        asked = tables_of(networks, first, source, queries)
    for name in PIXELS:
        print(f"{name}: recall@1 {mean(hits_of(gallery, asked, name)):.3f}")
    hits = {
        kind: [hits_of(gallery, asked, f"{kind} {row}") for row in range(len(seeds))]
        for kind in networks
    }
    for row, seed in enumerate(seeds):
        for kind in networks:
            told = ", ".join(
                f"{name} {value:.3f}"
                for name, value in (accuracies[kind][row] if kind in accuracies else {}).items()
            )
            rank = rank_of(gallery, f"{kind} {row}")
            recall = mean(hits[kind][row])
            print(f"seed {seed}, {kind}: {recall:.3f}, effective rank {rank:.1f}; {told}")
    return report(hits, [record.group for record in queries])


def chosen_videos(
    arguments: argparse.Namespace, settings: Sequence[str]
) -> tuple[Path, Parts, tuple[VideoRecord, ...]]:
    """(folder of the videos, parts of the demo's own scenes, queries)."""
    config = load_config(arguments.preset, settings)
    folder, split, further = demo_parts(config, arguments.demo_seed, arguments.scenes)
    own = () if arguments.part == "further" else getattr(split, arguments.part)
    queries = (*own, *further)
    if not queries:
        raise SystemExit(
            "--part further asks for scenes beyond the demo's own: say how many there "
            "are in all with --scenes"
        )
    return folder, split, queries


def rank_of(tables: Mapping[str, FeatureTable], name: str) -> float:
    """How many directions the features of a table use; see `feature_health`."""
    return feature_health(tables[name])["feature/effective_rank"]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--seeds", default="0-1-2", help="training seeds joined by '-'")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument(
        "--compare", dest="compared", action="append", default=[], metavar="PATH=VALUE"
    )
    parser.add_argument(
        "--demo-seed",
        type=int,
        default=DemoSettings.seed,
        help="the seed that the videos are drawn from",
    )
    parser.add_argument(
        "--scenes",
        type=int,
        default=DemoSettings.num_scenes,
        help="scenes of each class; those beyond the demo's are queries",
    )
    what = (
        "val while something is being chosen, test once at the end; further: only the "
        "scenes beyond the demo's own"
    )
    parser.add_argument("--part", choices=("val", "test", "further"), default="test", help=what)
    return parser.parse_args()


def demo_parts(
    config: RunConfig, demo_seed: int, num_scenes: int
) -> tuple[Path, Parts, tuple[VideoRecord, ...]]:
    """(folder of the videos, parts of the demo's own scenes, the videos of further scenes)."""
    own = DemoSettings.num_scenes
    folder = demo_videos.make(
        home_dir() / "demo-videos", DemoSettings(seed=demo_seed, num_scenes=max(own, num_scenes))
    )
    manifest, _ = index(IndexJob(uri=folder, loader=config.loader))
    further = tuple(record for record in manifest.usable() if scene_number(record) > own)
    as_in_demo = Manifest(
        manifest.uri, tuple(record for record in manifest.records if scene_number(record) <= own)
    )
    split = parts(as_in_demo, val_fraction=config.source.val_fraction, seed=config.seed)
    return folder, split, further


def scene_number(record: VideoRecord) -> int:
    """``Turn/g07`` is scene 7 of its class."""
    return int(record.group.rpartition("g")[2])


def trained_network(config: RunConfig, source: VideoSource, split: Parts) -> PrpNetwork:
    """The network after the last epoch."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = CheckpointFolder(LocalStore(Path(folder)))
        pretrain(
            config,
            PretrainData(source, split),
            ALONE,
            checkpoints=checkpoints,
            reporter=MemoryReporter(),
        )
        checkpoint = checkpoints.latest_committed()
        assert checkpoint is not None
        network = build_network(config)
        network.load_state_dict(
            from_bytes(checkpoints.read(checkpoint, "common.pt"))["learner"]["network"]
        )
        return network


@torch.no_grad()
def task_accuracies(
    network: PrpNetwork, config: RunConfig, source: VideoSource, queries: Sequence[VideoRecord]
) -> dict[str, float]:
    """The accuracies of the pretext tasks, by metric, on a span of each of `queries`."""
    loader = SpanLoader(
        source,
        queries,
        config.clip,
        config.pretext.span_sampling(config.clip.length),
        batch_size=8,
        seed=config.seed,
        world=ALONE,
    )
    means = RunningMean()
    with in_evaluation_mode(network):
        for spans in loader.batches(epoch=0):
            key = (config.seed, "accuracies")
            batch = build_pretext_batch(spans, config.clip, config.pretext, "cpu", key)
            outputs = network(batch.clip_BCTHW)
            numbers: dict[str, float] = {}
            for name, task in config.pretext.active.items():
                values = task.metrics(outputs[name], batch.targets[name]).tolist()
                numbers.update(zip(task.metric_names, values, strict=True))
            means.add(numbers)
    return {name: value for name, value in means.means().items() if name.endswith("_accuracy")}


def tables_of(
    networks: Networks, config: RunConfig, source: VideoSource, records: Sequence[VideoRecord]
) -> Mapping[str, FeatureTable]:
    """The features of `records` by the pixel baselines and every network.

    ``pretrained 0`` is the first seed's; videos are decoded once for all.
    """
    describers: dict[str, Describe] = {name: flat(describe) for name, describe in PIXELS.items()}
    for kind, of_seeds in networks.items():
        for row, network in enumerate(of_seeds):
            describers[f"{kind} {row}"] = encoder_feature(network.encoder.eval())
    return extract_tables(describers, records, source, config.clip, config.evaluation.views, ALONE)


def flat(describe: Describe) -> Describe:
    """`describe` with one vector for each clip."""
    return lambda clips_BCTHW: describe(clips_BCTHW).flatten(1)


def hits_of(
    gallery: Mapping[str, FeatureTable], queries: Mapping[str, FeatureTable], name: str
) -> list[float]:
    """For each query 1.0 when its nearest gallery video has its class, else 0.0."""
    return [float(hit) for hit in hits_at_k(gallery[name], queries[name], (1,))[1].tolist()]


def report(hits: Hits, scenes: Sequence[str]) -> int:
    """Print recall@1 and the difference with their intervals.

    0 when both pairs of intervals are apart, else 1.
    """
    over_seeds = {}
    over_scenes = {}
    rows = {**hits, f"{PRETRAINED} - {RANDOM}": differences(hits[PRETRAINED], hits[RANDOM])}
    for kind in hits:
        if kind not in (RANDOM, PRETRAINED):
            rows[f"{kind} - {PRETRAINED}"] = differences(hits[kind], hits[PRETRAINED])
    for name, of_seeds in rows.items():
        over_scenes[name] = bootstrap_interval(
            [mean(column) for column in zip(*of_seeds, strict=True)], scenes
        )
        text = f"over scenes {bounds(over_scenes[name])}"
        if len(of_seeds) > 1:
            over_seeds[name] = mean_interval([mean(row) for row in of_seeds])
            text = f"over seeds {bounds(over_seeds[name])}, {text}"
        print(f"{name}: recall@1 {over_scenes[name].value:.3f}, {text}")
    apart = [
        f"over {what}"
        for what, kind in (("seeds", over_seeds), ("scenes", over_scenes))
        if kind and kind[PRETRAINED].is_above(kind[RANDOM])
    ]
    print(f"the intervals are apart: {' and '.join(apart) or 'no'}")
    return 0 if len(apart) == 1 + bool(over_seeds) else 1


def differences(
    after: Sequence[Sequence[float]], before: Sequence[Sequence[float]]
) -> list[list[float]]:
    """`after` minus `before`, query by query, for each seed."""
    return [
        [one - other for one, other in zip(*pair, strict=True)]
        for pair in zip(after, before, strict=True)
    ]


def bounds(interval: Interval) -> str:
    """``[0.412, 0.623]``."""
    return f"[{interval.low:.3f}, {interval.high:.3f}]"


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


if __name__ == "__main__":
    raise SystemExit(main())
