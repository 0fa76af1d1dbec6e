"""Four trials on one node over a real S3: each video is downloaded and decoded once."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

from orchestrator.config.cache_config import CacheConfig
from orchestrator.config.run_config import RunConfig
from orchestrator.config.store_config import StoreConfig
from orchestrator.data.frame_tier import through_frame_cache
from orchestrator.storage.open_store import open_store
from prp_core.data.cache.node_cache import NodeCache
from prp_core.data.clip_config import ClipConfig
from prp_core.data.loader import SpanLoader
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.data.video_source import VideoSource
from prp_core.world import World
from tests.fixtures_s3 import S3Server
from tests.span_sampling import sampling_of
from tests.tools.fault_proxy import FaultProxy
from tests.video_factory import make_video
from tests.warm_processes import in_environment, warm_context

NUM_VIDEOS, NUM_FRAMES = 16, 48
TRIALS = (((1, 2), 8), ((1, 3, 6), 8), ((2,), 16), ((1, 2, 4), 8))


def _trial(
    number: int,
    url: str,
    bucket: str,
    cache_dir: str,
    records: list[VideoRecord],
    capacity: int,
    results: Any,
) -> None:
    """Two epochs of one trial, as a worker loads them; puts what was counted and a digest of every
    sample.
    """
    rates, length = TRIALS[number]
    config = RunConfig(
        clip=ClipConfig(length=length, resize_height=32, resize_width=40, crop=32),
        loader=LoaderConfig(num_decoders=1, num_prefetched_batches=2, reader="pyav"),
        cache=CacheConfig(dir=cache_dir, frames_capacity_bytes=capacity),
    )
    store = open_store(f"s3://{bucket}", StoreConfig(endpoint_url=url))
    videos = VideoSource(store, NodeCache(cache_dir, 1 << 30, store), config.loader)
    source = through_frame_cache(videos, config, made_from=store.uri)
    loader = SpanLoader(
        source,
        records,
        config.clip,
        sampling_of(rates, config.clip.length),
        batch_size=4,
        seed=1,
        world=World.alone(),
    )
    digest = hashlib.sha256()
    for sample in (
        sample for epoch in range(2) for batch in loader.batches(epoch) for sample in batch.samples
    ):
        digest.update(sample.frames_NHWC.numpy().tobytes())
    counters = source.counters
    source.close()
    results.put((number, counters, digest.hexdigest()))


Found = dict[int, tuple[dict[str, float], str]]


def _run_trials(
    url: str,
    bucket: str,
    cache_dir: Path,
    records: list[VideoRecord],
    capacity: int,
    num_trials: int,
) -> Found:
    context = warm_context()
    results = context.Queue()
    given = (url, bucket, str(cache_dir), records, capacity, results)
    trials = [
        context.Process(target=in_environment, args=(dict(os.environ), _trial, number, *given))
        for number in range(num_trials)
    ]
    for trial in trials:
        trial.start()
    found = [results.get(timeout=240) for _ in trials]
    for trial in trials:
        trial.join()
    return {number: (counters, digest) for number, counters, digest in found}


def test_four_trials_download_and_decode_each_video_once(
    s3_environment: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    for number in range(NUM_VIDEOS):
        make_video(tmp_path / "videos" / f"{number:02}.mp4", NUM_FRAMES, seed=number)
    s3_environment.upload_folder(tmp_path / "videos", s3_bucket)
    records = []
    for info in open_store(f"s3://{s3_bucket}").list():
        sha256 = hashlib.sha256((tmp_path / "videos" / info.key).read_bytes()).hexdigest()
        records.append(
            VideoRecord(
                key=info.key,
                num_bytes=info.num_bytes,
                etag=info.etag,
                sha256=sha256,
                num_frames=NUM_FRAMES,
                width=96,
                height=64,
            )
        )
    with FaultProxy(s3_environment.endpoint_url) as proxy:
        shared = _run_trials(
            proxy.url, s3_bucket, tmp_path / "cache", records, 1 << 30, len(TRIALS)
        )
        gets = Counter(
            entry.path.partition("?")[0]
            for entry in proxy.gets()
            if entry.path.partition("?")[0].endswith(".mp4")
        )
        assert len(gets) == NUM_VIDEOS and sum(gets.values()) <= 1.02 * NUM_VIDEOS, gets
        totals = Counter[str]()
        for counters, _ in shared.values():
            totals.update(counters)
        assert totals["data/frames_misses"] == NUM_VIDEOS, "whole-video decodes per video: 1.0"
        assert totals["data/frames_hits"] == len(TRIALS) * 2 * NUM_VIDEOS - NUM_VIDEOS
        assert (
            totals["data/frames_bypassed"]
            == totals["data/frames_corrupt"]
            == totals["data/cache_corrupt"]
            == 0
        )
        again = _run_trials(
            proxy.url,
            s3_bucket,
            tmp_path / "other",
            records,
            40 * NUM_FRAMES * 32 * 40 * 3 // 10,
            1,
        )
        assert sum(counters["data/frames_evicted"] for counters, _ in again.values()) > 0, (
            "four videos' frames fit"
        )
        assert again[0][1] == shared[0][1], "another cache, the same frames"
    for root in (tmp_path / "cache", tmp_path / "cache" / "frames", tmp_path / "other" / "frames"):
        assert not list((root / "unfinished").iterdir())
