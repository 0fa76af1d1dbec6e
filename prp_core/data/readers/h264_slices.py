"""Parsing of H.264 slice headers: what each slice may refer to, and which references it drops.

Only what frames without long-term references, slice groups and redundant pictures hold; anything
else raises `ValueError`. ITU-T H.264, 7.3.2.2, 7.3.3 and D.1.8.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prp_core.data.readers.bits import Bits

P, B, I = 0, 1, 2  # noqa: E741 - the standard's names
SEI_RECOVERY_POINT = 6
END_OF_CHANGES = 3
REMOVE_SHORT = 1
PLANES_APART = -1
MOST_HEADER_BYTES = 400
FRAME_NUMBER_BYTES = 24
MOST_CHANGES = 66  # of one list: 7.4.3.1
MOST_REFERENCES = 32


@dataclass(frozen=True)
class SequenceHeader:
    """What a sequence parameter set says of frames, their order and their references.

    `num_reordered` is None where it does not say. `order_kind` is pic_order_cnt_type, `chroma` is
    chroma_format_idc or `PLANES_APART`.
    """

    frames_only: bool
    num_reordered: int | None
    is_mbaff: bool
    frame_number_bits: int
    order_kind: int
    order_bits: int
    num_references: int
    chroma: int

    @property
    def num_frame_numbers(self) -> int:
        """What frame numbers are counted modulo."""
        return 1 << self.frame_number_bits


@dataclass(frozen=True)
class PictureSet:
    """A picture parameter set's fields that a slice header depends on."""

    states_bottom_order: bool
    counts: tuple[int, int]
    weighted_p: bool
    weighted_b: bool


@dataclass(frozen=True)
class Slice:
    """One slice's header.

    `changes` are the (operation, number) of each of its lists of references, `counts` their
    lengths; `drops` are the differences of numbers of references that it drops, None for the
    oldest of a full buffer.
    """

    kind: int
    frame_number: int
    is_idr: bool
    is_reference: bool
    order: int
    bottom_difference: int
    counts: tuple[int, ...]
    changes: tuple[tuple[tuple[int, int], ...], ...]
    drops: tuple[int, ...] | None


def unescaped(unit: bytes) -> bytes:
    """The payload of a unit without its first byte and the bytes that prevent start codes."""
    return unit[1:MOST_HEADER_BYTES].replace(b"\0\0\3", b"\0\0")


def read_picture_set(unit: bytes) -> tuple[int, PictureSet]:
    """(number, content) of a picture parameter set."""
    bits = Bits(unescaped(unit) + bytes(4))
    number = bits.golomb()
    bits.golomb()
    bits.skip(1)
    states_bottom_order = bool(bits.take(1))
    if bits.golomb():
        raise ValueError("slice groups")
    counts = (bits.golomb() + 1, bits.golomb() + 1)
    weighted_p = bool(bits.take(1))
    weighted_b = bits.take(2) == 1
    for _ in range(3):
        bits.golomb()
    bits.skip(2)
    if bits.take(1):
        raise ValueError("redundant pictures")
    return number, PictureSet(states_bottom_order, counts, weighted_p, weighted_b)


def read_slice(unit: bytes, header: SequenceHeader, sets: dict[int, PictureSet]) -> Slice:
    """The header of a slice of a frame. Raises `ValueError`, `KeyError`."""
    bits = Bits(unescaped(unit))
    is_idr = unit[0] & 31 == 5
    is_reference = bool(unit[0] & 0x60)
    bits.golomb()
    kind = bits.golomb() % 5
    if kind > I:
        raise ValueError("switching slices")
    chosen = sets[bits.golomb()]
    bits.skip(2 if header.chroma == PLANES_APART else 0)
    frame_number = bits.take(header.frame_number_bits)
    if not header.frames_only and bits.take(1):
        raise ValueError("a field")
    if is_idr:
        bits.golomb()
    order = bottom = 0
    if header.order_kind == 0:
        order = bits.take(header.order_bits)
        bottom = bits.signed_golomb() if chosen.states_bottom_order else 0
    bits.skip(1 if kind == B else 0)
    counts = _counts(bits, kind, chosen)
    changes = tuple(_changes(bits) for _ in counts)
    if (kind == P and chosen.weighted_p) or (kind == B and chosen.weighted_b):
        _skip_weights(bits, counts, header)
    drops = _drops(bits, is_idr) if is_reference else ()
    return Slice(
        kind=kind,
        frame_number=frame_number,
        is_idr=is_idr,
        is_reference=is_reference,
        order=order,
        bottom_difference=bottom,
        counts=counts,
        changes=changes,
        drops=drops,
    )


