"""Parsing of H.264 packet headers: the order and the kinds of pictures.

A picture whose slices all have nal_ref_idc 0 is not referred to by any other; an IDR picture starts
anew, and so does a recovery point where `h264_references` proves it. ITU-T H.264, 7.3 and 7.4.
"""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prp_core.data.readers.bits import Bits
from prp_core.data.readers.h264_references import CodedPicture, ReferenceProof
from prp_core.data.readers.h264_slices import (
    PLANES_APART,
    SequenceHeader,
    read_frame_number,
    read_picture_set,
    read_slice,
    states_recovery,
    unescaped,
)
from prp_core.data.readers.packet_layout import PacketLayout

SLICE = 1
IDR_SLICE = 5
SEI = 6
SEQUENCE = 7
PICTURE_SET = 8
DELIMITER = 9
END_OF_SEQUENCE = 10
END_OF_STREAM = 11
FILLER = 12
EXPECTED_UNITS = {
    SLICE,
    IDR_SLICE,
    SEI,
    SEQUENCE,
    PICTURE_SET,
    DELIMITER,
    END_OF_SEQUENCE,
    END_OF_STREAM,
    FILLER,
}
PROFILES_WITH_CHROMA = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
FULL_SAMPLE_ASPECT = 255
OLD_ENCODER = re.compile(rb"x264 - core (\d+)")
LAST_BUILD_THAT_FFMPEG_TREATS_APART = 164


@dataclass(frozen=True)
class _Picture:
    is_idr: bool
    is_disposable: bool
    slices: tuple[bytes, ...]
    is_recovery_point: bool


def h264_layout(extradata: bytes, packets: list[Any]) -> PacketLayout | None:
    """The layout of a stream of whole frames, one in each packet; None in case of doubt."""
    length_bytes, parameter_sets = _of_extradata(extradata)
    pictures = []
    for packet in packets:
        picture = _picture(list(units_of(bytes(packet), length_bytes)), parameter_sets)
        if picture is None:
            return None
        pictures.append(picture)
    headers = [unit for unit in parameter_sets if unit[0] & 31 == SEQUENCE]
    if len(headers) != 1 or not (pictures[0].is_idr or pictures[0].is_recovery_point):
        return None
    try:
        header = read_sequence_header(headers[0])
    except ValueError:
        return None
    shown = _order([packet.pts for packet in packets], header)
    if shown is None:
        return None
    # Beyond the first packet, the encoder's mark on it is lost to the decoder.
    build = OLD_ENCODER.search(bytes(packets[0])[:1024])
    may_seek = build is None or int(build[1]) >= LAST_BUILD_THAT_FFMPEG_TREATS_APART
    idr = [place for place, picture in enumerate(pictures) if picture.is_idr]
    frame_of = {place: frame for frame, place in enumerate(shown)}
    if any(frame_of[place] != place for place in idr):
        return None  # all that is decoded before an IDR picture is shown before it
    if not _numbers_follow(pictures, header):
        return None
    leading = _recovery_points(pictures, header, parameter_sets, shown)
    if leading is None:
        return None
    starts = {0, *idr, *leading} if may_seek else {0}
    disposable = frozenset(place for place, picture in enumerate(pictures) if picture.is_disposable)
    return PacketLayout(
        shown,
        tuple(sorted(starts)),
        disposable,
        leading={place: found for place, found in leading.items() if place in starts},
        may_be_interlaced=header.is_mbaff,
    )


def _numbers_follow(pictures: Sequence[_Picture], header: SequenceHeader) -> bool:
    """Whether no frame is missing: what replaces it depends on which others are decoded."""
    last = -1
    for picture in pictures:
        number = read_frame_number(picture.slices[0], header)
        if not picture.is_idr and last >= 0 and number != (last + 1) % header.num_frame_numbers:
            return False
        if not picture.is_disposable or last < 0:
            last = number
    return True


def _recovery_points(
    pictures: Sequence[_Picture],
    header: SequenceHeader,
    parameter_sets: Iterable[bytes],
    shown: Sequence[int],
) -> dict[int, frozenset[int]] | None:
    """The pictures other than IDR pictures where decoding may begin, each with the places that lead
    it; None where the file cannot be read by its packets.

    Slices are looked at only where there is something to find: a picture of a stream that may hold
    fields must be a frame.
    """
    points = [
        place
        for place, picture in enumerate(pictures)
        if picture.is_recovery_point and not picture.is_idr
    ]
    if not points and header.frames_only:
        return {}
    try:
        sets = dict(
            read_picture_set(unit) for unit in parameter_sets if unit[0] & 31 == PICTURE_SET
        )
        coded = [
            CodedPicture(
                tuple(read_slice(unit, header, sets) for unit in picture.slices),
                picture.is_recovery_point,
            )
            for picture in pictures
        ]
        proof = ReferenceProof(coded, header, shown)
        if not proof.agrees_with_times:
            return None
        found = {place: proof.leading_of(place) for place in points if proof.is_safe(place)}
    except (ValueError, KeyError):
        return {} if pictures[0].is_idr and header.frames_only else None
    return found if pictures[0].is_idr or 0 in found else None


def _order(times: list[int | None], header: SequenceHeader) -> tuple[int, ...] | None:
    """Packets by presentation time; None where FFmpeg might not follow it.

    It is not sure to follow a reordering that no header announces.
    """
    is_whole = header.frames_only or header.is_mbaff
    if not is_whole or None in times or len(set(times)) != len(times):
        return None
    shown = tuple(sorted(range(len(times)), key=lambda place: times[place] or 0))
    earlier: list[int] = []
    most = 0
    for time in times:
        assert time is not None
        insort(earlier, time)
        most = max(most, len(earlier) - 1 - earlier.index(time))
    return shown if most <= (header.num_reordered or 0) else None


