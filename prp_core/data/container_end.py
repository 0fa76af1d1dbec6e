"""Detection of files that end before their container does: a lost tail, told without decoding.

Every container whose elements state their sizes can tell it; an MPEG stream has no end of its own.
"""

from __future__ import annotations

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
OGG_TAIL_BYTES = 1 << 17  # the largest page has 65,307 bytes
OGG_PAGE_HEADER_BYTES = 27


def is_cut_short(path: str | Path) -> bool:
    """Whether the file ends before the last element of its container does.

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
    """A segment or cluster of unknown size (a live recording) is told by what lies in it."""
    place = 0
    while place < num_bytes:
        file.seek(place)
        head = file.read(12)
        id_bytes = 9 - head[0].bit_length()
        if id_bytes > 4 or len(head) <= id_bytes:
            return len(head) <= id_bytes
        size_bytes = 9 - head[id_bytes].bit_length()
        if size_bytes > 8:
            return False
        if len(head) < id_bytes + size_bytes:
            return True
        value_bits = 7 * size_bytes
        size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & (
            (1 << value_bits) - 1
        )
        place += id_bytes + size_bytes
        is_unknown = size == (1 << value_bits) - 1
        if is_unknown and int.from_bytes(head[:id_bytes], "big") not in (
            MATROSKA_SEGMENT,
            MATROSKA_CLUSTER,
        ):
            return False
        place += 0 if is_unknown else size
    return place > num_bytes


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
    file.seek(max(0, num_bytes - OGG_TAIL_BYTES))
    tail = file.read()
    place = tail.rfind(b"OggS")
    if place < 0:
        return False
    page = tail[place:]
    if len(page) < OGG_PAGE_HEADER_BYTES:
        return True
    num_segments = page[OGG_PAGE_HEADER_BYTES - 1]
    segments = page[OGG_PAGE_HEADER_BYTES : OGG_PAGE_HEADER_BYTES + num_segments]
    return OGG_PAGE_HEADER_BYTES + num_segments + sum(segments) > len(page)


ENDS_EARLY: dict[str, Callable[[BinaryIO, int], bool]] = {
    "mp4": _mp4,
    "avi": _avi,
    "matroska": _matroska,
    "flv": _flv,
    "asf": _asf,
    "ogg": _ogg,
}
