"""CPU time of loading in a demo trial: without the frame cache, with an empty and a filled one.

    uv run python -m benchmarks.data.demo_trial [--scenes 5] [--epochs 12]

CPU-seconds of one process and its decoder for all the epochs of the `demo` preset over its own
videos (a few scenes of them, all for training).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from contextlib import closing
from pathlib import Path

import torch

from orchestrator.config.run_config import RunConfig, load_config, with_values
from orchestrator.data.demo_videos import DemoSettings, make
from orchestrator.data.frame_tier import through_frame_cache
from prp_core.data.indexing import index_videos
from prp_core.data.manifest import Parts, VideoRecord
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.training.loop import build_loader
from prp_core.training.pretrain_data import PretrainData
from prp_core.world import World


def main() -> None:
    """Make the videos, load them three ways, print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        videos = make(
            Path(name) / "videos", DemoSettings(num_scenes=arguments.scenes, clips_per_scene=1)
        )
        base = load_config("demo", [f"cache.dir={name}/cache", "clip.length=16"])
        with VideoSource(LocalStore(videos), None, base.loader) as source:
            records = tuple(index_videos(source))
        for way, capacity in (("no cache", 0), ("empty cache", 1 << 32), ("filled cache", 1 << 32)):
            config = with_values(base, {"cache.frames_capacity_bytes": capacity})
            seconds = load_epochs(videos, config, records, arguments.epochs)
            print(
                (
                    f"{way:<13}{seconds:7.2f} CPU-seconds for {arguments.epochs} epochs of "
                    f"{len(records)} videos"
                ),
                flush=True,
            )


def load_epochs(
    videos: Path, config: RunConfig, records: tuple[VideoRecord, ...], num_epochs: int
) -> float:
    """CPU-seconds, the decoder's included, to load `num_epochs` epochs."""
    started = spent_seconds()
    store = LocalStore(videos)
    with closing(
        through_frame_cache(VideoSource(store, None, config.loader), config, made_from=store.uri)
    ) as source:
        loader = build_loader(config, PretrainData(source, Parts(records, (), ())), World.alone())
        for epoch in range(num_epochs):
            for _ in loader.batches(epoch):
                pass
    return spent_seconds() - started


def spent_seconds() -> float:
    """CPU-seconds of this process and of its children that have ended."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    main()
