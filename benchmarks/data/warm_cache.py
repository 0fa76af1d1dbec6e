"""What the node's cache of decoded frames gives: warm clips against memcpy, and four trials that share a node against each alone.

    uv run python -m benchmarks.data.warm_cache [--rounds 3] [--videos 24] [--frames 150]

CPU-seconds, children counted; medians of interleaved rounds. The videos are made on the spot: 320 x 240, MPEG-4 with B-frames in AVI; clips
have 16 frames at 128 x 171. A trial is one process with one decoder that loads one epoch. memcpy is `Tensor.clone` of the very bytes of a clip.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.data import paper_way
from prp_core.data.cached_frames import CachedFrames
from prp_core.data.clip_config import ClipConfig
from prp_core.data.clip_dataset import ClipDataset
from prp_core.data.frame_cache import FrameCache
from prp_core.data.indexing import index_videos
from prp_core.data.loader import SpanLoader
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.data.node_cache import NodeCache
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.world import World
from tests.far_store import FarStore
from tests.video_factory import ENCODINGS, make_video

RATE_SETS = ((1, 2, 4, 8), (1, 2), (1, 3, 6), (2, 4, 8))
CLIP = ClipConfig(length=16)
SPAWN = multiprocessing.get_context("spawn")
LOADER = LoaderConfig(num_decoders=1, reader="pyav")


def main() -> None:
    """Make the videos, measure both, print the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=3, help="of trials; 0: only the warm cache, against memcpy and the paper's way")
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--frames", type=int, default=150)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(arguments.videos):
            encoding = ENCODINGS["MPEG-4 in AVI with B-frames"]
            make_video(folder / "videos" / f"{number:03}.avi", arguments.frames, size=(320, 240), seed=number, encoding=encoding)
        with VideoSource(LocalStore(folder / "videos"), None, LOADER) as source:
            records = list(index_videos(source))
        warm_against_memcpy(folder, records, arguments.rounds)
        if arguments.rounds:
            shared_against_alone(folder, records, arguments.rounds)


def open_trial(folder: Path, cache_dir: Path) -> CachedFrames:
    """A trial's frames: videos of a far store, through both tiers below `cache_dir`."""
    store = FarStore(folder / "videos")
    videos = VideoSource(store, NodeCache(cache_dir, 1 << 40, store), LOADER)
    return CachedFrames(videos, FrameCache(cache_dir / "frames", 1 << 40), CLIP, made_by="benchmark")


def warm_against_memcpy(folder: Path, records: list[VideoRecord], num_rounds: int) -> None:
    """Clips per CPU-second out of a warm cache, every frame checked, and copies per CPU-second of the same bytes."""
    with open_trial(folder, folder / "warm") as source:
        dataset = ClipDataset(records, CLIP, RATE_SETS[0], 1)
        draws = [dataset.draw(epoch, index) for epoch in range(4) for index in range(len(records))]
        requests = [(records[draw.video_index], dataset.positions(draw, 2, with_attention=True)[1]) for draw in draws]
        clips = [source.frames(*request) for request in requests]  # fills
        warm, copy, paper, few = [], [], [], draws[:4]
        for _ in range(max(5, num_rounds)):
            paper.append(cpu_seconds(lambda: [paper_way.load(folder / "videos" / records[d.video_index].key, d.start, 16, d.rate) for d in few]))
            warm.append(cpu_seconds(lambda: [source.frames(*request) for request in requests]))
            copy.append(cpu_seconds(lambda: [clip_NHWC.clone() for clip_NHWC in clips]))
    num_bytes = sum(clip_NHWC.numel() for clip_NHWC in clips)
    paper_seconds = statistics.median(paper) / 4 * len(clips)
    seconds = {"warm cache": statistics.median(warm), "memcpy": statistics.median(copy), "paper": paper_seconds}
    for name, spent in seconds.items():
        print(f"{name:<12}{len(clips) / spent:10.0f} clips per CPU-second, {num_bytes / spent / 1e9:6.2f} GB/s")
    against = {name: spent / seconds["warm cache"] for name, spent in seconds.items()}
    print(f"warm cache against memcpy: {against['memcpy']:.0%}, against the paper's way: {against['paper']:.0f} times")


def cpu_seconds(work: Any) -> float:
    """CPU-seconds of this process for `work()`."""
    started = time.process_time()
    work()
    return time.process_time() - started


def shared_against_alone(folder: Path, records: list[VideoRecord], num_rounds: int) -> None:
    """Clips per CPU-second of four trials at once in one cache, against the four one after another, each with a cache of its own."""
    ratios = []
    for number in range(num_rounds):
        shared = run_trials(folder, [folder / f"shared-{number}"] * len(RATE_SETS), records, at_once=True)
        alone = run_trials(folder, [folder / f"alone-{number}-{trial}" for trial in range(len(RATE_SETS))], records, at_once=False)
        ratios.append(sum(row["cpu"] for row in alone) / sum(row["cpu"] for row in shared))
        for name, rows in (("shared", shared), ("alone", alone)):
            spent, clips = sum(row["cpu"] for row in rows), sum(row["data/samples"] for row in rows)
            downloads = sum(row["data/cache_downloads"] for row in rows) / len(records)
            decodes = sum(row["data/frames_misses"] for row in rows) / len(records)
            print(f"{name:<12}{clips / spent:8.1f} clips per CPU-second, {downloads:.2f} downloads and {decodes:.2f} decodes per video")
    print(f"four trials that share a node, against each alone: {statistics.median(ratios):.2f} times the clips per CPU-second")


def run_trials(folder: Path, cache_dirs: list[Path], records: list[VideoRecord], *, at_once: bool) -> list[dict[str, float]]:
    """Counters and ``cpu`` of a trial for each rate set."""
    results = SPAWN.Queue()
    rows = []
    trials = [SPAWN.Process(target=trial, args=(folder, cache_dirs[n], records, n, results)) for n in range(len(RATE_SETS))]
    for process in trials:
        process.start()
        if not at_once:
            rows.append(results.get())
    if at_once:
        rows = [results.get() for _ in trials]
    for process in trials:
        process.join()
    return rows


def trial(folder: Path, cache_dir: Path, records: list[VideoRecord], number: int, results: Any) -> None:
    """One epoch of trial `number`; puts its counters and its CPU-seconds: the decoder's included, imports and the decoder's start not."""
    torch.set_num_threads(1)
    store = FarStore(folder / "videos")
    videos = VideoSource(store, NodeCache(cache_dir, 1 << 40, store), LOADER)
    videos.frames(records[0], [0])
    started = time.process_time() + videos.counters["data/decode_seconds"]
    with CachedFrames(videos, FrameCache(cache_dir / "frames", 1 << 40), CLIP, made_by="benchmark") as source:
        loader = SpanLoader(
            source, records, CLIP, RATE_SETS[number], upsampling=2, with_attention=True, batch_size=4, seed=1, world=World.alone(), loader=LOADER
        )
        for _ in loader.batches(0):
            pass
        counters = {**source.counters, **loader.counters}
    results.put({**counters, "cpu": time.process_time() + counters["data/decode_seconds"] - started})


if __name__ == "__main__":
    main()
