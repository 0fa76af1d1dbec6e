"""A digest of the training samples of a bucket, to compare runs under network faults."""

from __future__ import annotations

import hashlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from orchestrator.config.store_config import StoreConfig
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

NUM_EPOCHS = 2
CLIP = ClipConfig(length=8, resize_height=112, resize_width=112, crop=112)
STALL_SECONDS = 30.0
# Every way in which a request can fail that S3 and networks are known for.
FAULTS: dict[str, dict[str, object]] = {
    "throttled": {"do": "status", "code": 503},
    "reset": {"do": "reset", "at": 3000},
    "cut": {"do": "cut"},
    "short": {"do": "short", "by": 100},
    "flip": {"do": "flip"},
    "stall": {"do": "stall", "seconds": STALL_SECONDS},
    "expired": {"do": "status", "code": 400, "name": "ExpiredToken"},
}


@dataclass(frozen=True)
class StreamReport:
    """`digest` is of every frame and every draw, in order; `counters` are the source's and the
    loader's.
    """

    digest: str
    seconds: float
    counters: dict[str, float]


def upload_videos(
    server: S3Server, bucket: str, *, num_videos: int, num_frames: int, height: int, width: int
) -> list[VideoRecord]:
    """Videos of a moving texture in `bucket`, under prefixes of two hex digits; their records,
    complete with sha256.
    """
    client, records = server.client(), []
    for number in range(num_videos):
        content = encode_video(number, num_frames, height, width)
        key = f"{hashlib.sha256(content).hexdigest()[:2]}/{number:03d}.mp4"
        etag = client.put_object(Bucket=bucket, Key=key, Body=content)["ETag"].strip('"')
        sha256 = hashlib.sha256(content).hexdigest()
        records.append(
            VideoRecord(
                key=key,
                num_bytes=len(content),
                etag=etag,
                sha256=sha256,
                num_frames=num_frames,
                group=key,
            )
        )
    return records


def encode_video(seed: int, num_frames: int, height: int, width: int) -> bytes:
    """An H.264 file."""
    texture = (
        np.random.default_rng(seed)
        .integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        .repeat(8, axis=0)
        .repeat(8, axis=1)
    )
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        with av.open(file.name, "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width = width
            stream.height = height
            stream.pix_fmt = "yuv420p"
            stream.options = {"preset": "ultrafast", "g": "24", "threads": "1"}
            for number in range(num_frames):
                picture = np.ascontiguousarray(np.roll(texture, (number, 2 * number), axis=(0, 1)))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return Path(file.name).read_bytes()


def add_faults(proxy: FaultProxy, share: float, kinds: tuple[str, ...] = tuple(FAULTS)) -> None:
    """About `share` of all requests fail, by `kinds` in equal parts."""
    for kind in kinds:
        proxy.add(**FAULTS[kind], probability=share / len(kinds))  # type: ignore[arg-type]


def read_stream(
    url: str,
    bucket: str,
    records: list[VideoRecord],
    folder: Path,
    *,
    first_read_timeout_seconds: float = 2.0,
) -> StreamReport:
    """Two epochs of samples, all objects downloaded through `url` into an empty cache below
    `folder`.
    """
    config = StoreConfig(endpoint_url=url, first_read_timeout_seconds=first_read_timeout_seconds)
    store = open_store(f"s3://{bucket}", config, check=False)
    cache = NodeCache(Path(tempfile.mkdtemp(dir=folder)), 1 << 30, store)
    digest = hashlib.sha256()
    with VideoSource(store, cache, LoaderConfig(num_decoders=2)) as source:
        loader = SpanLoader(
            source,
            records,
            CLIP,
            sampling_of((1, 2, 4), CLIP.length),
            batch_size=4,
            seed=3,
            world=World.alone(),
        )
        source.frames(
            records[0], [0]
        )  # decoders start outside the measured time, and so does the client
        started = time.monotonic()
        for epoch in range(NUM_EPOCHS):
            for batch in loader.batches(epoch):
                for sample in batch.samples:
                    digest.update(
                        (
                            f"{sample.epoch} {sample.index} {sample.video_index} "
                            f"{sample.start} {sample.rate}"
                        ).encode()
                    )
                    digest.update(sample.frames_NHWC.numpy().tobytes())
        seconds = time.monotonic() - started
        return StreamReport(digest.hexdigest(), seconds, {**source.counters, **loader.counters})
