"""A node's cache of decoded videos at the training size: one file per video, filled once, read by every process of the node.

A file is a header that names it, a checksum for each frame, and the frames, uint8 (num_frames, height, width, 3). It is complete by
construction, as in `node_cache`; a reader maps it, holds a shared lock on it, checks each frame that it hands out, and hands out a
strided view of the map where it can.
"""

from __future__ import annotations

import json
import mmap
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from prp_core.data.cache_counters import CacheCounters
from prp_core.data.cache_space import FULL_ERRORS, CacheSpace, write_beside
from prp_core.data.frame_checksums import NUM_AT_A_TIME, frame_checksums
from prp_core.errors import BrokenVideo, DiskFull

MAGIC = b"PRP frames 1\n"
PAGE = 4096
NUM_FILES_IN_USE = 256
Decode = Callable[[], Generator[torch.Tensor, None, None]]
"""Yields a video's frames in order, uint8 (n, height, width, 3)."""
COUNTERS = (
    *("hits", "misses", "waits", "bypassed", "evicted", "corrupt", "disk_full", "bytes_read", "bytes_filled", "fill_seconds"),
    *("verdicts_remembered", "verdicts_heard"),
)
# What depends on the machine or on the store may be otherwise soon; what is wrong with the bytes stays wrong under their etag.
REMEMBERED_SECONDS = dict.fromkeys(("too-slow", "out-of-memory", "crashed", "missing", "changed", "corrupt"), 600.0)
REMEMBERED_SECONDS_OTHERWISE = 86400.0


