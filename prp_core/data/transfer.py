"""Host-to-device transfer of a batch: all pixels in one copy, all numbers in another.

Frames that lie on the device already (JPEGs that a GPU has decoded) are not copied. On a CPU the
same code puts the batch together and copies nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch

from prp_core.data.colour import Frames, PlanarFrames, rgb_from_planes

Allocate = Callable[[int], torch.Tensor]
"""From a number of bytes to a uint8 tensor of that length."""


def allocate_for(device: torch.device) -> Allocate:
    """Memory from which a copy to `device` does not block: pinned for a GPU.

    torch keeps pinned blocks and hands them out again once the copies from them have ended.
    """
    pinned = device.type == "cuda"
    return lambda num_bytes: torch.empty(num_bytes, dtype=torch.uint8, pin_memory=pinned)


@dataclass(frozen=True)
class Region:
    """A rectangle of frames of `whole` (height, width) pixels."""

    top: int
    left: int
    bottom: int
    right: int
    whole: tuple[int, int]

    @property
    def rows_and_columns(self) -> tuple[slice, slice]:
        """The rectangle as slices."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True)
class FramePart:
    """The frames of one sample: their shape as stored, and where they are.

    `planar` is the kind of `PlanarFrames`, None for RGB; `resident` the frames that did not have to
    be packed, because they are on a device. Those that are `cropped` are neither resized nor
    cropped any more. Of whole frames of the size in `region`, only what lies there is packed.
    """

    shape: tuple[int, ...]
    planar: tuple[str, bool] | None
    resident: torch.Tensor | None = None
    cropped: bool = False
    region: Region | None = None

    @property
    def alike(self) -> tuple[object, ...]:
        """What must be equal so that frames can be resized together."""
        whole = self.shape[1:] if self.region is None else (*self.region.whole, 3)
        return (self.planar, whole, self.resident is None, self.cropped, self.region is None)

    @property
    def num_bytes(self) -> int:
        """Bytes in the packed tensor."""
        return 0 if self.resident is not None else math.prod(self.shape)


@dataclass(frozen=True)
class PackedFrames:
    """The frames of several samples, one after another in `packed` (uint8, flat)."""

    packed: torch.Tensor
    parts: tuple[FramePart, ...]

    def to(self, device: torch.device) -> PackedFrames:
        """The same on `device`; does not wait for a copy from pinned memory."""
        return replace(self, packed=self.packed.to(device, non_blocking=True))

    def groups(self) -> Iterator[tuple[torch.Tensor, list[int], bool]]:
        """RGB frames uint8 (N, H, W, 3) of neighbours that are alike, how many each has, and
        whether they are cropped."""
        first = 0
        for _, neighbours in groupby(self.parts, key=lambda part: part.alike):
            parts = list(neighbours)
            counts = [part.shape[0] for part in parts]
            stop = first + sum(part.num_bytes for part in parts)
            if parts[0].resident is not None:
                stored = torch.cat([part.resident for part in parts if part.resident is not None])
            elif parts[0].region is not None:
                stored = self._whole_frames(parts, first)
            else:
                stored = self.packed[first:stop].view(sum(counts), *parts[0].shape[1:])
            first = stop
            planar = parts[0].planar
            frames_NHWC = rgb_from_planes(PlanarFrames(stored, *planar)) if planar else stored
            yield frames_NHWC, counts, parts[0].cropped

    def _whole_frames(self, parts: Sequence[FramePart], first: int) -> torch.Tensor:
        """Whole frames with the regions in place; no crop depends on what lies around them."""
        assert parts[0].region is not None
        size = parts[0].region.whole
        stored = self.packed.new_empty(sum(part.shape[0] for part in parts), *size, 3)
        row = 0
        for part in parts:
            assert part.region is not None
            count = part.shape[0]
            rows, columns = part.region.rows_and_columns
            packed = self.packed[first : first + part.num_bytes].view(part.shape)
            stored[row : row + count, rows, columns] = packed
            first += part.num_bytes
            row += count
        return stored


@dataclass(frozen=True)
class Taken:
    """What is taken of a sample's frames: all of them, their crop, or a `region` of each."""

    frames: Frames
    cropped: bool = False
    region: Region | None = None


def pack_frames(frames: Sequence[Frames | Taken], allocate: Allocate) -> PackedFrames:
    """The frames of several samples in one tensor, each copied straight into its place."""
    parts = []
    sources = []
    for taken in (one if isinstance(one, Taken) else Taken(one) for one in frames):
        sample = taken.frames
        stored = sample.planes_NHW if isinstance(sample, PlanarFrames) else sample
        planar = sample.kind if isinstance(sample, PlanarFrames) else None
        is_here = stored.device.type == "cpu"
        resident = None if is_here else stored
        parts.append(FramePart(tuple(stored.shape), planar, resident, taken.cropped, taken.region))
        sources.append(stored)
    packed = allocate(sum(part.num_bytes for part in parts))
    first = 0
    for part, source in zip(parts, sources, strict=True):
        if part.resident is None:
            packed[first : first + part.num_bytes].view(part.shape).copy_(source)
            first += part.num_bytes
    return PackedFrames(packed, tuple(parts))


@dataclass(frozen=True)
class NumberTable:
    """Where a table lies among the packed numbers."""

    first: int
    shape: tuple[int, ...]
    is_float: bool


@dataclass(frozen=True)
class PackedNumbers:
    """Named tables of numbers, one after another in `packed` (int64, flat).

    A table of fractions travels as the bits of float64.
    """

    packed: torch.Tensor
    layout: Mapping[str, NumberTable]

    def to(self, device: torch.device) -> PackedNumbers:
        """The same on `device`; does not wait for a copy from pinned memory."""
        return replace(self, packed=self.packed.to(device, non_blocking=True))

    def tables(self) -> dict[str, torch.Tensor]:
        """Each table by its name: int64, or float32 for fractions."""
        tables = {}
        for name, place in self.layout.items():
            values = self.packed[place.first : place.first + math.prod(place.shape)]
            values = values.view(torch.float64).float() if place.is_float else values
            tables[name] = values.view(place.shape)
        return tables


def pack_numbers(tables: Mapping[str, Sequence[Any]], allocate: Allocate) -> PackedNumbers:
    """Nested lists of numbers by name, in one tensor; an empty one counts as whole numbers."""
    layout = {}
    pieces = []
    first = 0
    for name, table in tables.items():
        values = np.asarray(table)
        is_float = values.size > 0 and values.dtype.kind == "f"
        layout[name] = NumberTable(first, values.shape, is_float)
        values = values.astype(np.float64).view(np.int64) if is_float else values.astype(np.int64)
        pieces.append(values.reshape(-1))
        first += values.size
    packed = allocate(8 * first).view(torch.int64)
    packed.copy_(torch.from_numpy(np.concatenate(pieces or [np.empty(0, np.int64)])))
    return PackedNumbers(packed, layout)
