"""What a set of prepared shards is: its settings, its shards, and where in them each video's frames
lie.

A shard is a plain tar archive. A video's frames are its pieces, one archive entry each, in order: a
JPEG for each frame, or a short GOP of H.264 frames. The entries of one video have headers of one
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

TAR_BLOCK = 512
TAR_END = 2 * TAR_BLOCK
SHARD_KINDS = {
    "jpeg": "one JPEG for each frame: any frame is decoded alone, the fastest to train from",
    "video": "short GOPs of H.264 frames: about a sixth of the bytes, several times the CPU time",
}


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """How frames are kept: `height` x `width` pixels, as `kind` (a key of `SHARD_KINDS`).

    `quality` is JPEG's, 1 to 100. `crf` is x264's constant rate factor, 0 (lossless) to 51, and
    `gop_length` the frames of a GOP. `shard_bytes` is about how large a shard becomes. `reader` is
    the decoder of the originals: two may differ by a grey level.
    """

    kind: str = "jpeg"
    height: int = 128
    width: int = 171
    quality: int = 90
    crf: int = 18
    gop_length: int = 8
    shard_bytes: int = 64 << 20
    reader: str = "pyav"

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
        """Of an entry's name."""
        return ".jpg" if self.kind == "jpeg" else ".h264"

    def digest(self) -> str:
        """8 hex digits over all settings."""
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class ShardFile:
    """One shard, as an object of the prepared place."""

    name: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardVideo:
    """Where the pieces of the video `key` lie in shard number `shard`, and which original they were
    made from.

    `offset` is the first byte of the first piece; `sizes` and `crc32s` are uint32, one for each
    piece; between two pieces lie `header_bytes` and the padding to 512. `sha256` is that of all
    pieces, one after the other.
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
        """Of all pieces, without headers."""
        return int(self.sizes.sum(dtype="int64"))


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """Every shard and every video of a prepared place. A video's `shard` is a position in
    `files`.
    """

    settings: ShardSettings
    files: tuple[ShardFile, ...]
    videos: Mapping[str, ShardVideo]

    @cached_property
    def content_hash(self) -> str:
        """16 hex digits over all that the index says, the name of its file."""
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
            )
            digest.update(
                repr(
                    (*facts, video.source_num_bytes, video.source_etag, video.source_sha256)
                ).encode()
            )
            digest.update(
                video.sizes.astype("<u4").tobytes() + video.crc32s.astype("<u4").tobytes()
            )
        return digest.hexdigest()[:16]

    @property
    def num_bytes(self) -> int:
        """Of all shards."""
        return sum(file.num_bytes for file in self.files)

    def expect(self, key: str, sha256: str) -> ShardVideo:
        """The video that a manifest's record names. Raises `UserError` when it is not in these
        shards, or is there from other bytes.
        """
        video = self.videos.get(key)
        if video is None:
            raise UserError(f"the shards hold no video {key!r}; is the manifest another place's?")
        if video.sha256 != sha256:
            raise UserError(
                f"the shards hold other bytes of {key!r} than the manifest names; use "
                "the manifest of the prepared place itself"
            )
        return video


def check_size(settings: ShardSettings, height: int, width: int, where: str) -> None:
    """Raise `UserError` when clips of `height` x `width` are larger than the frames that the shards
    at `where` hold.
    """
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
    """The header of a plain file, the same bytes at any time and for anybody; with a pax header
    before it where `name` needs one.
    """
    info = tarfile.TarInfo(name)
    info.size = num_bytes
    info.mtime = 0
    info.mode = 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


@dataclass(frozen=True)
class ByteRange:
    """`num_bytes` from `start` on."""

    start: int
    num_bytes: int

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.start + self.num_bytes


def merged_ranges(
    ranges: Iterable[ByteRange], max_gap_bytes: int, max_bytes: int
) -> list[ByteRange]:
    """`ranges` (ascending, apart) joined where at most `max_gap_bytes` lie between two, into ranges
    of at most `max_bytes` where possible.

    What is asked of a store: a request costs more than some bytes that nobody wants.
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
    """The positions of the shards that a node keeps whole in its cache: from the first on, while
    they fill at most half of it.

    The other half may hold what was used lately and stays for a day. A shard that is not kept is
    read by ranges: fetching 64 MB for one clip, and evicting what the next clip needs, would be far
    worse. Every process of the node comes to the same answer.
    """
    kept = set()
    used = 0
    for position, file in enumerate(files):
        used += file.num_bytes
        if used > capacity_bytes // 2:
            break
        kept.add(position)
    return frozenset(kept)