def read_frame_number(unit: bytes, header: SequenceHeader) -> int:
    """The frame_num of a slice, which is read for each picture of each file."""
    bits = Bits(unit[1:FRAME_NUMBER_BYTES].replace(b"\0\0\3", b"\0\0"))
    for _ in range(3):
        bits.golomb()
    bits.skip(2 if header.chroma == PLANES_APART else 0)
    return bits.take(header.frame_number_bits)


def _counts(bits: Bits, kind: int, chosen: PictureSet) -> tuple[int, ...]:
    """The length of each list of references."""
    num_lists = {P: 1, B: 2, I: 0}[kind]
    counts = chosen.counts[:num_lists]
    if num_lists and bits.take(1):
        counts = tuple(bits.golomb() + 1 for _ in range(num_lists))
    if any(count > MOST_REFERENCES for count in counts):
        raise ValueError("more references than there can be")
    return counts


def _changes(bits: Bits) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    if not bits.take(1):
        return ()
    while (operation := bits.golomb()) != END_OF_CHANGES:
        if operation > 1 or len(found) > MOST_CHANGES:
            raise ValueError("a long-term reference")
        found.append((operation, bits.golomb() + 1))
    return tuple(found)


def _skip_weights(bits: Bits, counts: Iterable[int], header: SequenceHeader) -> None:
    has_chroma = header.chroma > 0
    bits.golomb()
    if has_chroma:
        bits.golomb()
    for count in counts:
        for _ in range(count):
            for values in (2, 4) if has_chroma else (2,):
                if bits.take(1):
                    for _ in range(values):
                        bits.golomb()


def _drops(bits: Bits, is_idr: bool) -> tuple[int, ...] | None:
    if is_idr:
        bits.skip(1)
        if bits.take(1):
            raise ValueError("a long-term reference")
        return ()
    if not bits.take(1):
        return None
    found: list[int] = []
    while operation := bits.golomb():
        if operation != REMOVE_SHORT or len(found) > MOST_REFERENCES:
            raise ValueError("a long-term reference")
        found.append(bits.golomb() + 1)
    return tuple(found)


def states_recovery(units: Sequence[bytes]) -> bool:
    """Whether the SEI messages `units` say that decoding may begin at their very picture."""
    return any(
        kind == SEI_RECOVERY_POINT and _recovers_at_once(payload)
        for unit in units
        for kind, payload in _messages(unit[1:].replace(b"\0\0\3", b"\0\0"))
    )


def _recovers_at_once(payload: bytes) -> bool:
    bits = Bits(payload)
    num_frames = bits.golomb()
    bits.skip(1)
    has_broken_link = bits.take(1)
    return num_frames == 0 and not has_broken_link


def _messages(data: bytes) -> Iterable[tuple[int, bytes]]:
    """(kind, payload) of each message of an SEI unit."""
    at = 0
    while at + 2 < len(data):
        numbers = []
        for _ in range(2):
            number = 0
            while at < len(data) and data[at] == 0xFF:
                number += 255
                at += 1
            number += data[at] if at < len(data) else 0
            at += 1
            numbers.append(number)
        kind, size = numbers
        yield kind, data[at : at + size]
        at += size
