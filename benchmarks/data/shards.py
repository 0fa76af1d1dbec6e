"""Clips per CPU-second from prepared shards, against bare JPEG decoding and the paper's way.

Run by ``python -m benchmarks.data``. The shards lie in a folder, in the page cache. CPU time of
this process; one thread.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from benchmarks.data import paper_way
from benchmarks.data.corpus import Kind, make_corpus
from benchmarks.data.measure import Figure, Request, Way, compare
from benchmarks.data.samples import NUM_FRAMES, NUM_VIDEOS, sample_requests
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.data.object_store import LocalStore
from prp_core.data.shards.index import ShardFile, ShardIndex, ShardSettings
from prp_core.data.shards.source import ShardSource
from prp_core.data.shards.writing import write_shard
from prp_core.data.video_source import VideoSource

PAPER = "paper's way: frames resized, mask made"
LIMIT = "limit: libjpeg-turbo on the same JPEGs, in memory"
SETTINGS = {
    "JPEG q90 shards": ShardSettings(),
    "JPEG q80 shards": ShardSettings(quality=80),
    "compact shards, crf 18, GOPs of 8": ShardSettings(kind="video"),
    "compact shards, crf 18, GOPs of 12": ShardSettings(kind="video", gop_length=12),
}


def measure(
    kind: Kind, folder: Path, *, videos: Path | None, num_rounds: int, num_clips: int
) -> tuple[str, list[Figure]]:
    """(size and error of each kind of shard, a figure for each way); writes below `folder`."""
    (folder / "videos").mkdir()
    paths = make_corpus(
        folder / "videos", kind, num_videos=NUM_VIDEOS, num_frames=NUM_FRAMES, source=videos
    )
    originals = np.stack([np.stack(_resized(path, folder)) for path in paths])
    sources = {
        name: _prepared(paths, settings, folder / str(place))
        for place, (name, settings) in enumerate(SETTINGS.items())
    }
    num_frames = len(paths) * NUM_FRAMES
    lines = [
        f"{kind.name}: {len(paths)} videos of {NUM_FRAMES} frames, "
        f"{sum(path.stat().st_size for path in paths) / num_frames:.0f} bytes a frame\n",
        "| shards | bytes a frame, headers included | PSNR (dB) | mean difference "
        "(grey levels) | CPU-ms a frame to make |\n|---|---|---|---|---|",
    ]
    for name, (source, seconds) in sources.items():
        decoded = np.stack(
            [source.frames(_record(source, path), range(NUM_FRAMES)).numpy() for path in paths]
        )
        error = decoded.astype(np.float32) - originals
        psnr = 10 * np.log10(255**2 / np.square(error).mean())
        weight = source.index.num_bytes / num_frames
        lines.append(
            f"| {name} | {weight:.0f} | {psnr:.1f} | {np.abs(error).mean():.2f} | "
            f"{1000 * seconds / num_frames:.2f} |"
        )
    ways = [
        Way(PAPER, lambda r: paper_way.load(r.path, r.start, r.clip_length, r.rate)),
        _limit(sources["JPEG q90 shards"][0]),
    ]
    ways.append(_torchvision(sources["JPEG q90 shards"][0]))
    ways += [_way(name, source) for name, (source, _) in sources.items()]
    figures = compare(
        ways,
        sample_requests(paths, num_clips),
        lambda request, size: originals[paths.index(request.path)][request.frames],
        num_rounds=num_rounds,
    )
    return "\n".join(lines), figures


def _record(source: ShardSource, path: Path) -> VideoRecord:
    video = source.index.videos[path.name]
    return VideoRecord(
        key=video.key, num_bytes=0, etag="", num_frames=video.num_frames, sha256=video.sha256
    )


def _resized(path: Path, folder: Path) -> list[np.ndarray]:
    """Every frame, by PIL at the training size: what the paper's way would load."""
    size = (paper_way.WIDTH, paper_way.HEIGHT)
    with VideoSource(LocalStore(folder / "videos"), None, LoaderConfig(num_decoders=1)) as source:
        record = _original(path)
        frames_NHWC = source.frames(record, range(record.num_frames)).numpy()
    return [
        np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))
        for frame in frames_NHWC
    ]


def _original(path: Path) -> VideoRecord:
    info = next(info for info in LocalStore(path.parent).list() if info.key == path.name)
    return VideoRecord(
        key=info.key,
        num_bytes=info.num_bytes,
        etag=info.etag,
        num_frames=NUM_FRAMES,
        width=340,
        height=256,
    )


def _prepared(
    paths: list[Path], settings: ShardSettings, folder: Path
) -> tuple[ShardSource, float]:
    """(the videos as one shard, CPU-seconds of this process that resizing and encoding took)."""
    (folder / "shards").mkdir(parents=True)
    loader = LoaderConfig(num_decoders=1)
    started = time.process_time()
    with (
        VideoSource(LocalStore(paths[0].parent), None, loader) as source,
        (folder / "shards" / "one.tar").open("w+b") as file,
    ):
        written = write_shard(source, [_original(path) for path in paths], settings, file, number=0)
    seconds = time.process_time() - started
    index = ShardIndex(
        settings,
        (ShardFile("shards/one.tar", written.num_bytes, written.sha256),),
        {video.key: video for video in written.videos},
    )
    return ShardSource(index, LocalStore(folder), None, loader), seconds


def _way(name: str, source: ShardSource) -> Way:
    return Way(
        name,
        lambda r: source.frames(_record(source, r.path), r.frames),
        lambda answer, r: answer.numpy(),
    )  # type: ignore[attr-defined]


def _jpegs(source: ShardSource) -> dict[str, list[bytes]]:
    """Every video's JPEGs, in memory."""
    data = b"".join(source.store.read("shards/one.tar"))
    spans = {
        key: zip(video.offsets().tolist(), video.sizes.tolist(), strict=True)
        for key, video in source.index.videos.items()
    }
    return {
        key: [data[offset : offset + size] for offset, size in pieces]
        for key, pieces in spans.items()
    }


def _limit(source: ShardSource) -> Way:
    """The library alone: into one buffer, nothing read, checked or kept."""
    jpegs = _jpegs(source)
    buffer = np.empty((paper_way.HEIGHT, paper_way.WIDTH, 3), dtype=np.uint8)

    def load(request: Request) -> None:
        for position in request.frames:
            simplejpeg.decode_jpeg(jpegs[request.path.name][position], buffer=buffer)

    return Way(LIMIT, load)


def _torchvision(source: ShardSource) -> Way:
    """The other library for the same JPEGs, on the CPU, to one tensor."""
    jpegs = {
        key: [torch.frombuffer(bytearray(jpeg), dtype=torch.uint8) for jpeg in pieces]
        for key, pieces in _jpegs(source).items()
    }

    def load(request: Request) -> torch.Tensor:
        pieces = [jpegs[request.path.name][position] for position in request.frames]
        return torch.stack(
            [decode_jpeg(piece, mode=ImageReadMode.RGB) for piece in pieces]
        ).permute(0, 2, 3, 1)

    return Way("torchvision on the same JPEGs, in memory", load, lambda answer, r: answer.numpy())
