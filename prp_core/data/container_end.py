"""Detection of files that end before their container does, or whose structure breaks within.

Frames that are lost so are missed by no demuxer. Told without decoding; every container whose
elements state their sizes can tell a lost tail, and an MPEG stream has no end of its own.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from prp_core.data.container_sniffing import HEAD_BYTES, sniff

MATROSKA_SEGMENT = 0x18538067
MATROSKA_CLUSTER = 0x1F43B675
FLV_HEADER_BYTES = 13
FLV_TAG_HEADER_BYTES = 11
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ASF_SIZE_AT = 40  # behind the identifier, the object's size and the file's identifier
ASF_HEADER_BYTES = 1 << 16
OGG_PAGE_HEADER_BYTES = 27
OGG_CRC_AT = 22
MIRRORED_BYTES = bytes(int(f"{one:08b}"[::-1], 2) for one in range(256))
GIF_SCREEN_AT = 10  # behind the signature and the size: what colour table follows
GIF_TABLE = 0x80
GIF_IMAGE, GIF_EXTENSION, GIF_TRAILER = b",", b"!", b";"


def is_cut_short(path: str | Path) -> bool:
    """Whether the file ends before the last element of its container does, or (Matroska, Ogg, GIF)
    holds something before that which is not an element.

    False where the container cannot tell.
    """
    num_bytes = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        ends_early = ENDS_EARLY.get(sniff(file.read(HEAD_BYTES)))
        return ends_early is not None and ends_early(file, num_bytes)


def _mp4(file: BinaryIO, num_bytes: int) -> bool:
    place = 0
    while place + 8 <= num_bytes:
        file.seek(place)
        box = file.read(16)
        size = int.from_bytes(box[:4], "big")
        if size == 1:
            size = int.from_bytes(box[8:16], "big")
        if size == 0:
            return False
        if size < 8 or place + size > num_bytes:
            return True
        place += size
    return False


def _avi(file: BinaryIO, num_bytes: int) -> bool:
    file.seek(4)
    return 8 + int.from_bytes(file.read(4), "little") > num_bytes


def _matroska(file: BinaryIO, num_bytes: int) -> bool:
    """A segment or cluster of unknown size (a live recording) is told by what lies in it.

    Segments and clusters are entered; what follows a segment does not belong to the video.
    """
    place = 0
    ends = [num_bytes]  # of what lies around the element
    while place < num_bytes:
        while place >= ends[-1] and len(ends) > 1:
            if place > ends.pop():
                return True  # an element is larger than what holds it
            if len(ends) == 1:
                return False  # the segment is over
        file.seek(place)
        head = file.read(12)
        id_bytes = 9 - head[0].bit_length()
        if id_bytes > 4 or len(head) <= id_bytes:
            return len(ends) > 1 or len(head) <= id_bytes
        size_bytes = 9 - head[id_bytes].bit_length()
        if size_bytes > 8:
            return len(ends) > 1
        if len(head) < id_bytes + size_bytes:
            return True
        value_bits = 7 * size_bytes
        size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & (
            (1 << value_bits) - 1
        )
        place += id_bytes + size_bytes
        is_unknown = size == (1 << value_bits) - 1
        if int.from_bytes(head[:id_bytes], "big") in (MATROSKA_SEGMENT, MATROSKA_CLUSTER):
            if not is_unknown:
                ends.append(place + size)
        elif is_unknown:
            return False
        else:
            place += size
    return place > num_bytes or (len(ends) > 1 and ends[1] > num_bytes)


def _flv(file: BinaryIO, num_bytes: int) -> bool:
    place = FLV_HEADER_BYTES
    while place < num_bytes:
        file.seek(place)
        head = file.read(FLV_TAG_HEADER_BYTES)
        end = place + FLV_TAG_HEADER_BYTES + int.from_bytes(head[1:4], "big")
        if len(head) < FLV_TAG_HEADER_BYTES or end > num_bytes:
            return True
        place = end + 4
    return False


def _asf(file: BinaryIO, num_bytes: int) -> bool:
    file.seek(0)
    header = file.read(ASF_HEADER_BYTES)
    place = header.find(ASF_FILE_PROPERTIES)
    if place < 0:
        return False
    stated = header[place + ASF_SIZE_AT : place + ASF_SIZE_AT + 8]
    return int.from_bytes(stated, "little") > num_bytes


def _ogg(file: BinaryIO, num_bytes: int) -> bool:
    """Page after page: FFmpeg skips whatever is not a page, and pages whose checksum is wrong."""
    file.seek(0)
    while head := file.read(OGG_PAGE_HEADER_BYTES):
        if len(head) < OGG_PAGE_HEADER_BYTES or not head.startswith(b"OggS"):
            return file.read().find(b"OggS") >= 0 or head.startswith(b"OggS"[: len(head)])
        segments = file.read(head[-1])
        body = file.read(sum(segments))
        if len(segments) < head[-1] or len(body) < sum(segments):
            return True
        page = head[:OGG_CRC_AT] + bytes(4) + head[OGG_CRC_AT + 4 :] + segments + body
        if _ogg_crc(page) != int.from_bytes(head[OGG_CRC_AT : OGG_CRC_AT + 4], "little"):
            return True
    return False


def _ogg_crc(page: bytes) -> int:
    """Ogg's checksum: `zlib.crc32` from the other end of each byte, not inverted (RFC 3533)."""
    mirrored = zlib.crc32(page.translate(MIRRORED_BYTES), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _gif(file: BinaryIO, num_bytes: int) -> bool:
    """Block after block up to the trailer, which a decoder reads as the end also of half a file."""
    file.seek(GIF_SCREEN_AT)
    if (flags := file.read(3)[:1]) and flags[0] & GIF_TABLE:
        file.seek(3 << (flags[0] & 7) + 1, os.SEEK_CUR)
    while (kind := file.read(1)) != GIF_TRAILER:
        if kind == GIF_IMAGE:
            flags = file.read(9)[8:]
            table_bytes = 3 << (flags[0] & 7) + 1 if flags and flags[0] & GIF_TABLE else 0
            file.seek(table_bytes + 1, os.SEEK_CUR)
        elif kind == GIF_EXTENSION:
            file.seek(1, os.SEEK_CUR)
        else:
            return True
        while size := file.read(1):
            if size == b"\0":
                break
            file.seek(size[0], os.SEEK_CUR)
    return False


ENDS_EARLY: dict[str, Callable[[BinaryIO, int], bool]] = {
    "mp4": _mp4,
    "avi": _avi,
    "matroska": _matroska,
    "flv": _flv,
    "asf": _asf,
    "ogg": _ogg,
    "gif": _gif,
}
