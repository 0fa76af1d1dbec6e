"""Safe places to begin decoding HEVC, VP8, VP9, AV1 and MPEG-2, proved from packets' headers.

A safe start resets the decoder, and all frames after it in decoding order that do not lead it are
shown after it. `frame` is then known without decoding: one packet shows one frame (a count that was
verified says so), and what leads the start is shown before it. ITU-T H.265, 7.4.2.2 and 8.1.3; VP9
Bitstream Specification, 6.2 and Annex B; AV1 Bitstream Specification, 5.3 to 5.9; VP8: RFC 6386, 9.
MPEG-2: ITU-T H.262, 6.2 and 6.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from prp_core.data.readers.bits import Bits
from prp_core.data.readers.h264_packets import units_of

LEADING = range(6, 10)  # RADL and RASL pictures
IDR = (19, 20)
CRA = 21
IRAP = range(16, 24)
PARAMETER_SETS = (32, 33, 34)
END_UNITS = (36, 37)
AV1_SEQUENCE, AV1_DELIMITER, AV1_HEADER, AV1_FRAME = 1, 2, 3, 6
AV1_IGNORED = (4, 5, 15)  # tiles, metadata, padding
VP8_START_CODE = b"\x9d\x01\x2a"
MPEG2_PICTURE, MPEG2_SEQUENCE, MPEG2_EXTENSION, MPEG2_END = b"\0", b"\xb3", b"\xb5", b"\xb7"
MPEG2_I, MPEG2_B = 1, 3
MPEG2_SEQUENCE_EXTENSION, MPEG2_CODING = 1, 8
MPEG2_HARMLESS = {1, 2, 4, 7, 8}  # not: matrices that later pictures use, and scalable layers
MPEG2_FRAME = 3


@dataclass(frozen=True)
class Start:
    """Decoding begins at the packet `place`, without the packets `leading`, with frame `frame`.

    `hidden` are packets from there on, before the next start, that show nothing.
    """

    place: int
    frame: int
    leading: frozenset[int] = frozenset()
    hidden: frozenset[int] = frozenset()


def hevc_starts(extradata: bytes, packets: Sequence[bytes]) -> list[Start] | None:
    """IDR and CRA pictures; None in case of doubt."""
    length_bytes = (extradata[21] & 3) + 1 if extradata[:1] == b"\1" and len(extradata) > 22 else 0
    kinds = []
    for packet in packets:
        kind = _hevc_kind(list(units_of(packet, length_bytes)), extradata)
        if kind is None:
            return None
        kinds.append(kind)
    starts = []
    may_lead = False
    for place, kind in enumerate(kinds):
        if kind in LEADING:
            if not may_lead:
                return None
            continue
        may_lead = kind in IRAP
        if kind in (*IDR, CRA):
            end = place + 1
            while end < len(kinds) and kinds[end] in LEADING:
                end += 1
            leading = frozenset(range(place + 1, end))
            starts.append(Start(place, place + len(leading), leading))
        elif kind in IRAP:
            return None  # broken links
    return starts


def _hevc_kind(units: list[bytes], extradata: bytes) -> int | None:
    """The kind of a packet's one picture."""
    kinds = set()
    num_pictures = 0
    for unit in units:
        if len(unit) < 3 or (unit[0] & 1) or unit[1] >> 3:
            return None  # another layer
        kind = unit[0] >> 1 & 63
        if kind < 32:
            kinds.add(kind)
            num_pictures += unit[2] >> 7
        elif kind in END_UNITS or (kind in PARAMETER_SETS and unit not in extradata):
            return None
    return kinds.pop() if len(kinds) == 1 and num_pictures == 1 else None


def vp9_starts(extradata: bytes, packets: Sequence[bytes]) -> list[Start] | None:
    """Packets that begin with a key frame; None unless each packet shows one frame."""
    starts = []
    for place, packet in enumerate(packets):
        headers = [_vp9_header(frame) for frame in _vp9_frames(packet)]
        if sum(is_shown for _, is_shown in headers) != 1:
            return None
        if headers[0][0]:
            starts.append(Start(place, place))
    return starts


