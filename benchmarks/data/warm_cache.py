"""What the cache of decoded frames gains: warm clips against memcpy, shared against separate.

Run by ``python -m benchmarks.data``. CPU-seconds, children counted; medians of interleaved rounds.
The videos are made on the spot: 320 x 240, MPEG-4 with B-frames in AVI; clips have 16 frames at 128
x 171. A trial is one process with one decoder that loads one epoch. memcpy is `Tensor.clone` of the
very bytes of a clip.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.data import paper_way
from prp_core.data.cache.cached_frames import CachedFrames
from prp_core.data.cache.frame_cache import FrameCache
from prp_core.data.cache.node_cache import NodeCache
from prp_core.data.clip_config import ClipConfig
from prp_core.data.clip_dataset import ClipDataset
from prp_core.data.indexing import index_videos
from prp_core.data.loader import SpanLoader
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.world import World
from tests.far_store import FarStore
from tests.span_sampling import sampling_of
from tests.video_factory import ENCODINGS, make_video

RATE_SETS = ((1, 2, 4, 8), (1, 2), (1, 3, 6), (2, 4, 8))
CLIP = ClipConfig(length=16)
SPAWN = multiprocessing.get_context("spawn")
LOADER = LoaderConfig(num_decoders=1, reader="pyav")
PAPER = "paper's way"
NUM_FRAMES = 150
NUM_FAST = 5
COLUMNS = ("cpu", "data/samples", "data/cache_downloads", "data/frames_misses")


SHARED = "one cache for all four, at once"
BESIDE = "each with its own, at once"
ALONE = "each with its own, one after another"
Round = tuple[float, float, float]
"""Clips per CPU-second, downloads per video, decodes per video."""


@dataclass(frozen=True)
class Shared:
    """What came of each round, by the way in which the four trials ran."""

    rounds: dict[str, list[Round]]

    def times(self, other: str) -> float:
        """How many times `other`'s clips per CPU-second the four reach that share; the median."""
        return statistics.median(
            together[0] / single[0]
            for together, single in zip(self.rounds[SHARED], self.rounds[other], strict=True)
        )

    @property
    def downloads(self) -> float:
        """Downloads per video of the four that share: the worst round's."""
        return max(together[1] for together in self.rounds[SHARED])

    def table(self) -> str:
        """A row for each way, medians of the rounds."""
        lines = [
            "| way | clips per CPU-second | downloads per video | decodes per video |",
            "|---|---|---|---|",
        ]
        for name, rounds in self.rounds.items():
            clips, downloads, decodes = (
                statistics.median(column) for column in zip(*rounds, strict=True)
            )
            lines.append(f"| {name} | {clips:.1f} | {downloads:.2f} | {decodes:.2f} |")
        return "\n".join(lines)


def make_videos(folder: Path, number: int) -> list[VideoRecord]:
    """`number` indexed videos under ``folder/videos``."""
    for seed in range(number):
        make_video(
            folder / "videos" / f"{seed:03}.avi",
            NUM_FRAMES,
            size=(320, 240),
            seed=seed,
            encoding=ENCODINGS["MPEG-4 in AVI with B-frames"],
        )
    with VideoSource(LocalStore(folder / "videos"), None, LOADER) as source:
        return list(index_videos(source))


def open_trial(folder: Path, cache_dir: Path) -> CachedFrames:
    """A trial's frames: videos of a far store, through both tiers below `cache_dir`."""
    store = FarStore(folder / "videos")
    videos = VideoSource(store, NodeCache(cache_dir, 1 << 40, store), LOADER)
    return CachedFrames(
        videos, FrameCache(cache_dir / "frames", 1 << 40), CLIP, made_by="benchmark"
    )


