"""Does PRP teach the demo's encoder anything? Pretrained against its own random initialisation, several seeds, on the untouched test part.

    uv run python -m benchmarks.demo.representation --seeds 0-1-2 --set pretext.playback_rate.rates=1-2-4-8

Every seed trains the preset's config from its own initialisation on the same training part, without Ray. Queries are the test part, which no
search ever sees; the gallery is the training part. Printed for each seed and for all: recall@1, with two intervals of 95 %: over seeds (Student's t)
and over scenes (bootstrap of the scenes' mean hits, since videos of one scene succeed and fail together).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from orchestrator import demo_videos
from orchestrator.index_run import index
from orchestrator.run_config import RunConfig, load_config
from orchestrator.sweep_spec import home_dir
from prp_core.data.manifest import Parts, parts
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.evaluation.baselines import BASELINES, evaluate_baselines
from prp_core.evaluation.features import extract_features
from prp_core.evaluation.intervals import Interval, bootstrap_interval, seed_interval
from prp_core.evaluation.retrieval import hits_at_k
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.encoder_export import checkpoint_encoder_weights, rebuild_encoder
from prp_core.training.learner import build_network
from prp_core.training.loop import PretrainData, pretrain
from prp_core.training.reporting import MemoryReporter
from prp_core.world import World, use_threads

ALONE = World.alone()


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--seeds", default="0-1-2", help="training seeds joined by '-'")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="PATH=VALUE")
    arguments = parser.parse_args()
    use_threads(1)
    base = load_config(arguments.preset, arguments.settings)
    folder = demo_videos.make(home_dir() / "demo-videos")
    manifest, _ = index(folder, loader=base.loader)
    split = parts(manifest, val_fraction=base.source.val_fraction, seed=base.seed)
    print(f"{len(split.train)} training videos, {len(split.test)} test videos of {len({scene_of(record.group) for record in split.test})} scenes")
    random_hits, trained_hits = [], []
    with VideoSource(LocalStore(folder), None, base.loader) as source:
        for seed in (int(part) for part in arguments.seeds.split("-")):
            config = load_config(arguments.preset, [*arguments.settings, f"seed={seed}"])
            started = time.process_time()
            random_hits.append(hits_of(build_network(config).encoder, config, source, split))
            trained_hits.append(hits_of(trained_encoder(config, source, split), config, source, split))
            shares = mean(random_hits[-1]), mean(trained_hits[-1])
            seconds = time.process_time() - started
            print(f"seed {seed}: random initialisation {shares[0]:.3f}, pretrained {shares[1]:.3f} ({seconds:.0f} CPU-seconds without decoding)")
        pixels = evaluate_baselines(base, gallery=split.train, queries=split.test, source=source, world=ALONE)
    report("random initialisation", random_hits, split)
    report("pretrained", trained_hits, split)
    for name in BASELINES[1:]:
        print(f"{name}: {pixels[f'{name}/retrieval/recall_at_1']:.3f}")


def trained_encoder(config: RunConfig, source: VideoSource, split: Parts) -> object:
    """The encoder after the last epoch."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = CheckpointFolder(LocalStore(Path(folder)))
        pretrain(config, PretrainData(source, split), ALONE, checkpoints=checkpoints, reporter=MemoryReporter())
        checkpoint = checkpoints.latest_committed()
        assert checkpoint is not None
        return rebuild_encoder(config.encoder.name, checkpoint_encoder_weights(checkpoints, checkpoint))


def hits_of(encoder: object, config: RunConfig, source: VideoSource, split: Parts) -> list[float]:
    """For each test video 1.0 when its nearest training video has its class, else 0.0."""
    views = config.evaluation.views
    gallery = extract_features(encoder, split.train, source, config.clip, views, ALONE)  # type: ignore[arg-type]
    queries = extract_features(encoder, split.test, source, config.clip, views, ALONE)  # type: ignore[arg-type]
    return [float(hit) for hit in hits_at_k(gallery, queries, (1,))[1].tolist()]


def report(name: str, hits: list[list[float]], split: Parts) -> None:
    """Mean recall@1 with both intervals."""
    over_scenes = bootstrap_interval([mean(list(column)) for column in zip(*hits, strict=True)], [scene_of(record.group) for record in split.test])
    texts = [f"over scenes {bounds(over_scenes)}"]
    if len(hits) > 1:
        texts.insert(0, f"over seeds {bounds(seed_interval([mean(row) for row in hits]))}")
    print(f"{name}: recall@1 {mean([mean(row) for row in hits]):.3f}, " + ", ".join(texts))


def scene_of(group: str) -> str:
    """The scene, whatever class was filmed in it: ``Spin/g07`` is scene ``g07``."""
    return group.rpartition("/")[2]


def bounds(interval: Interval) -> str:
    """``[0.412, 0.623]``."""
    return f"[{interval.low:.3f}, {interval.high:.3f}]"


def mean(values: list[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
