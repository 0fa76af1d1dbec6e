"""Writing of one shard: videos are decoded, resized, encoded and packed into a tar archive.

The archive is the same bytes whenever it is made.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np

from prp_core.data.frame_source import FrameSource
from prp_core.data.manifest import VideoRecord
from prp_core.data.shards.index import (
    TAR_BLOCK,
    TAR_END,
    ShardSettings,
    ShardVideo,
    tar_header,
)
from prp_core.data.shards.jpeg_codec import encode_jpegs
from prp_core.data.transforms import resize_to_uint8
from prp_core.errors import BrokenVideo

DECODED_BYTES_AT_A_TIME = 96 << 20
MIN_FRAMES_AT_A_TIME = 8


@dataclass(frozen=True)
class WrittenShard:
    """What `write_shard` put into the file, and the videos that it could not read."""

    num_bytes: int
    sha256: str
    videos: tuple[ShardVideo, ...]
    broken: tuple[BrokenVideo, ...]


def write_shard(
    source: FrameSource,
    records: Sequence[VideoRecord],
    settings: ShardSettings,
    file: IO[bytes],
    *,
    number: int,
    on_video: Callable[[], None] | None = None,
) -> WrittenShard:
    """Write shard `number` with `records` into `file` (open for reading and writing, empty).

    A broken video leaves nothing in it. `on_video` is called after each. Raises `StoreUnavailable`.
    """
    videos: list[ShardVideo] = []
    broken: list[BrokenVideo] = []
    for record in records:
        begin = file.tell()
        try:
            videos.append(_write_video(source, record, settings, file, number))
        except BrokenVideo as error:
            broken.append(error)
            file.seek(begin)
            file.truncate()
        if on_video is not None:
            on_video()
    file.write(bytes(TAR_END))
    file.flush()
    num_bytes = file.tell()
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    return WrittenShard(num_bytes, sha256, tuple(videos), tuple(broken))


def _write_video(
    source: FrameSource, record: VideoRecord, settings: ShardSettings, file: IO[bytes], number: int
) -> ShardVideo:
    sizes = list[int]()
    crc32s = list[int]()
    digest = hashlib.sha256()
    header_bytes = 0
    offset = file.tell()
    for place, piece in enumerate(_pieces(source, record, settings)):
        header = tar_header(
            f"{record.key}/{place * settings.frames_per_piece:06d}{settings.suffix}", len(piece)
        )
        if place == 0:
            header_bytes = len(header)
        elif len(header) != header_bytes:
            raise BrokenVideo(
                record.key,
                "too-large",
                f"a video of more than {10**6} frames does not fit into a shard; cut it",
            )
        file.write(header)
        file.write(piece)
        file.write(bytes(-len(piece) % TAR_BLOCK))
        sizes.append(len(piece))
        crc32s.append(zlib.crc32(piece))
        digest.update(piece)
    return ShardVideo(
        key=record.key,
        shard=number,
        offset=offset + header_bytes,
        header_bytes=header_bytes,
        num_frames=record.num_frames,
        sizes=np.array(sizes, dtype=np.uint32),
        crc32s=np.array(crc32s, dtype=np.uint32),
        sha256=digest.hexdigest(),
        source_num_bytes=record.num_bytes,
        source_etag=record.etag,
        source_sha256=record.sha256,
    )


def _pieces(source: FrameSource, record: VideoRecord, settings: ShardSettings) -> Iterator[bytes]:
    """The video's pieces in order, decoded a few seconds at a time. Raises `BrokenVideo`."""
    step = frames_at_a_time(record, settings)
    for first in range(0, record.num_frames, step):
        frames_NHWC = source.frames(record, range(first, min(first + step, record.num_frames)))
        resized_NHWC = resize_to_uint8(frames_NHWC, settings.height, settings.width).numpy()
        yield from encode_pieces(resized_NHWC, settings)


def encode_pieces(frames_NHWC: np.ndarray, settings: ShardSettings) -> list[bytes]:
    """uint8 (N, H, W, 3) RGB as pieces of `settings.frames_per_piece` frames each."""
    if settings.kind == "jpeg":
        return encode_jpegs(frames_NHWC, settings.quality)
    from prp_core.data.readers.compact_video import encode_gops

    return encode_gops(frames_NHWC, settings.gop_length, settings.crf)


def frames_at_a_time(record: VideoRecord, settings: ShardSettings) -> int:
    """Frames decoded by one request: whole pieces, of bounded size in memory."""
    frame_bytes = max(1, 3 * record.width * record.height)
    step = max(MIN_FRAMES_AT_A_TIME, DECODED_BYTES_AT_A_TIME // frame_bytes)
    return max(1, step // settings.frames_per_piece) * settings.frames_per_piece
