"""The index of prepared shards: settings, files, and where each video's frames lie in them.

A shard is a plain tar archive. A video's frames are its pieces, one archive entry each, in order: a
JPEG for each frame, or a short GOP of H.264 frames. The entries of one video have headers of equal
length and follow each other, so the sizes say where each piece begins.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from prp_core.checks import check, check_choice
from prp_core.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from prp_core.data.manifest import Manifest

TAR_BLOCK = 512
TAR_END = 2 * TAR_BLOCK
SHARD_KINDS = {
    "jpeg": "one JPEG for each frame: any frame is decoded alone, the fastest to train from",
    "video": "short GOPs of H.264 frames: about a sixth of the bytes, several times the CPU time",
}


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """How prepared frames are encoded."""

    kind: str = "jpeg"
    """How frames are encoded: a key of `SHARD_KINDS`."""
    height: int = 128
    """Height of the stored frames in pixels, 16 to 4096."""
    width: int = 171
    """Width of the stored frames in pixels, 16 to 4096."""
    quality: int = 90
    """JPEG's quality, 1 to 100; for kind ``jpeg``."""
    crf: int = 18
    """x264's constant rate factor, 0 (lossless) to 51; for kind ``video``."""
    gop_length: int = 8
    """Frames of a GOP, 1 to 250; for kind ``video``."""
    shard_bytes: int = 64 << 20
    """Approximate size of a shard in bytes, 64 KiB to 4 GiB."""
    reader: str = "pyav"
    """The decoder of the originals, a key of `READERS`; two may differ by a grey level."""

    def __post_init__(self) -> None:
        check_choice("kind of shard", self.kind, SHARD_KINDS)
        for name in ("height", "width"):
            check(
                16 <= getattr(self, name) <= 4096,
                name,
                getattr(self, name),
                "must lie in 16 to 4096 pixels",
            )
        check(1 <= self.quality <= 100, "quality", self.quality, "JPEG's quality lies in 1 to 100")
        check(0 <= self.crf <= 51, "crf", self.crf, "x264's constant rate factor lies in 0 to 51")
        check(
            1 <= self.gop_length <= 250,
            "gop length",
            self.gop_length,
            "must lie in 1 to 250 frames",
        )
        check(
            1 << 16 <= self.shard_bytes <= 4 << 30,
            "shard size",
            self.shard_bytes,
            "must lie in 64 KiB to 4 GiB",
        )

    @property
    def frames_per_piece(self) -> int:
        """Frames in one archive entry; a video's last piece may hold fewer."""
        return 1 if self.kind == "jpeg" else self.gop_length

    @property
    def codec(self) -> str:
        """What a manifest says of the prepared videos, for example ``jpeg-q90``."""
        return (
            f"jpeg-q{self.quality}"
            if self.kind == "jpeg"
            else f"h264-crf{self.crf}-gop{self.gop_length}"
        )

    @property
    def suffix(self) -> str:
        """Suffix of the archive entries' names."""
        return ".jpg" if self.kind == "jpeg" else ".h264"

    def digest(self) -> str:
        """8 hex digits over all settings."""
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class ShardFile:
    """One shard: an object of the prepared place."""

    name: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardVideo:
    """Where the pieces of one video lie in its shard, and which original they were made from.

    `shard` is a position among the index's files. `offset` is the first byte of the first piece;
    `sizes` and `crc32s` are uint32, one for each piece; between two pieces lie `header_bytes` and
    the padding to 512. `sha256` is that of all pieces concatenated.
    """

    key: str
    shard: int
    offset: int
    header_bytes: int
    num_frames: int
    sizes: np.ndarray
    crc32s: np.ndarray
    sha256: str
    source_num_bytes: int
    source_etag: str
    source_sha256: str

    def offsets(self) -> np.ndarray:
        """The first byte of each piece in the shard: int64."""
        strides = padded(self.sizes.astype("int64")) + self.header_bytes
        return self.offset + strides.cumsum() - strides

    @property
    def num_bytes(self) -> int:
        """Bytes of all pieces, without headers."""
        return int(self.sizes.sum(dtype="int64"))


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """Every shard and every video of a prepared place."""

    settings: ShardSettings
    files: tuple[ShardFile, ...]
    videos: Mapping[str, ShardVideo]

    @cached_property
    def content_hash(self) -> str:
        """16 hex digits over the whole content, which name its file."""
        digest = hashlib.sha256(repr(sorted(asdict(self.settings).items())).encode())
        for file in self.files:
            digest.update(f"\n{file.name} {file.num_bytes} {file.sha256}".encode())
        for key in sorted(self.videos):
            video = self.videos[key]
            facts = (
                key,
                video.shard,
                video.offset,
                video.header_bytes,
                video.num_frames,
                video.sha256,
                video.source_num_bytes,
                video.source_etag,
                video.source_sha256,
            )
            digest.update(repr(facts).encode())
            digest.update(video.sizes.astype("<u4").tobytes())
            digest.update(video.crc32s.astype("<u4").tobytes())
        return digest.hexdigest()[:16]

    def check(self) -> None:
        """Raise `UserError` for a video whose pieces lie outside its shard, or are too few."""
        for key, video in self.videos.items():
            count = video.num_frames
            check(
                0 <= video.shard < len(self.files), f"shard of {key}", video.shard, "is not there"
            )
            check(count >= 1, f"num_frames of {key}", count, "must be above 0")
            num_pieces = -(-count // self.settings.frames_per_piece)
            check(
                len(video.sizes) == len(video.crc32s) == num_pieces,
                f"pieces of {key}",
                len(video.sizes),
                f"{count} frames have {num_pieces}",
            )
            file = self.files[video.shard]
            end = video.offset + video.num_bytes + (num_pieces - 1) * video.header_bytes
            is_inside = min(video.offset, video.header_bytes) >= 0 and end <= file.num_bytes
            words = f"it does not lie within {file.name} of {file.num_bytes} bytes"
            check(is_inside, f"offset of {key}", video.offset, words)

    @property
    def num_bytes(self) -> int:
        """Bytes of all shards."""
        return sum(file.num_bytes for file in self.files)

    def expect(self, key: str, sha256: str) -> ShardVideo:
        """The video that a manifest's record names.

        Raises `UserError` when these shards do not hold it, or hold it from other bytes.
        """
        video = self.videos.get(key)
        if video is None:
            raise UserError(f"the shards hold no video {key!r}; is the manifest another place's?")
        if video.sha256 != sha256:
            raise UserError(
                f"the shards hold other bytes of {key!r} than the manifest names; "
                "use the manifest of the prepared place itself"
            )
        return video

    def expect_all(self, manifest: Manifest) -> None:
        """Raise `UserError` unless the shards hold every usable video of `manifest`, unchanged."""
        for record in manifest.usable():
            self.expect(record.key, record.sha256)


def check_size(settings: ShardSettings, height: int, width: int, where: str) -> None:
    """Raise `UserError` when clips are larger than the frames that the shards at `where` hold."""
    if height > settings.height or width > settings.width:
        raise UserError(
            f"clip.resize_height x clip.resize_width = {height} x {width}, but {where} "
            f"holds frames of {settings.height} x {settings.width}; "
            f"lower them, or prepare the videos again with --height {height} --width {width}"
        )


def padded(num_bytes: np.ndarray) -> np.ndarray:
    """`num_bytes` rounded up to whole blocks of a tar archive."""
    return (num_bytes + TAR_BLOCK - 1) // TAR_BLOCK * TAR_BLOCK


def tar_header(name: str, num_bytes: int) -> bytes:
    """The tar header of a plain file, always the same bytes.

    With a pax header before it where `name` needs one.
    """
    info = tarfile.TarInfo(name)
    info.size = num_bytes
    info.mtime = 0
    info.mode = 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


@dataclass(frozen=True)
class ByteRange:
    """`num_bytes` bytes from `start` on."""

    start: int
    num_bytes: int

    @property
    def end(self) -> int:
        """The first byte after the range."""
        return self.start + self.num_bytes


def merged_ranges(
    ranges: Iterable[ByteRange], max_gap_bytes: int, max_bytes: int
) -> list[ByteRange]:
    """`ranges` (ascending, disjoint), merged across gaps of at most `max_gap_bytes`.

    A merged range has at most `max_bytes` where possible. A request to a store costs more than a
    few bytes that are not needed.
    """
    merged: list[ByteRange] = []
    for item in ranges:
        last = merged[-1] if merged else None
        if (
            last is not None
            and item.start - last.end <= max_gap_bytes
            and item.end - last.start <= max_bytes
        ):
            merged[-1] = ByteRange(last.start, item.end - last.start)
        else:
            merged.append(item)
    return merged


def kept_whole(files: Sequence[ShardFile], capacity_bytes: int) -> frozenset[int]:
    """The positions of the shards that a node keeps whole in its cache.

    They are the first ones, as far as they fill at most half of the cache; the other half may hold
    recently used objects, which stay for a day. A shard that is not kept is read by ranges:
    fetching 64 MB for one clip, and evicting what the next clip needs, would be far worse. Every
    process of the node comes to the same answer.
    """
    kept = set()
    used = 0
    for position, file in enumerate(files):
        used += file.num_bytes
        if used > capacity_bytes // 2:
            break
        kept.add(position)
    return frozenset(kept)
