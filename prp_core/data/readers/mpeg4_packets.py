"""Parsing of MPEG-4 Part 2 packet headers (XviD, DivX): the order and the kinds of pictures.

B-pictures refer to others, and nothing refers to them. DivX packed them into the packet of the
picture before; FFmpeg's filter takes them out again. ISO/IEC 14496-2, 6.2: a picture (VOP) begins
with 00 00 01 B6 and two bits of its kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from av.bitstream import BitStreamFilterContext

from prp_core.data.readers.bits import Bits
from prp_core.data.readers.packet_layout import PacketLayout

START = b"\x00\x00\x01"
PICTURE = b"\x00\x00\x01\xb6"
GROUP = 0xB3
KIND_I = 0
KIND_B = 2
LARGEST_EMPTY_PICTURE_BYTES = 19  # the filter takes a longer packet for a picture
EXTENDED_ASPECT = 15
GREYSCALE = 3
PACKED_BY_DIVX = re.compile(rb"DivX\d+[Bb]\d+p")


@dataclass(frozen=True)
class _Layer:
    """What a video object layer's header says.

    Where it does not announce reordering, FFmpeg detects it in passing and repeats a frame.
    """

    reorders: bool
    time_bits: int


class _Picture(NamedTuple):
    position: int
    kind: int
    is_coded: bool


def mpeg4_layout(stream: Any, packets: list[Any]) -> tuple[list[Any], PacketLayout] | None:
    """(packets with one picture each, their layout); None where the headers leave a doubt.

    Raises `ValueError` where they end early.
    """
    extradata = stream.codec_context.extradata or b""
    data = [bytes(packet) for packet in packets]
    layer = _layer([*_headers(extradata), *_headers(data[0].partition(PICTURE)[0])])
    if layer is None:
        return None
    pictures = [_pictures(chunk, layer) for chunk in data]
    if any(len(found) != 1 for found in pictures):
        if not _is_packed_as_divx_did(data, pictures) or not PACKED_BY_DIVX.search(
            extradata + data[0]
        ):
            return None
        unpack = BitStreamFilterContext("mpeg4_unpack_bframes", stream)
        packets = [clear for packet in packets for clear in unpack.filter(packet)]
        data = [bytes(packet) for packet in packets]
        pictures = [_pictures(chunk, layer, most=1) for chunk in data]
    if any(len(found) != 1 or not found[0].is_coded for found in pictures):
        return None  # an empty picture of its own shows no frame
    headers = [
        _headers(chunk[: found[0].position]) for chunk, found in zip(data, pictures, strict=True)
    ]
    kinds = [found[0].kind for found in pictures]
    if any(not packet.is_discard for packet in packets[1 : _num_leading(kinds) + 1]):
        return None  # pictures that refer to one before the first, and are shown
    layout = _layout(kinds, headers, _headers(extradata), layer)
    return None if layout is None else (packets, layout)


def _num_leading(kinds: list[int]) -> int:
    """How many B-pictures follow the first picture directly."""
    return next((n for n, kind in enumerate(kinds[1:]) if kind != KIND_B), len(kinds) - 1)


def _layout(
    kinds: list[int], headers: list[list[bytes]], known: list[bytes], layer: _Layer
) -> PacketLayout | None:
    """The layout of pictures of `kinds`, with the headers before each.

    `known` are the headers that the decoder starts with.
    """
    if kinds[0] != KIND_I or any(
        set(later) - set(headers[0]) - set(known) for later in headers[1:]
    ):
        return None
    if KIND_B in kinds and not layer.reorders:
        return None
    # What a decoder learns from packet 0 must be known to one that begins elsewhere.
    starts = [
        place
        for place, kind in enumerate(kinds)
        if kind == KIND_I and set(headers[0]) <= {*known, *headers[place]}
    ]
    disposable = frozenset(place for place, kind in enumerate(kinds) if kind == KIND_B)
    return PacketLayout(_order(kinds), tuple(sorted({0, *starts})), disposable)


def _is_packed_as_divx_did(data: list[bytes], pictures_of: list[list[_Picture]]) -> bool:
    """Whether each packet of two pictures is followed at some point by its empty one."""
    owed = False
    for chunk, pictures in zip(data, pictures_of, strict=True):
        empty = len(pictures) == 1 and not pictures[0].is_coded
        if (
            not 1 <= len(pictures) <= 2
            or (len(pictures) == 2 and owed)
            or empty != (owed and len(chunk) <= LARGEST_EMPTY_PICTURE_BYTES)
        ):
            return False
        owed = len(pictures) == 2 or (owed and not empty)
    return not owed


def _pictures(chunk: bytes, layer: _Layer, most: int = 3) -> list[_Picture]:
    """The first `most` pictures of a packet (6.2.5): position, kind, whether anything is coded."""
    found: list[_Picture] = []
    at = chunk.find(PICTURE)
    while at >= 0:
        head = int.from_bytes(chunk[at + 4 : at + 20].ljust(16, b"\0"), "big")
        coded_bit = 128 - 3 - layer.time_bits - 3
        while coded_bit > 0 and head >> coded_bit + layer.time_bits + 3 & 1:
            coded_bit -= 1
        found.append(_Picture(at, head >> 126, bool(head >> coded_bit & 1)))
        at = chunk.find(PICTURE, at + 4) if len(found) < most else -1
    return found


def _headers(data: bytes) -> list[bytes]:
    """The units before a picture, each with its start code.

    Groups of pictures are left out: they hold a time only.
    """
    if not data:
        return []
    units = [START + unit for unit in data.split(START)[1:] if unit]
    return [unit[:4] + unit[4:].rstrip(b"\0") for unit in units if unit[3] != GROUP]


def _layer(headers: list[bytes]) -> _Layer | None:
    """The first video object layer's header (6.2.3), as far as the size of the clock."""
    layers = [unit for unit in headers if 0x20 <= unit[3] <= 0x2F]
    if not layers:
        return None
    bits = Bits(layers[0][4:] + bytes(8))
    bits.skip(1 + 8)
    if bits.take(1):
        bits.skip(4 + 3)
    if bits.take(4) == EXTENDED_ASPECT:
        bits.skip(16)
    reorders = False
    if bits.take(1):
        bits.skip(2)
        reorders = not bits.take(1)
        if bits.take(1):
            bits.skip(79)
    if bits.take(2) == GREYSCALE:
        return None
    bits.skip(1)
    return _Layer(reorders, time_bits=max(1, (bits.take(16) - 1).bit_length()))


def _order(kinds: list[int]) -> tuple[int, ...]:
    """Packets in the order of frames: a B-picture is shown at once, any other at the next other."""
    shown: list[int] = []
    held: list[int] = []
    for place, kind in enumerate(kinds):
        if kind == KIND_B:
            shown.append(place)
        else:
            shown += held
            held = [place]
    return tuple(shown + held)
