"""The file format of one video's decoded frames: header, a checksum per frame, frames.

Frames are uint8 (num_frames, height, width, 3).
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from prp_core.data.cache.frame_checksums import NUM_AT_A_TIME, frame_checksums
from prp_core.documents import parse_json_object

MAGIC = b"PRP frames 1\n"
PAGE = 4096


@dataclass(frozen=True)
class FramesKey:
    """The cache key of one video's decoded frames, with their number and size.

    `identity` (40 hex digits) is a digest of what was decoded and how.
    """

    identity: str
    num_frames: int
    height: int
    width: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return self.height * self.width * 3

    @property
    def salt(self) -> int:
        """The start value of this file's checksums."""
        return int(self.identity[:16], 16)

    @property
    def header(self) -> bytes:
        """The first page of the file."""
        text = json.dumps(
            {"identity": self.identity, "shape": [self.num_frames, self.height, self.width, 3]}
        ).encode()
        return (MAGIC + text).ljust(PAGE, b"\n")

    @property
    def frames_offset(self) -> int:
        """Where the first frame lies: on the page after the checksums."""
        return PAGE + -(-self.num_frames * 8 // PAGE) * PAGE

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return self.frames_offset + self.num_frames * self.frame_bytes


class MappedFrames:
    """The file of `key`, mapped into memory as long as this object or a view of it exists.

    It keeps the lock of the descriptor that it was made from. Raises `ValueError` when the header
    is another key's. Writing to a view changes private pages, not the file.
    """

    def __init__(self, file_descriptor: int, key: FramesKey) -> None:
        self.key = key
        # mmap duplicates the descriptor, which keeps the same lock.
        self._file = mmap.mmap(file_descriptor, key.num_bytes, access=mmap.ACCESS_COPY)
        if self._file[:PAGE] != key.header:
            raise ValueError(f"no frames of {key.identity}")
        self._checksums = np.frombuffer(
            self._file, dtype=np.uint64, count=key.num_frames, offset=PAGE
        )
        self._frames_NF = np.frombuffer(
            self._file, dtype=np.uint8, offset=key.frames_offset
        ).reshape(key.num_frames, key.frame_bytes)

    def read(self, positions: np.ndarray, *, as_view: bool = False) -> np.ndarray | None:
        """The frames at `positions` (N,), uint8 (N, F); None when one is not what was written.

        With `as_view` and evenly spaced positions they are a strided view, otherwise a copy.
        """
        if self._file.size() != self.key.num_bytes:
            return None  # reading pages that were cut off would end the process (SIGBUS)
        stride = _stride(positions) if as_view else 0
        frames_NF = self._frames_NF
        out_NF = (
            frames_NF[positions[0] : positions[-1] + 1 : stride]
            if stride
            else np.empty((len(positions), self.key.frame_bytes), dtype=np.uint8)
        )
        for first in range(0, len(positions), NUM_AT_A_TIME):
            part = positions[first : first + NUM_AT_A_TIME]
            out_part_NF = out_NF[first : first + NUM_AT_A_TIME]
            if not stride:
                np.take(frames_NF, part, axis=0, out=out_part_NF, mode="clip")
            if not np.array_equal(
                frame_checksums(out_part_NF, self.key.salt, part), self._checksums[part]
            ):
                return None
        return out_NF


def _stride(positions: np.ndarray) -> int:
    """The constant difference of neighbouring positions; 0 where it varies or is not positive."""
    steps = np.diff(positions)
    if not len(steps):
        return 1
    return int(steps[0]) if steps[0] > 0 and (steps == steps[0]).all() else 0


def key_of_file(path: Path) -> FramesKey | None:
    """The key in the header of the file at `path`; None when that is no header of ours."""
    with path.open("rb") as file:
        page = file.read(PAGE)
    try:
        assert page.startswith(MAGIC)
        told = parse_json_object(page[len(MAGIC) :])
        key = FramesKey(told["identity"], *told["shape"][:3])
        int(key.identity, 16)
        return key if key.header == page else None
    except (AssertionError, ValueError, KeyError, TypeError):
        return None


def write_file(
    file_descriptor: int, key: FramesKey, chunks: Generator[torch.Tensor, None, None]
) -> None:
    """Write all of `key`'s file: `chunks` are its frames in order, uint8 (n, height, width, 3)."""
    os.pwrite(file_descriptor, key.header, 0)
    position = 0
    for chunk_NHWC in chunks:
        assert (
            chunk_NHWC.shape[1:] == (key.height, key.width, 3) and chunk_NHWC.dtype == torch.uint8
        ), (key, chunk_NHWC.shape)
        assert position + len(chunk_NHWC) <= key.num_frames, (key, position, len(chunk_NHWC))
        frames_NF = chunk_NHWC.contiguous().numpy().reshape(len(chunk_NHWC), key.frame_bytes)
        checksums = frame_checksums(
            frames_NF, key.salt, np.arange(position, position + len(frames_NF))
        )
        _write_all(
            file_descriptor,
            frames_NF.data.cast("B"),
            key.frames_offset + position * key.frame_bytes,
        )
        _write_all(file_descriptor, checksums.data.cast("B"), PAGE + position * 8)
        position += len(frames_NF)
    assert position == key.num_frames, (key, position)


def _write_all(file_descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(file_descriptor, data, offset)
        data = data[written:]
        offset = offset + written
