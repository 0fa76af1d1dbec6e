"""Detection of files that end before their container does, or whose structure breaks within.

Frames that are lost so are missed by no demuxer. Told without decoding; every container whose
elements state their sizes can tell a lost tail, and an MPEG stream has no end of its own. Bytes
behind the last element that belong to no element (padding, what a server appended) are no lost
tail.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from prp_core.data.container_sniffing import HEAD_BYTES, sniff

MP4_WHOLE = {b"moov", b"mdat"}
# Boxes whose loss is one of frames: fragments, and what stands before each.
MP4_WITH_FRAMES = (b"moov", b"mdat", b"moof", b"styp", b"sidx", b"ssix", b"emsg", b"prft")
AVI_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
AVI_CHUNK = re.compile(rb"\d\d(?:dc|db|wb|pc|tx|sb)|ix\d\d|JUNK|idx1")
AVI_FRAME = re.compile(rb"\d\d(?:dc|db)")
MATROSKA_SEGMENT = 0x18538067
MATROSKA_CLUSTER = 0x1F43B675
# What may stand in a file, a segment or a cluster (RFC 9559).
MATROSKA_ELEMENTS = {
    *(0x1A45DFA3, MATROSKA_SEGMENT, MATROSKA_CLUSTER, 0xEC, 0xBF),
    *(0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),
    *(0xE7, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0x5854),
}
CLUSTER_START = re.compile(rb"\x1f\x43\xb6\x75")
FLV_HEADER_BYTES = 13
FLV_TAG_HEADER_BYTES = 11
FLV_TAGS = (8, 9, 18)
FLV_ENCRYPTED = 0x20
FLV_TAG = re.compile(rb"(?s)[\x08\x09\x12]\0.{2}.{4}\0\0\0")  # of less than 64 KiB
SEARCHED_BYTES = 1 << 20
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


def is_proved_whole(path: str | Path) -> bool:
    """Whether the file holds an unbroken chain of elements from its first to its last.

    What follows then, if anything, is none of it, though a demuxer may complain of it. False also
    where the container cannot tell.
    """
    with Path(path).open("rb") as file:
        is_chain = sniff(file.read(HEAD_BYTES)) in CHAINS
    return is_chain and not is_cut_short(path)


def _mp4(file: BinaryIO, num_bytes: int) -> bool:
    """Once there are an index and frames, a further box counts only if it is one of theirs."""
    place = 0
    kinds: set[bytes] = set()
    while place + 8 <= num_bytes:
        file.seek(place)
        box = file.read(16)
        size = int.from_bytes(box[:4], "big")
        if size == 1:
            size = int.from_bytes(box[8:16], "big")
        kind = box[4:8]
        if size == 0 or (kinds >= MP4_WHOLE and kind not in MP4_WITH_FRAMES):
            return False
        if size < 8 or place + size > num_bytes:
            return True
        kinds.add(kind)
        place += size
    return False


def _avi(file: BinaryIO, num_bytes: int) -> bool:
    """List after list: a large file has one of each gigabyte.

    Of a list of unknown size (written to a pipe, or never finished) every chunk of frames is
    visited.
    """
    place = 0
    while True:
        file.seek(place)
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] not in (b"AVI ", b"AVIX"):
            return False
        size = int.from_bytes(head[4:8], "little")
        if size in AVI_UNKNOWN_SIZES:
            return _chunks_end_early(file, place, num_bytes)
        place += 8 + size
        if place > num_bytes:
            return True
        place += place % 2


def _chunks_end_early(file: BinaryIO, place: int, num_bytes: int) -> bool:
    """Whether the last chunk of the frames in an AVI list is cut short."""
    file.seek(place)
    at = file.read(SEARCHED_BYTES).find(b"movi")
    if at < 0:
        return True
    place += at + 4
    while place < num_bytes:
        file.seek(place)
        head = file.read(8)
        if head[:4] == b"LIST":  # a group of chunks
            place += 12
            continue
        if len(head) == 8 and not AVI_CHUNK.match(head):
            return _is_found(file, place, AVI_FRAME, _is_chunk)
        place += 8 + int.from_bytes(head[4:], "little")
        if len(head) < 8 or place > num_bytes:
            return True
        place += place % 2
    return False


def _is_chunk(file: BinaryIO, place: int) -> bool:
    """Whether another chunk, or the end of the file, follows the chunk at `place`."""
    file.seek(place + 4)
    end = place + 8 + int.from_bytes(file.read(4), "little")
    file.seek(end + end % 2)
    following = file.read(4)
    return not following or AVI_CHUNK.match(following) is not None


def _matroska(file: BinaryIO, num_bytes: int) -> bool:
    """A segment or cluster of unknown size (a live recording) is told by what lies in it.

    Segments and clusters are entered; what follows a segment does not belong to the video.
    """
    place = 0
    ends: list[tuple[int, bool]] = []  # of what lies around the element, and is it the segment
    while place < num_bytes:
        while ends and place >= ends[-1][0]:
            end, is_segment = ends.pop()
            if place > end:
                return True  # an element is larger than what holds it
            if is_segment:
                return False
        file.seek(place)
        head = file.read(12)
        id_bytes = 9 - head[0].bit_length()
        identifier = int.from_bytes(head[:id_bytes], "big")
        if not ends and identifier not in MATROSKA_ELEMENTS:
            return _is_found(file, place, CLUSTER_START)  # else it is behind a recording's end
        if id_bytes > 4 or len(head) <= id_bytes or head[id_bytes] == 0:
            return True
        size_bytes = 9 - head[id_bytes].bit_length()
        if len(head) < id_bytes + size_bytes:
            return True
        value_bits = 7 * size_bytes
        size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & (
            (1 << value_bits) - 1
        )
        place += id_bytes + size_bytes
        is_unknown = size == (1 << value_bits) - 1
        if identifier in (MATROSKA_SEGMENT, MATROSKA_CLUSTER):
            if not is_unknown:
                ends.append((place + size, identifier == MATROSKA_SEGMENT))
        elif is_unknown:
            return False
        else:
            place += size
    return place > num_bytes or any(end > num_bytes for end, _ in ends)


def _flv(file: BinaryIO, num_bytes: int) -> bool:
    place = FLV_HEADER_BYTES
    while place < num_bytes:
        file.seek(place)
        head = file.read(FLV_TAG_HEADER_BYTES)
        if head[0] & ~FLV_ENCRYPTED not in FLV_TAGS or any(head[8:]):
            return _is_found(file, place, FLV_TAG, _is_tag)
        end = place + FLV_TAG_HEADER_BYTES + int.from_bytes(head[1:4], "big")
        if len(head) < FLV_TAG_HEADER_BYTES or end > num_bytes:
            return True
        place = end + 4
    return False


def _is_tag(file: BinaryIO, place: int) -> bool:
    """Whether the size of the tag at `place` stands behind it, too."""
    file.seek(place + 1)
    end = FLV_TAG_HEADER_BYTES + int.from_bytes(file.read(3), "big")
    file.seek(place + end)
    return file.read(4) == end.to_bytes(4, "big")


def _is_found(
    file: BinaryIO,
    place: int,
    pattern: re.Pattern[bytes],
    is_sound: Callable[[BinaryIO, int], bool] = lambda file, place: True,
) -> bool:
    """Whether an element begins from `place` on, and what was met there lies within the video."""
    while True:
        file.seek(place)
        piece = file.read(SEARCHED_BYTES)
        if any(is_sound(file, place + found.start()) for found in pattern.finditer(piece)):
            return True
        if len(piece) < SEARCHED_BYTES:
            return False
        place += SEARCHED_BYTES - FLV_TAG_HEADER_BYTES


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
            return b"OggS" in head[1:] + file.read() or head.startswith(b"OggS"[: len(head)])
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


CHAINS = ("flv", "ogg", "gif")  # of which every element is visited
ENDS_EARLY: dict[str, Callable[[BinaryIO, int], bool]] = {
    "mp4": _mp4,
    "avi": _avi,
    "matroska": _matroska,
    "flv": _flv,
    "asf": _asf,
    "ogg": _ogg,
    "gif": _gif,
}