def _vp9_frames(packet: bytes) -> list[bytes]:
    """The frames of a packet, which may be a superframe with an index at its end."""
    marker = packet[-1] if packet else 0
    if marker & 0xE0 != 0xC0:
        return [packet]
    size_bytes = (marker >> 3 & 3) + 1
    count = (marker & 7) + 1
    index = packet[-(2 + size_bytes * count) :]
    if len(index) < 2 + size_bytes * count or index[0] != marker:
        return [packet]
    frames = []
    at = 0
    for number in range(count):
        begin = 1 + number * size_bytes
        size = int.from_bytes(index[begin : begin + size_bytes], "little")
        frames.append(packet[at : at + size])
        at += size
    return frames


def _vp9_header(frame: bytes) -> tuple[bool, bool]:
    """(is a key frame, is shown). Raises `ValueError`."""
    bits = Bits(frame[:8])
    if bits.take(2) != 2:
        raise ValueError("no VP9 frame")
    if bits.take(1) + 2 * bits.take(1) == 3:
        bits.skip(1)
    if bits.take(1):
        return False, True  # an earlier frame is shown
    is_key = not bits.take(1)
    return is_key, bool(bits.take(1))


def av1_starts(extradata: bytes, packets: Sequence[bytes]) -> list[Start] | None:
    """Packets with a sequence header and a shown key frame; None unless each shows one frame."""
    starts = []
    sequences = set()
    for place, packet in enumerate(packets):
        num_shown = 0
        is_key = False
        units = _av1_units(packet)
        for kind, data in units:
            if kind == AV1_SEQUENCE:
                sequences.add(data)
                if data[0] & 0x08:
                    return None  # a still picture's short headers
            elif kind in (AV1_HEADER, AV1_FRAME):
                bits = Bits(data[:8])
                shows_earlier = bits.take(1)
                kind_of_frame = bits.take(2)
                shown = shows_earlier or bits.take(1)
                num_shown += shown
                is_key |= bool(not shows_earlier and kind_of_frame == 0 and shown)
            elif kind not in (AV1_DELIMITER, *AV1_IGNORED):
                return None
        if num_shown != 1 or len(sequences) != 1:
            return None
        if is_key and any(kind == AV1_SEQUENCE for kind, _ in units):
            starts.append(Start(place, place))
    return starts


def _av1_units(packet: bytes) -> list[tuple[int, bytes]]:
    """(kind, content) of each unit of a temporal unit. Raises `ValueError`."""
    found = []
    at = 0
    while at < len(packet):
        head = packet[at]
        if head & 0x04:
            raise ValueError("scalable layers")
        at += 1
        size = len(packet) - at
        if head & 0x02:
            size, at = _leb128(packet, at)
        if at + size > len(packet):
            raise ValueError("a unit is cut short")
        found.append((head >> 3 & 15, packet[at : at + size]))
        at += size
    return found


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for number in range(8):
        if at + number >= len(data):
            raise ValueError("a size is cut short")
        byte = data[at + number]
        value |= (byte & 127) << (7 * number)
        if byte < 128:
            return value, at + number + 1
    raise ValueError("a size has no end")


def vp8_starts(extradata: bytes, packets: Sequence[bytes]) -> list[Start] | None:
    """Key frames; None where a frame may use a map of segments from before the last of them.

    Nothing else is kept over a key frame. A packet may hold a frame that is only referred to.
    """
    frames = [_vp8_frame(packet) for packet in packets]
    starts: list[Start] = []
    has_map = False
    num_shown = 0
    for place, frame in enumerate(frames):
        if frame.is_key:
            has_map = False
            starts.append(Start(place, num_shown))
        has_map = frame.has_segments and (has_map or frame.updates_map)
        if (frame.has_segments and not has_map) or not starts:
            return None
        num_shown += frame.is_shown
        if not frame.is_shown:
            starts[-1] = replace(starts[-1], hidden=starts[-1].hidden | {place})
    return starts


