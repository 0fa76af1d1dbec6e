"""A node's cache of decoded videos at the training size: one file per video, filled once, read by
every process of the node.

A file (`frames_file`) is complete by construction, as in `node_cache`. A reader maps it, holds a
shared lock on it, checks each frame that it hands out, and hands out a strided view of the map
where it can. While all that the node has fits into the sticky part of the capacity, a reader keeps
the files mapped: they would stay anyway, however many hold them, and to map a file again costs more
than to check and to copy its frames.
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
from pathlib import Path

import numpy as np
import torch

from prp_core.data.cache.counters import CacheCounters
from prp_core.data.cache.frames_file import FramesKey, MappedFrames, write_file
from prp_core.data.cache.space import FULL_ERRORS, CacheSpace, used_bytes, write_beside
from prp_core.errors import BrokenVideo, DiskFull

NUM_FILES_IN_USE = 256
NUM_KEPT_MAPPED = 4096  # the kernel allows 65,530 maps a process
SHARE_OF_DESCRIPTORS = 0.25
Decode = Callable[[], Generator[torch.Tensor, None, None]]
"""Yields a video's frames in order, uint8 (n, height, width, 3)."""
COUNTERS = (
    *(
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
    ),
    *("verdicts_remembered", "verdicts_heard"),
)
# What depends on the machine or on the store may be otherwise soon; what is wrong with the bytes
# stays wrong under their etag.
REMEMBERED_SECONDS = dict.fromkeys(
    ("too-slow", "out-of-memory", "crashed", "missing", "changed", "corrupt"), 600.0
)
REMEMBERED_SECONDS_OTHERWISE = 86400.0


class FrameCache:
    """`capacity_bytes` of decoded videos under `root`, shared by every process of the node.
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
        """What this process has done so far, by `COUNTERS`."""
        return self._counters.totals

    def close(self) -> None:
        """Let go of the files that were kept mapped, and add this process's counters to the
        node's.
        """
        for mapped in list(self._kept.values()):
            self._space.touch(self._space.place(mapped.key.identity))
            self._let_go(mapped)
        self._counters.save()

    def has(self, key: FramesKey) -> bool:
        """Whether the video's file is there at this moment."""
        return self._space.place(key.identity).exists()

    def read(
        self, key: FramesKey, positions: Sequence[int], *, counts_as_hit: bool = True
    ) -> torch.Tensor | None:
        """The frames at `positions`, uint8 (N, height, width, 3), as `MappedFrames.read` has them;
        None when they are not there.

        Views only where the cache is large against what batches under way may hold: a file that is
        in use cannot make room. They share memory with each other, so nobody may write to them; who
        does is found out by the next read, which looks at the file again.

        A file with a wrong frame is removed and counted, and is not there any more. `counts_as_hit`
        is off after one's own filling.
        """
        wanted = np.asarray(positions)
        kept = self._kept.get(key.identity)
        frames_NF = kept.read(wanted, as_view=True) if kept else None
        if frames_NF is None:
            self._let_go(
                kept
                # whoever wrote into a view of it wrote into our pages, not into the file: that is
                # looked at anew
            )
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
        if (
            not mapped.key.num_bytes
            <= used
            <= self._space.sticky_share * self._space.capacity_bytes
        ):  # less: nobody knows at this moment
            return
        with self._kept_lock:
            if len(self._kept) < most_kept_mapped():
                self._kept.setdefault(mapped.key.identity, mapped)

    def _let_go(self, mapped: MappedFrames | None) -> None:
        with self._kept_lock:
            if mapped is not None:
                self._kept.pop(mapped.key.identity, None)

    def fill(self, key: FramesKey, video: str, decode: Decode) -> str:
        """Have the video's file there: written by us from what `decode` yields, or by whoever was
        at it.

        ``"filled"`` by us; ``"waited"`` for another; ``"bypassed"``: it may not stay, being larger
        than what can be freed or than the disk.

        Raises what `decode` raises. A `BrokenVideo` (of `video`, the key for people) is remembered,
        and told without decoding to whoever asks next.
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
        self._counters.add(
            misses=1, bytes_filled=key.num_bytes, fill_seconds=time.monotonic() - started
        )
        return "filled"

    def _write_and_finish(self, unfinished: Path, pin: int, key: FramesKey, decode: Decode) -> None:
        try:
            with closing(
                decode()
            ) as chunks:  # its decoder is let go here, not by the garbage collection
                write_file(pin, key, chunks)
            self._space.finish(unfinished, pin, key.identity)
        except BaseException as error:
            self._space.abandon(unfinished, pin, key.num_bytes)
            if (
                isinstance(error, OSError) and error.errno in FULL_ERRORS
            ):  # where blocks cannot be allocated beforehand
                raise DiskFull(str(error)) from None
            raise
        os.close(pin)

    def _remember(self, key: FramesKey, broken: BrokenVideo) -> None:
        until = time.time() + REMEMBERED_SECONDS.get(broken.reason, REMEMBERED_SECONDS_OTHERWISE)
        verdict = {
            "key": broken.key,
            "reason": broken.reason,
            "detail": broken.detail,
            "until": until,
        }
        write_beside(self._verdicts / key.identity, json.dumps(verdict))
        self._counters.add(verdicts_remembered=1)

    def _tell_verdict(self, key: FramesKey, video: str) -> None:
        """Raise what an earlier decode, by any process of the node, found to be wrong with this
        video.
        """
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


def most_kept_mapped() -> int:
    """How many files one process keeps mapped: each takes a descriptor and a map."""
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
