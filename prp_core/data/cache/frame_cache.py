"""A node's cache of decoded videos at the training size, one memory-mapped file for each video.

A file (`frames_file`) is filled once, is complete by construction, as in `node_cache`, and is read
by every process of the node. A reader maps it, holds a shared lock on it, verifies each frame that
it returns, and returns a strided view of the map where it can. While all files of the node fit into
the sticky part of the capacity, a reader keeps them mapped: they would stay anyway, and mapping a
file again costs more than verifying and copying its frames.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from prp_core.data.cache.counters import CacheCounters
from prp_core.data.cache.frames_file import FramesKey, MappedFrames, write_file
from prp_core.data.cache.space import FULL_ERRORS, CacheSpace, used_bytes, write_beside
from prp_core.documents import parse_json, record_from
from prp_core.errors import QUARANTINE_REASONS, BrokenVideo, DiskFull

NUM_FILES_IN_USE = 256
NUM_KEPT_MAPPED = 4096  # the kernel allows 65,530 maps a process
SHARE_OF_DESCRIPTORS = 0.25


@dataclass(frozen=True)
class _Verdict:
    """A remembered verdict on a broken video, which holds `until` (seconds since 1970)."""

    key: str = ""
    reason: str = ""
    detail: str = ""
    until: float = 0.0


Decode = Callable[[], Generator[torch.Tensor, None, None]]
"""Yields a video's frames in order, uint8 (n, height, width, 3)."""
COUNTERS = (
    "hits",
    "misses",
    "waits",
    "bypassed",
    "evicted",
    "corrupt",
    "disk_full",
    "bytes_read",
    "bytes_filled",
    "fill_seconds",
    "verdicts_remembered",
    "verdicts_reused",
)
# What is due to the machine or the store may soon be over; what is wrong with the bytes stays wrong
# under their etag.
REMEMBERED_SECONDS = dict.fromkeys(
    ("too-slow", "out-of-memory", "crashed", "missing", "changed", "corrupt"), 600.0
)
REMEMBERED_SECONDS_OTHERWISE = 86400.0


