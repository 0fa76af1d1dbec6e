"""The assignment of videos to shards: a pure function of the manifest and the settings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.data.shards.index import ShardSettings

# Measured at 128 x 171 (docs/experiments.md); only the size of shards depends on it.
JPEG_BYTES_PER_PIXEL = ((95, 0.46), (90, 0.32), (80, 0.23), (50, 0.13), (0, 0.08))
VIDEO_BYTES_PER_PIXEL_AT_CRF_18 = 0.06
HEADER_AND_PADDING_BYTES = 768


@dataclass(frozen=True)
class PlannedShard:
    """One shard to be made: `number` from 0, and its videos in the order of their keys."""

    number: int
    records: tuple[VideoRecord, ...]
    plan_hash: str

    @property
    def stem(self) -> str:
        """The name of its objects, without folder and suffix; another plan has other names."""
        return f"shard-{self.number:05d}-{self.plan_hash}"


def estimated_bytes(record: VideoRecord, settings: ShardSettings) -> int:
    """Approximate bytes of the video in a shard."""
    num_pieces = -(-record.num_frames // settings.frames_per_piece)
    if settings.kind == "jpeg":
        per_pixel = next(
            size for quality, size in JPEG_BYTES_PER_PIXEL if settings.quality >= quality
        )
    else:
        per_pixel = VIDEO_BYTES_PER_PIXEL_AT_CRF_18 * 2 ** ((18 - settings.crf) / 6)
    return (
        int(record.num_frames * settings.height * settings.width * per_pixel)
        + num_pieces * HEADER_AND_PADDING_BYTES
    )


def plan_shards(manifest: Manifest, settings: ShardSettings) -> tuple[PlannedShard, ...]:
    """The videos to prepare in the order of their keys, a new shard whenever one is full.

    A video is never divided.
    """
    groups: list[list[VideoRecord]] = []
    num_bytes = 0
    for record in manifest.preparable():
        size = estimated_bytes(record, settings)
        if not groups or num_bytes + size > settings.shard_bytes:
            groups.append([])
            num_bytes = 0
        groups[-1].append(record)
        num_bytes += size
    name = plan_hash(manifest.preparable(), settings)
    return tuple(PlannedShard(number, tuple(group), name) for number, group in enumerate(groups))


def plan_hash(records: Sequence[VideoRecord], settings: ShardSettings) -> str:
    """8 hex digits over everything that decides the bytes of the shards."""
    lines = (
        f"{record.key}\0{record.sha256}\0{record.num_bytes}\0{record.num_frames}"
        for record in records
    )
    return hashlib.sha256("\n".join([settings.digest(), *lines]).encode()).hexdigest()[:8]
