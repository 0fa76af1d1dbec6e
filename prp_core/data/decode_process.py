"""The client of a decode process: requests frames, and kills it when it passes its limits.

A decoder may abort, spin or eat all memory on a hostile file, so none ever runs in the process that
trains. Frames come back over a socket pair: nothing is left behind when either end is killed.
`readers/decode_server.py` is the other end.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prp_core.closed_at_exit import ClosedAtExit
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.readers import check_reader
from prp_core.data.readers.video_reader import VideoInfo, YuvPlanes
from prp_core.errors import BrokenVideo
from prp_core.isolated_start import isolated_command, small_environment

NUM_TRIES_AFTER_CRASH = 2
MAX_FOLDERS = 8  # above them, the process may read below the folder that holds them all
DECODER_VARIABLES = ("DECORD_EOF_RETRY_MAX", "MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_")
LOOK_EVERY_SECONDS = 0.25
# The limit is on the decoder's own CPU seconds, so that a busy machine makes no video broken; a
# stalled decoder is given up after this many times as many wall seconds.
STALL_FACTOR = 4
OUT_OF_MEMORY_SIGNS = (
    b"bad_alloc",
    b"Cannot allocate memory",
    b"MemoryError",
    b"Unable to allocate",
    b"out of memory",
)


class _Died(Exception):
    """The decode process closed its end."""


class DecodeProcess(ClosedAtExit):
    """One decode process, used by one thread at a time.

    It starts at the first request, and again after every death; `num_starts` counts. Where the
    kernel can confine it, it reads the files below `folders` only; a request for a file elsewhere
    adds that file's folder and starts it again.
    """

    def __init__(self, loader: LoaderConfig, folders: Sequence[Path] = ()) -> None:
        check_reader(loader.reader)
        self._loader = loader
        self._folders = [folder.resolve() for folder in folders]
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_cpu_seconds = 0.0
        self.num_starts = 0

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._process.pid if self._process is not None else None

    @property
    def cpu_seconds(self) -> float:
        """CPU time of every process that this decoder has had, their starts included."""
        return self._ended_cpu_seconds + (cpu_seconds(self.pid) if self.pid is not None else 0.0)

    def inspect(self, path: str | Path, *, timeout_seconds: float | None = None) -> VideoInfo:
        """The file's figures, its frames counted by decoding all of them.

        Raises `BrokenVideo` (key: the path).
        """
        request = {"op": "inspect", "path": os.fspath(path), "max_pixels": self._loader.max_pixels}
        reply, _ = self._request(request, timeout_seconds or self._loader.decode_timeout_seconds)
        return VideoInfo(**reply["info"])

    def read(self, path: str | Path, indices: Sequence[int], *, num_frames: int = 0) -> np.ndarray:
        """Frames `indices` (any order, repeats allowed): uint8 (N, H, W, 3), RGB.

        `num_frames` is the count that `inspect` verified, 0 where it is not known: the decoder
        checks its own against it. Raises `BrokenVideo` (key: the path).
        """
        _, frames_NHWC = self._read(path, indices, num_frames, planes=False)
        return frames_NHWC

    def read_planes(
        self, path: str | Path, indices: Sequence[int], *, num_frames: int = 0
    ) -> np.ndarray | YuvPlanes:
        """The same frames as planes, or as RGB where the file has no such planes."""
        reply, frames = self._read(path, indices, num_frames, planes=True)
        return (
            YuvPlanes(frames, reply["matrix"], reply["full_range"]) if "matrix" in reply else frames
        )

    def _read(
        self, path: str | Path, indices: Sequence[int], num_frames: int, *, planes: bool
    ) -> tuple[dict[str, Any], np.ndarray]:
        wanted = sorted(set(indices))
        request = {
            "op": "read",
            "path": os.fspath(path),
            "indices": wanted,
            "num_frames": num_frames,
            "planes": planes,
        }
        reply, frames = self._request(request, self._loader.decode_timeout_seconds)
        assert frames is not None
        if wanted != list(indices):
            frames = frames[np.searchsorted(wanted, list(indices))]
        return reply, frames

    def read_next(self, path: str | Path, first: int, count: int) -> np.ndarray:
        """`count` frames from number `first` on: uint8 (count, H, W, 3), RGB.

        Requested one part after the other, each frame is decoded once. Raises `BrokenVideo` (key:
        the path).
        """
        request = {"op": "next", "path": os.fspath(path), "first": first, "count": count}
        _, frames_NHWC = self._request(request, self._loader.decode_timeout_seconds)
        assert frames_NHWC is not None
        return frames_NHWC

    def close(self) -> None:
        """End the process; the next request starts another."""
        if self._process is None:
            return
        self._ended_cpu_seconds = self.cpu_seconds
        process = self._process
        self._process = None
        self._channel.close()
        os.close(self._lifeline)
        process.kill()
        process.wait()
        self._stderr.close()

    def _request(
        self, request: dict[str, Any], timeout_seconds: float
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        for attempt in range(1, NUM_TRIES_AFTER_CRASH + 1):
            try:
                reply, frames_NHWC = self._ask(request, timeout_seconds)
                break
            except _Died:
                reason, detail = self._cause_of_death()
                self.close()
                # One crash may be somebody's kill -9; two are the file's.
                if reason != "crashed" or attempt == NUM_TRIES_AFTER_CRASH:
                    raise BrokenVideo(request["path"], reason, detail) from None
            except BaseException:  # a limit, or Ctrl-C within a reply: the stream is out of step
                self.close()
                raise
        if "reason" in reply:
            raise BrokenVideo(request["path"], reply["reason"], reply["detail"])
        return reply, frames_NHWC

    def _ask(
        self, request: dict[str, Any], timeout_seconds: float
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        self._reach(Path(request["path"]).resolve().parent)
        if self._process is None:
            self._start()
        self._stderr.truncate(0)
        limit = _Limit(request["path"], self.pid or 0, timeout_seconds)
        text = json.dumps(request).encode()
        try:
            self._channel.sendall(struct.pack("<I", len(text)) + text)
        except OSError:
            raise _Died from None
        (length,) = struct.unpack("<I", self._receive(4, limit))
        reply = json.loads(self._receive(length, limit).tobytes())
        if "shape" not in reply:
            return reply, None
        frames = np.frombuffer(self._receive(int(np.prod(reply["shape"])), limit), dtype=np.uint8)
        return reply, frames.reshape(reply["shape"])

    def _receive(self, num_bytes: int, limit: _Limit) -> memoryview:
        buffer = np.empty(num_bytes, dtype=np.uint8).data
        received = 0
        while received < num_bytes:
            try:
                count = self._channel.recv_into(buffer[received:])
            except TimeoutError:
                limit.check()
                continue
            except OSError:
                raise _Died from None
            if count == 0:
                raise _Died
            received += count
        return buffer

    def _reach(self, folder: Path) -> None:
        """Make sure that the process may read in `folder`."""
        if any(folder.is_relative_to(known) for known in self._folders):
            return
        self.close()
        if len(self._folders) >= MAX_FOLDERS:
            self._folders = [Path(os.path.commonpath([folder, *self._folders]))]
        else:
            self._folders.append(folder)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        lifeline_read, self._lifeline = os.pipe()
        self._stderr = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the process
        environment = small_environment(
            {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}, also_kept=DECODER_VARIABLES
        )
        arguments = [
            self._loader.reader,
            self._loader.decode_memory_bytes,
            theirs.fileno(),
            lifeline_read,
            *self._folders,
        ]
        try:
            self._process = subprocess.Popen(
                isolated_command(
                    "prp_core.data.readers.decode_server",
                    arguments,
                    libraries=("numpy", "av", self._loader.reader),
                ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=(theirs.fileno(), lifeline_read),
                env=environment,
            )
        finally:
            theirs.close()
            os.close(lifeline_read)
        ours.settimeout(LOOK_EVERY_SECONDS)
        self._channel = ours
        self.num_starts += 1

    def _cause_of_death(self) -> tuple[str, str]:
        """(reason, detail) of a process that has closed its end."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "crashed", "the decode process closed its end and hangs"
        self._stderr.seek(0)
        words = self._stderr.read()[-2000:]
        last_line = words.decode(errors="replace").strip().splitlines()[-1:] or [""]
        reason = (
            "out-of-memory" if any(sign in words for sign in OUT_OF_MEMORY_SIGNS) else "crashed"
        )
        return reason, f"decode process ended with {_exit_name(code)}. {last_line[0][:200]}".strip()


class _Limit:
    """The CPU seconds that one request may cost, and the wall seconds until it is stalled."""

    def __init__(self, path: str, pid: int, timeout_seconds: float) -> None:
        self._path = path
        self._pid = pid
        self._timeout_seconds = timeout_seconds
        self._first_cpu = cpu_seconds(pid)
        self._first_wall = time.monotonic()

    def check(self) -> None:
        """Raise `BrokenVideo` "too-slow" once either is spent."""
        cpu = cpu_seconds(self._pid) - self._first_cpu
        wall = time.monotonic() - self._first_wall
        if cpu > self._timeout_seconds or wall > STALL_FACTOR * self._timeout_seconds:
            limit = f"loader.decode_timeout_seconds = {self._timeout_seconds}"
            raise BrokenVideo(
                self._path, "too-slow", f"{cpu:.1f} CPU seconds in {wall:.1f} seconds; {limit}"
            )


def cpu_seconds(pid: int) -> float:
    """CPU time that process `pid` has used, all threads; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _exit_name(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
