"""The proof from slice headers that decoding H.264 may begin at a picture that is no IDR picture.

An encoder states such places by recovery points (open groups of pictures), but what is behind one
may still refer to what was before it. Here the decoder's buffer of references is followed twice,
from the file's beginning and from the recovery point: where every picture that is shown behind it
has the same lists of references both times, all of them decoded from the recovery point on, its
pixels are the same. ITU-T H.264, 8.2.1, 8.2.4 and 8.2.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prp_core.data.readers.h264_slices import B, I, SequenceHeader, Slice

Lists = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class CodedPicture:
    """One frame: its slices, and whether a recovery point stands before it."""

    slices: tuple[Slice, ...]
    is_recovery_point: bool

    @property
    def may_start(self) -> bool:
        """Whether it is an intra picture that later ones refer to, at a recovery point."""
        first = self.slices[0]
        is_intra = all(one.kind == I for one in self.slices)
        return first.is_reference and is_intra and (first.is_idr or self.is_recovery_point)


@dataclass(frozen=True)
class _Reference:
    place: int
    frame_number: int
    order: int


class _Buffer:
    """The references that a decoder holds. What it lacks is None in a list, or raises."""

    def __init__(self, header: SequenceHeader) -> None:
        self._most = max(1, header.num_references)
        self._modulus = header.num_frame_numbers
        self.held: list[_Reference] = []

    @property
    def places(self) -> tuple[int, ...]:
        """The places of what is held."""
        return tuple(one.place for one in self.held)

    def lists(self, one: Slice, order: int) -> Lists | None:
        """The lists of references of a slice; None where one has a gap."""
        found = []
        for which, count in enumerate(one.counts):
            chosen = self._initial(one, order, which)[:count]
            chosen = self._changed(chosen, one, which)[:count]
            if len(chosen) < count or None in chosen:
                return None
            found.append(tuple(reference.place for reference in chosen if reference is not None))
        return tuple(found)

    def _number(self, reference: _Reference, current: int) -> int:
        number = reference.frame_number
        return number - self._modulus if number > current else number

    def _initial(self, one: Slice, order: int, which: int) -> list[_Reference | None]:
        if one.kind != B:
            newest_first = sorted(self.held, key=lambda held: -self._number(held, one.frame_number))
            return list(newest_first)
        before = sorted((held for held in self.held if held.order < order), key=lambda h: -h.order)
        after = sorted((held for held in self.held if held.order > order), key=lambda h: h.order)
        forward, backward = [*before, *after], [*after, *before]
        if len(backward) > 1 and forward == backward:
            backward[:2] = backward[1::-1]
        return list(backward if which else forward)

    def _changed(
        self, chosen: list[_Reference | None], one: Slice, which: int
    ) -> list[_Reference | None]:
        predicted = one.frame_number
        for place, (operation, difference) in enumerate(one.changes[which]):
            predicted += difference if operation else -difference
            predicted %= self._modulus
            number = predicted - self._modulus if predicted > one.frame_number else predicted
            wanted = self._find(number, one.frame_number)
            rest = [held for held in chosen[place:] if held != wanted or held is None]
            chosen = [*chosen[:place], wanted, *rest]
        return chosen

    def _find(self, number: int, current: int) -> _Reference | None:
        return next((one for one in self.held if self._number(one, current) == number), None)

    def mark(self, place: int, one: Slice, order: int, *, is_whole: bool) -> None:
        """Hold the picture, and drop what it says. Raises `ValueError` where a buffer that
        `is_whole` lacks that.
        """
        if not one.is_reference:
            return
        current = one.frame_number
        if one.is_idr:
            self.held = []
        elif one.drops is None:
            if len(self.held) >= self._most:
                self.held.remove(min(self.held, key=lambda held: self._number(held, current)))
        else:
            for difference in one.drops:
                found = self._find(current - difference, current)
                if found is None and is_whole:
                    raise ValueError("it drops what is not held")
                if found is not None:
                    self.held.remove(found)
            if len(self.held) >= self._most:
                raise ValueError("more references than the sequence's header allows")
        self.held.append(_Reference(place, current, order))


class ReferenceProof:
    """Follows the references of a file's pictures from its beginning. Raises `ValueError` where
    they contradict the headers.

    `shown[n]` is the place of frame n.
    """

    def __init__(
        self, pictures: Sequence[CodedPicture], header: SequenceHeader, shown: Sequence[int]
    ) -> None:
        self._pictures = pictures
        self._header = header
        self._frame_of = {place: frame for frame, place in enumerate(shown)}
        self._shown = shown
        self._orders = _orders(pictures, header)
        self._lists: list[list[Lists | None]] = []
        self._places: list[tuple[int, ...]] = []
        buffer = _Buffer(header)
        is_whole = pictures[0].slices[0].is_idr  # else the first ones drop what was cut off
        for place, picture in enumerate(pictures):
            order = self._orders[place]
            self._lists.append([buffer.lists(one, order) for one in picture.slices])
            buffer.mark(place, picture.slices[0], order, is_whole=is_whole)
            self._places.append(buffer.places)

    @property
    def agrees_with_times(self) -> bool:
        """Whether the pictures state the order in which they are shown."""
        return not any(self._is_shown_late(frame) for frame in range(1, len(self._shown)))

    def _is_shown_late(self, frame: int) -> bool:
        """Whether the frame before `frame` states an order behind it, and no IDR picture starts."""
        before = self._shown[frame - 1]
        here = self._shown[frame]
        starts_anew = any(
            self._pictures[place].slices[0].is_idr for place in range(before + 1, here + 1)
        )
        return not starts_anew and self._orders[before] >= self._orders[here]

    def leading_of(self, start: int) -> frozenset[int]:
        """The places behind `start` that are shown before it."""
        earlier = self._shown[: self._frame_of[start]]
        return frozenset(place for place in earlier if place > start)

    def is_safe(self, start: int) -> bool:
        """Whether what is shown from the picture `start` on decodes from there alone."""
        leading = self.leading_of(start)
        if (
            not self._pictures[start].may_start
            or self._frame_of[start] != start + len(leading)
            or any(self._pictures[place].slices[0].is_idr for place in leading)
        ):
            return False
        buffer = _Buffer(self._header)
        buffer.mark(start, self._pictures[start].slices[0], self._orders[start], is_whole=False)
        for place in range(start + 1, len(self._pictures)):
            slices = self._pictures[place].slices
            order = self._orders[place]
            if place not in leading:
                for one, expected in zip(slices, self._lists[place], strict=True):
                    found = buffer.lists(one, order)
                    if found is None or found != expected:
                        return False
                    if any(not leading.isdisjoint(chosen) for chosen in found):
                        return False
            buffer.mark(place, slices[0], order, is_whole=False)
            if buffer.places == self._places[place] and leading.isdisjoint(buffer.places):
                return True
        return True


def _orders(pictures: Sequence[CodedPicture], header: SequenceHeader) -> list[int]:
    """The picture order count of each frame (8.2.1.1 and 8.2.1.3). Raises `ValueError` where a
    frame's number does not follow that of the reference before it.
    """
    orders = []
    modulus = 1 << header.order_bits
    numbers = header.num_frame_numbers
    high = low = offset = 0
    last_number = last_reference = -1
    for picture in pictures:
        one = picture.slices[0]
        if one.is_idr:
            high = low = offset = 0
        elif last_number >= 0 and one.frame_number != (last_reference + 1) % numbers:
            raise ValueError("a gap in the numbers of frames")
        elif last_number < 0:
            low = one.order
        if header.order_kind == 0:
            here = high
            if one.order < low and low - one.order >= modulus // 2:
                here += modulus
            elif one.order > low and one.order - low > modulus // 2:
                here -= modulus
            if one.is_reference:
                high, low = here, one.order
            orders.append(here + one.order + min(0, one.bottom_difference))
        else:
            if not one.is_idr and last_number > one.frame_number:
                offset += numbers
            orders.append(2 * (offset + one.frame_number) - (not one.is_reference))
        last_number = one.frame_number
        if one.is_reference:
            last_reference = one.frame_number
    return orders