@dataclass(frozen=True)
class FramesKey:
    """The cached frames of one video: `identity` (40 hex digits) names what was decoded and how, and their number and size."""

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
        """What the checksums of this file start from."""
        return int(self.identity[:16], 16)

    @property
    def header(self) -> bytes:
        """The first page of the file."""
        text = json.dumps({"identity": self.identity, "shape": [self.num_frames, self.height, self.width, 3]}).encode()
        return (MAGIC + text).ljust(PAGE, b"\n")

    @property
    def frames_offset(self) -> int:
        """Where the first frame lies: on the page after the checksums."""
        return PAGE + -(-self.num_frames * 8 // PAGE) * PAGE

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return self.frames_offset + self.num_frames * self.frame_bytes


class FrameCache:
    """`capacity_bytes` of decoded videos under `root`, shared by every process of the node. Thread-safe."""

    def __init__(self, root: Path | str, capacity_bytes: int, *, sticky_share: float = 0.5) -> None:
        self.root = Path(root).absolute()
        self._counters = CacheCounters(self.root, COUNTERS)
        self._space = CacheSpace(self.root, capacity_bytes, sticky_share, self._counters.add)
        self._verdicts = self.root / "verdicts"
        self._verdicts.mkdir(exist_ok=True)

    @property
    def counters(self) -> dict[str, float]:
        """What this process has done so far, by `COUNTERS`."""
        return self._counters.totals

    def close(self) -> None:
        """Add this process's counters to the node's."""
        self._counters.save()

    def has(self, key: FramesKey) -> bool:
        """Whether the video's file is there at this moment."""
        return self._space.place(key.identity).exists()

    def read(self, key: FramesKey, positions: Sequence[int], *, counts_as_hit: bool = True) -> torch.Tensor | None:
        """The frames at `positions`, uint8 (N, height, width, 3), as `read_frames` has them; None when they are not there.

        Views only where the cache is large against what batches under way may hold: a file that is in use cannot make room.

        A file with a wrong frame is removed and counted, and is not there any more. `counts_as_hit` is off after one's own filling.
        """
        path = self._space.place(key.identity)
        pin = self._space.pin(path, key.num_bytes)
        if pin is None:
            return None
        try:
            may_stay_open = key.num_bytes * NUM_FILES_IN_USE <= self._space.capacity_bytes
            frames_NF = read_frames(pin, key, np.asarray(positions), as_view=may_stay_open)
            if frames_NF is None:
                remove_file_of(pin, path)
                self._counters.add(corrupt=1)
                return None
        finally:
            os.close(pin)
        self._counters.add(hits=int(counts_as_hit), bytes_read=frames_NF.nbytes)
        return torch.from_numpy(frames_NF).view(len(frames_NF), key.height, key.width, 3)

    def fill(self, key: FramesKey, video: str, decode: Decode) -> str:
        """Have the video's file there: written by us from what `decode` yields, or by whoever was at it.

        ``"filled"`` by us; ``"waited"`` for another; ``"bypassed"``: it may not stay, being larger than what can be freed or than the disk.

        Raises what `decode` raises. A `BrokenVideo` (of `video`, the key for people) is remembered, and told without decoding to
        whoever asks next.
        """
        if key.num_bytes > self._space.capacity_bytes:
            self._counters.add(bypassed=1)
            return "bypassed"
        with self._space.lock(key.identity[:3]):
            if self.has(key):
                self._counters.add(waits=1)
                return "waited"
            self._tell_verdict(key, video)
            try:
                return self._write(key, decode)
            except BrokenVideo as broken:
                self._remember(key, broken)
                raise

    def _write(self, key: FramesKey, decode: Decode) -> str:
        started = time.monotonic()
        try:
            unfinished, pin, _ = self._space.reserve(key.identity, key.num_bytes, must_stay=True)
            if pin is None:
                self._counters.add(bypassed=1)
                return "bypassed"
            self._write_and_finish(unfinished, pin, key, decode)
        except DiskFull:
            self._counters.add(bypassed=1, disk_full=1)
            return "bypassed"
        self._counters.add(misses=1, bytes_filled=key.num_bytes, fill_seconds=time.monotonic() - started)
        return "filled"

    def _write_and_finish(self, unfinished: Path, pin: int, key: FramesKey, decode: Decode) -> None:
        try:
            with closing(decode()) as chunks:  # its decoder is let go here, not by the garbage collection
                _write_file(pin, key, chunks)
            self._space.finish(unfinished, pin, key.identity)
        except BaseException as error:
            self._space.abandon(unfinished, pin, key.num_bytes)
            if isinstance(error, OSError) and error.errno in FULL_ERRORS:  # where blocks cannot be allocated beforehand
                raise DiskFull(str(error)) from None
            raise
        os.close(pin)

    def _remember(self, key: FramesKey, broken: BrokenVideo) -> None:
        until = time.time() + REMEMBERED_SECONDS.get(broken.reason, REMEMBERED_SECONDS_OTHERWISE)
        verdict = {"key": broken.key, "reason": broken.reason, "detail": broken.detail, "until": until}
        write_beside(self._verdicts / key.identity, json.dumps(verdict))
        self._counters.add(verdicts_remembered=1)

    def _tell_verdict(self, key: FramesKey, video: str) -> None:
        """Raise what an earlier decode, by any process of the node, found to be wrong with this video."""
        path = self._verdicts / key.identity
        try:
            verdict = json.loads(path.read_text())
        except FileNotFoundError:
            return
        except ValueError:
            verdict = {"until": 0}
        if verdict["until"] < time.time():
            path.unlink(missing_ok=True)
            return
        self._counters.add(verdicts_heard=1)
        raise BrokenVideo(video, verdict["reason"], verdict["detail"])


def read_frames(file_descriptor: int, key: FramesKey, positions: np.ndarray, *, as_view: bool = False) -> np.ndarray | None:
    """The frames at `positions` (N,) of an open file of `key`, uint8 (N, F); None when the header or one of them is not what was written.

    With `as_view` and at an even pace they are a strided view of the mapped file, which keeps its lock until nobody holds the view; otherwise
    a copy. Who writes to a view changes private pages.
    """
    file = mmap.mmap(file_descriptor, key.num_bytes, access=mmap.ACCESS_COPY)  # with a descriptor of its own for the same lock
    if file[:PAGE] != key.header:
        return None
    checksums = np.frombuffer(file, dtype=np.uint64, count=key.num_frames, offset=PAGE)
    frames_NF = np.frombuffer(file, dtype=np.uint8, offset=key.frames_offset).reshape(key.num_frames, key.frame_bytes)
    pace = _pace(positions) if as_view else 0
    out_NF = frames_NF[positions[0] : positions[-1] + 1 : pace] if pace else np.empty((len(positions), key.frame_bytes), dtype=np.uint8)
    for first in range(0, len(positions), NUM_AT_A_TIME):
        part, out_part_NF = positions[first : first + NUM_AT_A_TIME], out_NF[first : first + NUM_AT_A_TIME]
        if not pace:
            np.take(frames_NF, part, axis=0, out=out_part_NF, mode="clip")
        if not np.array_equal(frame_checksums(out_part_NF, key.salt, part), checksums[part]):
            return None
    return out_NF


def _pace(positions: np.ndarray) -> int:
    """By how much each position is above the one before; 0 where that is not the same for all, or not above."""
    steps = np.diff(positions)
    if not len(steps):
        return 1
    return int(steps[0]) if steps[0] > 0 and (steps == steps[0]).all() else 0


def remove_file_of(file_descriptor: int, path: Path) -> None:
    """Unlink `path` if it is still the file that is open, and not its successor."""
    try:
        if path.stat().st_ino == os.fstat(file_descriptor).st_ino:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return


def key_of_file(path: Path) -> FramesKey | None:
    """The key of the file at `path` as its header tells it; None when that is no header of ours."""
    with path.open("rb") as file:
        page = file.read(PAGE)
    try:
        assert page.startswith(MAGIC)
        told = json.loads(page[len(MAGIC) :])
        key = FramesKey(told["identity"], *told["shape"][:3])
        int(key.identity, 16)
        return key if key.header == page else None
    except (AssertionError, ValueError, KeyError, TypeError):
        return None


def _write_file(file_descriptor: int, key: FramesKey, chunks: Generator[torch.Tensor, None, None]) -> None:
    os.pwrite(file_descriptor, key.header, 0)
    position = 0
    for chunk_NHWC in chunks:
        assert chunk_NHWC.shape[1:] == (key.height, key.width, 3) and chunk_NHWC.dtype == torch.uint8, (key, chunk_NHWC.shape)
        assert position + len(chunk_NHWC) <= key.num_frames, (key, position, len(chunk_NHWC))
        frames_NF = chunk_NHWC.contiguous().numpy().reshape(len(chunk_NHWC), key.frame_bytes)
        checksums = frame_checksums(frames_NF, key.salt, np.arange(position, position + len(frames_NF)))
        _write_all(file_descriptor, frames_NF.data.cast("B"), key.frames_offset + position * key.frame_bytes)
        _write_all(file_descriptor, checksums.data.cast("B"), PAGE + position * 8)
        position += len(frames_NF)
    assert position == key.num_frames, (key, position)


def _write_all(file_descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(file_descriptor, data, offset)
        data, offset = data[written:], offset + written