class FrameCache:
    """`capacity_bytes` of decoded videos under `root`, shared by the node's processes.

    Thread-safe.
    """

    def __init__(self, root: Path | str, capacity_bytes: int, *, sticky_share: float = 0.5) -> None:
        self.root = Path(root).absolute()
        self._counters = CacheCounters(self.root, COUNTERS)
        self._space = CacheSpace(self.root, capacity_bytes, sticky_share, self._counters.add)
        self._verdicts = self.root / "verdicts"
        self._verdicts.mkdir(exist_ok=True)
        self._kept: dict[str, MappedFrames] = {}
        self._kept_lock = threading.Lock()

    @property
    def counters(self) -> dict[str, float]:
        """What this process has counted so far, by the names of `COUNTERS`."""
        return self._counters.totals

    def close(self) -> None:
        """Unmap the files that were kept mapped, and save this process's counters."""
        for mapped in list(self._kept.values()):
            self._space.touch(self._space.place(mapped.key.identity))
            self._release(mapped)
        self._counters.save()

    def has(self, key: FramesKey) -> bool:
        """Whether the video's file exists at this moment."""
        return self._space.place(key.identity).exists()

    def read(
        self, key: FramesKey, positions: Sequence[int], *, counts_as_hit: bool = True
    ) -> torch.Tensor | None:
        """The frames at `positions`, uint8 (N, height, width, 3); None when they are not cached.

        They are views only where the cache is large against what the batches under way may hold,
        because a file in use cannot be evicted. Views share memory with each other, so nobody may
        write to them; a write is detected by the next read, which then reads the file again.

        A file with a damaged frame is removed and counted as corrupt. `counts_as_hit` is False for
        the read that follows one's own filling.
        """
        wanted = np.asarray(positions)
        kept = self._kept.get(key.identity)
        frames_NF = kept.read(wanted, as_view=True) if kept else None
        if frames_NF is None:
            # A write into a view changed this process's pages, not the file: read that again.
            self._release(kept)
            frames_NF = self._read_file(key, wanted)
        if frames_NF is None:
            return None
        self._counters.add(hits=int(counts_as_hit), bytes_read=frames_NF.nbytes)
        return torch.from_numpy(frames_NF).view(len(frames_NF), key.height, key.width, 3)

    def _read_file(self, key: FramesKey, positions: np.ndarray) -> np.ndarray | None:
        path = self._space.place(key.identity)
        pin = self._space.pin(path, key.num_bytes)
        if pin is None:
            return None
        frames_NF = None
        try:
            with contextlib.suppress(ValueError):
                mapped = MappedFrames(pin, key)
                may_stay_open = key.num_bytes * NUM_FILES_IN_USE <= self._space.capacity_bytes
                frames_NF = mapped.read(positions, as_view=may_stay_open)
            if frames_NF is None:
                remove_file_of(pin, path)
                self._counters.add(corrupt=1)
            elif may_stay_open:
                self._keep(mapped)
        finally:
            os.close(pin)
        return frames_NF

    def _keep(self, mapped: MappedFrames) -> None:
        used = used_bytes(self.root)
        sticky = self._space.sticky_share * self._space.capacity_bytes
        if not mapped.key.num_bytes <= used <= sticky:  # less than one file: not known right now
            return
        with self._kept_lock:
            if len(self._kept) < most_kept_mapped():
                self._kept.setdefault(mapped.key.identity, mapped)

    def _release(self, mapped: MappedFrames | None) -> None:
        with self._kept_lock:
            if mapped is not None:
                self._kept.pop(mapped.key.identity, None)

    def fill(self, key: FramesKey, video: str, decode: Decode) -> str:
        """Make sure that the video's file exists: write it from `decode`, or wait for who does.

        Returns ``"filled"`` when this call wrote it, ``"waited"`` when another process did,
        ``"bypassed"`` when it may not stay, because it is larger than what can be evicted or than
        the disk.

        Raises what `decode` raises. A `BrokenVideo` (of `video`, the key for people) is remembered
        as a verdict, and raised again without decoding for whoever asks next.
        """
        if key.num_bytes > self._space.capacity_bytes:
            self._counters.add(bypassed=1)
            return "bypassed"
        with self._space.lock(key.identity[:3]):
            if self.has(key):
                self._counters.add(waits=1)
                return "waited"
            self._raise_known_verdict(key, video)
            try:
                return self._write(key, decode)
            except BrokenVideo as broken:
                self._remember_verdict(key, broken)
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
        self._counters.add(
            misses=1, bytes_filled=key.num_bytes, fill_seconds=time.monotonic() - started
        )
        return "filled"

    def _write_and_finish(self, unfinished: Path, pin: int, key: FramesKey, decode: Decode) -> None:
        try:
            with closing(decode()) as chunks:  # the decoder is released here, not by the collector
                write_file(pin, key, chunks)
            self._space.finish(unfinished, pin, key.identity)
        except BaseException as error:
            self._space.abandon(unfinished, pin, key.num_bytes)
            # Where blocks cannot be allocated beforehand, a full disk shows only now.
            if isinstance(error, OSError) and error.errno in FULL_ERRORS:
                raise DiskFull(str(error)) from None
            raise
        os.close(pin)

    def _remember_verdict(self, key: FramesKey, broken: BrokenVideo) -> None:
        until = time.time() + REMEMBERED_SECONDS.get(broken.reason, REMEMBERED_SECONDS_OTHERWISE)
        verdict = {
            "key": broken.key,
            "reason": broken.reason,
            "detail": broken.detail,
            "until": until,
        }
        write_beside(self._verdicts / key.identity, json.dumps(verdict))
        self._counters.add(verdicts_remembered=1)

    def _raise_known_verdict(self, key: FramesKey, video: str) -> None:
        """Raise the verdict that an earlier decode, by any process of the node, has left."""
        path = self._verdicts / key.identity
        try:
            verdict = record_from(_Verdict, parse_json(path.read_bytes()))
        except FileNotFoundError:
            return
        except ValueError:
            verdict = _Verdict()
        if verdict.until < time.time() or verdict.reason not in QUARANTINE_REASONS:
            path.unlink(missing_ok=True)
            return
        self._counters.add(verdicts_reused=1)
        raise BrokenVideo(video, verdict.reason, verdict.detail)


def most_kept_mapped() -> int:
    """How many files one process keeps mapped: each takes a descriptor and a mapping."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (
        NUM_KEPT_MAPPED
        if descriptors == resource.RLIM_INFINITY
        else min(NUM_KEPT_MAPPED, int(SHARE_OF_DESCRIPTORS * descriptors))
    )


def remove_file_of(file_descriptor: int, path: Path) -> None:
    """Unlink `path` if it is still the file that is open, and not its successor."""
    try:
        if path.stat().st_ino == os.fstat(file_descriptor).st_ino:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return