class _Vp8Frame(NamedTuple):
    is_key: bool
    is_shown: bool
    has_segments: bool
    updates_map: bool


def _vp8_frame(packet: bytes) -> _Vp8Frame:
    """The start of a frame's header (9.1, 9.2 and 9.3). Raises `ValueError`, `IndexError`."""
    is_key = not packet[0] & 1
    if is_key and packet[3:6] != VP8_START_CODE:
        raise ValueError("no VP8 key frame")
    flags = _EvenBools(packet[10:] if is_key else packet[3:])
    if is_key:
        flags.take()
        flags.take()
    has_segments = flags.take()
    return _Vp8Frame(is_key, bool(packet[0] & 0x10), has_segments, has_segments and flags.take())


class _EvenBools:
    """VP8's arithmetic decoder (7.3) of flags that are as likely set as not."""

    def __init__(self, data: bytes) -> None:
        self._bits = Bits(data[:16])
        self._value = self._bits.take(16)
        self._range = 255

    def take(self) -> bool:
        """The next flag. Raises `ValueError` past the end."""
        split = 1 + ((self._range - 1) >> 1)
        flag = self._value >= split << 8
        self._range = self._range - split if flag else split
        self._value -= split << 8 if flag else 0
        while self._range < 128:
            self._range <<= 1
            self._value = self._value << 1 | self._bits.take(1)
        return flag


def mpeg2_starts(extradata: bytes, packets: Sequence[bytes]) -> list[Start] | None:
    """I-pictures behind the sequence's header, which never changes; None in case of doubt.

    The B-pictures behind one lead it: they may refer to the picture before it.
    """
    kinds = []
    headers = set()
    heads = []
    for place, packet in enumerate(packets):
        units = packet.split(b"\0\0\1")[1:]
        kind = _mpeg2_kind(units)
        if kind is None:
            return None
        kinds.append(kind)
        header = _mpeg2_header(units)
        if header:
            headers.add(header)
            heads += [place] if kind == MPEG2_I else []
    if len(headers) != 1:
        return None
    starts = []
    for place in heads:
        end = place + 1
        while end < len(kinds) and kinds[end] == MPEG2_B:
            end += 1
        leading = frozenset(range(place + 1, end))
        starts.append(Start(place, place + len(leading), leading))
    return starts


def _mpeg2_kind(units: list[bytes]) -> int | None:
    """The kind of a packet's one picture, a whole frame."""
    pictures = [unit for unit in units if unit[:1] == MPEG2_PICTURE]
    extensions = [unit[1] >> 4 for unit in units if unit[:1] == MPEG2_EXTENSION and len(unit) > 4]
    if (
        len(pictures) != 1
        or len(pictures[0]) < 3
        or any(unit[:1] == MPEG2_END for unit in units)
        or not set(extensions) <= MPEG2_HARMLESS
    ):
        return None
    structures = [
        unit[3] & 3
        for unit in units
        if unit[:1] == MPEG2_EXTENSION and unit[1] >> 4 == MPEG2_CODING and len(unit) > 4
    ]
    return pictures[0][2] >> 3 & 7 if structures in ([], [MPEG2_FRAME]) else None


def _mpeg2_header(units: list[bytes]) -> bytes:
    """The sequence's header and its extension; empty where a packet has none."""
    found = [unit for unit in units if unit[:1] == MPEG2_SEQUENCE]
    found += [
        unit
        for unit in units
        if unit[:1] == MPEG2_EXTENSION and unit[1:2] and unit[1] >> 4 == MPEG2_SEQUENCE_EXTENSION
    ]
    return b"".join(unit.rstrip(b"\0") for unit in found)


STARTS: dict[str, Callable[[bytes, Sequence[bytes]], list[Start] | None]] = {
    "hevc": hevc_starts,
    "vp8": vp8_starts,
    "vp9": vp9_starts,
    "libdav1d": av1_starts,
    "av1": av1_starts,
    "mpeg1video": mpeg2_starts,
    "mpeg2video": mpeg2_starts,
}