def _of_extradata(extradata: bytes) -> tuple[int, set[bytes]]:
    """(length of a unit's size field, 0 with start codes; the parameter sets)."""
    if extradata[:1] != b"\x01":
        return 0, {
            unit for unit in units_of(extradata, 0) if unit[0] & 31 in (SEQUENCE, PICTURE_SET)
        }
    found = set()
    position = 5
    for mask in (31, 255):
        count = extradata[position] & mask
        position = position + 1
        for _ in range(count):
            size = int.from_bytes(extradata[position : position + 2], "big")
            found.add(extradata[position + 2 : position + 2 + size])
            position += 2 + size
    return (extradata[4] & 3) + 1, found


def units_of(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """The NAL units of a packet, without length fields or start codes."""
    if not length_bytes:
        yield from (
            unit for unit in (piece.rstrip(b"\0") for piece in data.split(b"\0\0\1")[1:]) if unit
        )
        return
    position = 0
    while position < len(data):
        size = int.from_bytes(data[position : position + length_bytes], "big")
        position += length_bytes
        if size:
            yield data[position : position + size]
        position += size


def _picture(units: list[bytes], parameter_sets: set[bytes]) -> _Picture | None:
    """What a packet's units say of its picture; None unless they are slices of exactly one.

    Also None where a unit is of an unexpected kind, or a parameter set is not known from the start.
    """
    slices = [unit for unit in units if unit[0] & 31 in (SLICE, IDR_SLICE)]
    first_slices = [unit for unit in slices if len(unit) > 1 and unit[1] & 0x80]
    kinds = {unit[0] & 31 for unit in slices}
    references = {bool(unit[0] & 0x60) for unit in slices}
    strange = any(unit[0] & 31 not in EXPECTED_UNITS for unit in units)
    unknown = any(
        unit[0] & 31 in (SEQUENCE, PICTURE_SET) and unit not in parameter_sets for unit in units
    )
    if len(first_slices) != 1 or len(kinds) != 1 or len(references) != 1 or strange or unknown:
        return None
    return _Picture(
        is_idr=kinds == {IDR_SLICE},
        is_disposable=references == {False},
        slices=tuple(slices),
        is_recovery_point=states_recovery([unit for unit in units if unit[0] & 31 == SEI]),
    )


def read_sequence_header(unit: bytes) -> SequenceHeader:
    """The fields of a sequence parameter set that decide order and references (7.3.2.1.1, E.1.1).

    Raises `ValueError` where it is cut short.
    """
    bits = Bits(unescaped(unit))
    profile = bits.take(8)
    bits.skip(16)
    bits.golomb()
    chroma = _chroma(bits) if profile in PROFILES_WITH_CHROMA else 1
    frame_number_bits = bits.golomb() + 4
    order_kind = bits.golomb()
    order_bits = 0
    if order_kind == 0:
        order_bits = bits.golomb() + 4
    elif order_kind == 1:
        bits.skip(1)
        bits.signed_golomb(), bits.signed_golomb()
        for _ in range(bits.golomb()):
            bits.signed_golomb()
    num_references = bits.golomb()
    bits.skip(1)
    bits.golomb(), bits.golomb()
    frames_only = bool(bits.take(1))
    is_mbaff = not frames_only and bool(bits.take(1))
    bits.skip(1)
    if bits.take(1):
        for _ in range(4):
            bits.golomb()
    return SequenceHeader(
        frames_only=frames_only,
        num_reordered=_num_reordered(bits) if bits.take(1) else None,
        is_mbaff=is_mbaff,
        frame_number_bits=frame_number_bits,
        order_kind=order_kind,
        order_bits=order_bits,
        num_references=num_references,
        chroma=chroma,
    )


def _chroma(bits: Bits) -> int:
    """How chroma is sampled (chroma_format_idc); -1 for three planes that are coded apart."""
    sampling = bits.golomb()
    if sampling == 3 and bits.take(1):
        sampling = PLANES_APART
    bits.golomb(), bits.golomb()
    bits.skip(1)
    if bits.take(1):
        raise ValueError("scaling matrices are not read")
    return sampling


def _num_reordered(bits: Bits) -> int | None:
    """max_num_reorder_frames of the video usability information."""
    if bits.take(1) and bits.take(8) == FULL_SAMPLE_ASPECT:
        bits.skip(32)
    if bits.take(1):
        bits.skip(1)
    if bits.take(1):
        bits.skip(4)
        if bits.take(1):
            bits.skip(24)
    if bits.take(1):
        bits.golomb(), bits.golomb()
    if bits.take(1):
        bits.skip(65)
    has_timing = [_skip_timing(bits), _skip_timing(bits)]
    if any(has_timing):
        bits.skip(1)
    bits.skip(1)
    if not bits.take(1):
        return None
    bits.skip(1)
    for _ in range(4):
        bits.golomb()
    return bits.golomb()


def _skip_timing(bits: Bits) -> bool:
    """Skip the hypothetical reference decoder's parameters; whether there were any."""
    if not bits.take(1):
        return False
    count = bits.golomb() + 1
    bits.skip(8)
    for _ in range(count):
        bits.golomb(), bits.golomb()
        bits.skip(1)
    bits.skip(20)
    return True