def warm_against_memcpy(
    folder: Path, records: list[VideoRecord], num_rounds: int
) -> dict[str, float]:
    """CPU-seconds a clip from a warm cache, copied in memory, and the paper's way.

    And ``bytes`` of a clip. Every frame from the cache is verified.
    """
    with open_trial(folder, folder / "warm") as source:
        dataset = ClipDataset(records, CLIP, sampling_of(RATE_SETS[0], CLIP.length), 1)
        draws = [dataset.draw(epoch, index) for epoch in range(4) for index in range(len(records))]
        requests = [(records[draw.video_index], dataset.positions(draw)[1]) for draw in draws]
        clips = [source.frames(*request) for request in requests]  # fills
        warm = []
        batched = []
        copy = []
        paper = []
        few = draws[:4]
        for _ in range(max(5, num_rounds)):
            paper.append(
                cpu_seconds(
                    lambda: [
                        paper_way.load(
                            folder / "videos" / records[d.video_index].key, d.start, 16, d.rate
                        )
                        for d in few
                    ]
                )
            )
            for _ in range(NUM_FAST):
                warm.append(
                    cpu_seconds(lambda: each(lambda request: source.frames(*request), requests))
                )
                batched.append(
                    cpu_seconds(
                        lambda: each(lambda request: torch.cat([source.frames(*request)]), requests)
                    )
                )
                copy.append(cpu_seconds(lambda: each(torch.Tensor.clone, clips)))
    return {
        "warm cache": statistics.median(warm) / len(clips),
        "warm cache, and copied to a batch": statistics.median(batched) / len(clips),
        "memcpy": statistics.median(copy) / len(clips),
        PAPER: statistics.median(paper) / len(few),
        "bytes": sum(clip_NHWC.numel() for clip_NHWC in clips) / len(clips),
    }


def warm_table(seconds: dict[str, float]) -> str:
    """A row for each way."""
    lines = [
        "| way | clips per CPU-second | GB/s | paper's = 1 | of memcpy |",
        "|---|---|---|---|---|",
    ]
    for name in (PAPER, "warm cache", "warm cache, and copied to a batch", "memcpy"):
        each = seconds[name]
        lines.append(
            f"| {name} | {1 / each:.0f} | {seconds['bytes'] / each / 1e9:.2f} | "
            f"{seconds[PAPER] / each:.0f}x | {seconds['memcpy'] / each:.0%} |"
        )
    return "\n".join(lines)


def each(load: Callable[[Any], object], items: Sequence[Any]) -> None:
    """`load` every one of `items` and let it go again, as batches are."""
    for item in items:
        load(item)


def cpu_seconds(work: Any) -> float:
    """CPU-seconds of this process for `work()`."""
    started = time.process_time()
    work()
    return time.process_time() - started


def shared_against_alone(folder: Path, records: list[VideoRecord], num_rounds: int) -> Shared:
    """Four trials that share a cache, against four with a cache each, together and in turn."""
    rounds: dict[str, list[Round]] = {SHARED: [], BESIDE: [], ALONE: []}
    for number in range(num_rounds):
        for name, of_round in rounds.items():
            places = [
                folder / f"{name}-{number}-{0 if name == SHARED else trial}"
                for trial in range(len(RATE_SETS))
            ]
            rows = run_trials(folder, places, records, at_once=name != ALONE)
            spent, clips, downloads, decodes = (
                sum(row[column] for row in rows) for column in COLUMNS
            )
            of_round.append((clips / spent, downloads / len(records), decodes / len(records)))
    return Shared(rounds)


def run_trials(
    folder: Path, cache_dirs: list[Path], records: list[VideoRecord], *, at_once: bool
) -> list[dict[str, float]]:
    """Counters and ``cpu`` of a trial for each rate set."""
    results = SPAWN.Queue()
    rows = []
    trials = [
        SPAWN.Process(target=trial, args=(folder, cache_dirs[n], records, n, results))
        for n in range(len(RATE_SETS))
    ]
    for process in trials:
        process.start()
        if not at_once:
            rows.append(results.get())
    if at_once:
        rows = [results.get() for _ in trials]
    for process in trials:
        process.join()
    return rows


def trial(
    folder: Path, cache_dir: Path, records: list[VideoRecord], number: int, results: Any
) -> None:
    """One epoch of trial `number`; puts its counters and CPU-seconds, the decoder's included.

    Imports and the decoder's start are not counted.
    """
    torch.set_num_threads(1)
    store = FarStore(folder / "videos")
    videos = VideoSource(store, NodeCache(cache_dir, 1 << 40, store), LOADER)
    videos.frames(records[0], [0])
    started = time.process_time() + videos.counters["data/decode_seconds"]
    with CachedFrames(
        videos, FrameCache(cache_dir / "frames", 1 << 40), CLIP, made_by="benchmark"
    ) as source:
        loader = SpanLoader(
            source,
            records,
            CLIP,
            sampling_of(RATE_SETS[number], CLIP.length),
            batch_size=4,
            seed=1,
            world=World.alone(),
        )
        for _ in loader.batches(0):
            pass
        counters = {**source.counters, **loader.counters}
    results.put(
        {**counters, "cpu": time.process_time() + counters["data/decode_seconds"] - started}
    )
