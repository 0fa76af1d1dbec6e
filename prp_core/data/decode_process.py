"""The client of a decode process: requests frames, and kills it when it passes its limits.

A decoder may abort, spin or eat all memory on a hostile file, so none ever runs in the process that
trains. It writes frames into memory that the client lends it (`frame_memory`), or sends them over
the socket pair where there is none; nothing is left behind when either end is killed.
`readers/decode_server.py` is the other end.
"""

from __future__ import annotations

import json
import math
import os
import socket
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prp_core.closed_at_exit import ClosedAtExit
from prp_core.data.decode_limits import (
    STALLED_SECONDS,
    UNKNOWN,
    FrameShape,
    RequestLimit,
    Stalled,
    check_reply,
    cpu_seconds,
    frames_of_a_reply,
    seconds_allowed,
)
from prp_core.data.frame_memory import (
    IS_OFFERED,
    NOWHERE,
    FrameMemory,
    GatheredFrames,
    Lent,
    Place,
)
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.readers import check_reader
from prp_core.data.readers.video_reader import VideoInfo, YuvPlanes
from prp_core.documents import parse_json_object, record_from
from prp_core.errors import BrokenVideo, UserError
from prp_core.isolated_start import isolated_command, small_environment

NUM_TRIES_AFTER_CRASH = 2
MAX_FOLDERS = 8  # above them, the process may read below the folder that holds them all
DECODER_VARIABLES = ("DECORD_EOF_RETRY_MAX", "MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_")
LOOK_EVERY_SECONDS = 0.25
MAX_TEXT_BYTES = 1 << 20
IMPORT_ERRORS = ("ImportError:", "ModuleNotFoundError:")
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
    adds that file's folder and starts it again. Without `shares_memory` frames come over the
    socket; `num_bytes_sent` counts what does.
    """

    def __init__(
        self,
        loader: LoaderConfig,
        folders: Sequence[Path] = (),
        *,
        shares_memory: bool = IS_OFFERED,
    ) -> None:
        check_reader(loader.reader)
        self._loader = loader
        self._shares_memory = shares_memory
        self._memory = FrameMemory(loader.num_decoders)
        self._folders = [folder.resolve() for folder in folders]
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_cpu_seconds = 0.0
        self.num_starts = 0
        self.num_bytes_sent = 0

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
        request = {
            "op": "inspect",
            "path": os.fspath(path),
            "max_pixels_decoded": self._loader.max_pixels_decoded,
        }
        reply, _ = self._request(request, timeout_seconds or self._loader.decode_timeout_seconds)
        return record_from(VideoInfo, reply["info"])

    def read(
        self,
        path: str | Path,
        indices: Sequence[int],
        *,
        num_frames: int = 0,
        shape: FrameShape = UNKNOWN,
    ) -> np.ndarray:
        """Frames `indices` (any order, repeats allowed): uint8 (N, H, W, 3), RGB.

        `num_frames` and `shape` are what a manifest states: the decoder checks its own count
        against it, and frames of another size are refused. Raises `BrokenVideo` (key: the path).
        """
        _, frames_NHWC = self._read(path, indices, num_frames, shape, planes=False)
        return frames_NHWC

    def read_planes(
        self,
        path: str | Path,
        indices: Sequence[int],
        *,
        num_frames: int = 0,
        shape: FrameShape = UNKNOWN,
    ) -> np.ndarray | YuvPlanes:
        """The same frames as planes, or as RGB where the file has no such planes."""
        kind, frames = self._read(path, indices, num_frames, shape, planes=True)
        return YuvPlanes(frames, *kind) if kind is not None else frames

    def _read(
        self,
        path: str | Path,
        indices: Sequence[int],
        num_frames: int,
        shape: FrameShape,
        *,
        planes: bool,
    ) -> tuple[tuple[str, bool] | None, np.ndarray]:
        """(matrix and full range of planes, None of RGB; the frames), asked for in parts that the
        decoder's memory holds.
        """
        wanted = sorted(set(indices))
        backwards = len(wanted) > 1 and list(indices) == wanted[::-1]
        gathered = GatheredFrames(len(wanted), self._lent(len(wanted), shape), backwards=backwards)
        step = frames_of_a_reply(shape, self._loader.decode_memory_bytes)
        kind: tuple[str, bool] | None = None
        for begin in range(0, len(wanted), step):
            part = wanted[begin : begin + step]
            request = {
                "op": "read",
                "path": os.fspath(path),
                "indices": part,
                "num_frames": num_frames,
                "planes": planes,
            }
            place = gathered.place(begin, len(part))
            reply, frames = self._ask_for_frames(request, place, num_frames, shape)
            found = (str(reply["matrix"]), bool(reply["full_range"])) if "matrix" in reply else None
            if begin and found != kind:  # chosen packets have surprised: there is RGB alone
                return self._read(path, indices, num_frames, shape, planes=False)
            kind = found
            gathered.add(place, frames, in_memory=bool(reply["in_memory"]))
        all_frames = gathered.frames
        if wanted != list(indices) and not backwards:
            all_frames = all_frames[np.searchsorted(wanted, list(indices))]
        return kind, all_frames

    def _lent(self, count: int, shape: FrameShape) -> Lent | None:
        """Memory for `count` frames of `shape`, RGB or planes; None where they must be sent."""
        if not self._shares_memory or not shape.is_known:
            return None
        return self._memory.lend(3 * count * shape.pixels)

    def read_next(
        self, path: str | Path, first: int, count: int, *, shape: FrameShape = UNKNOWN
    ) -> np.ndarray:
        """`count` frames from number `first` on: uint8 (count, H, W, 3), RGB.

        Requested one part after the other, each frame is decoded once. Raises `BrokenVideo` (key:
        the path).
        """
        request = {"op": "next", "path": os.fspath(path), "first": first, "count": count}
        place = GatheredFrames(count, self._lent(count, shape)).place(0, count)
        return self._ask_for_frames(request, place, first + count, shape)[1]

    def _ask_for_frames(
        self, request: dict[str, Any], place: Place, num_frames: int, shape: FrameShape
    ) -> tuple[dict[str, Any], np.ndarray]:
        loader = self._loader
        seconds = seconds_allowed(
            loader.decode_timeout_seconds, shape, num_frames, loader.max_pixels_decoded
        )
        reply, frames = self._request(request, seconds, place, shape)
        assert frames is not None
        return reply, frames

    def close(self) -> None:
        """End the process; the next request starts another."""
        if self._process is None:
            return
        self._ended_cpu_seconds = self.cpu_seconds
        self._memory = FrameMemory(self._loader.num_decoders)  # the next process never saw these
        process = self._process
        self._process = None
        self._channel.close()
        os.close(self._lifeline)
        process.kill()
        process.wait()
        self._stderr.close()

    def _request(
        self,
        request: dict[str, Any],
        allowed_seconds: float,
        place: Place = NOWHERE,
        shape: FrameShape = UNKNOWN,
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        request = {**request, "max_pixels": self._loader.max_pixels}
        for attempt in range(1, NUM_TRIES_AFTER_CRASH + 1):
            try:
                reply, frames_NHWC = self._ask(request, allowed_seconds, place, shape)
                break
            except (_Died, Stalled) as error:
                try:
                    reason, detail = self._cause_of_death(error)
                finally:
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
        self, request: dict[str, Any], allowed_seconds: float, place: Place, shape: FrameShape
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        self._reach(Path(request["path"]).resolve().parent)
        if self._process is None:
            self._start()
        self._stderr.truncate(0)
        path = request["path"]
        words = f"loader.decode_timeout_seconds = {self._loader.decode_timeout_seconds}"
        limit = RequestLimit(path, self.pid or 0, allowed_seconds, words)
        self._send(request, place)
        while "progress" in (reply := self._receive_text(path, limit)):
            limit.renew()
        if "shape" not in reply:
            return reply, None
        told = check_reply(path, reply["shape"], place.count, shape, self._loader.max_pixels)
        if reply.get("in_memory"):
            return reply, place.frames(path, told)
        self.num_bytes_sent += math.prod(told)
        frames = np.frombuffer(self._receive(math.prod(told), limit), dtype=np.uint8)
        return reply, frames.reshape(told)

    def _send(self, request: dict[str, Any], place: Place) -> None:
        text = json.dumps({**request, "memory": place.words}).encode()
        head = struct.pack("<I", len(text))
        try:
            if place.lent is None:
                self._channel.sendall(head)
            else:
                socket.send_fds(self._channel, [head], [place.lent.descriptor])
            self._channel.sendall(text)
        except OSError:
            raise _Died from None

    def _receive_text(self, path: str, limit: RequestLimit) -> dict[str, Any]:
        (length,) = struct.unpack("<I", self._receive(4, limit))
        if length > MAX_TEXT_BYTES:
            raise BrokenVideo(path, "crashed", f"the decoder announces a reply of {length} bytes")
        return parse_json_object(self._receive(length, limit).tobytes())

    def _receive(self, num_bytes: int, limit: RequestLimit) -> memoryview:
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

    def _cause_of_death(self, error: Exception) -> tuple[str, str]:
        """(reason, detail) of a process that has closed its end, or that stands still.

        Raises `UserError` where it could not load its own code.
        """
        assert self._process is not None
        if isinstance(error, Stalled):
            return "crashed", f"the decode process made no progress for {STALLED_SECONDS:.0f} s"
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "crashed", "the decode process closed its end and hangs"
        self._stderr.seek(0)
        words = self._stderr.read()[-2000:]
        last_line = words.decode(errors="replace").strip().splitlines()[-1:] or [""]
        if any(sign in words for sign in OUT_OF_MEMORY_SIGNS):
            reason = "out-of-memory"
        elif last_line[0].startswith(IMPORT_ERRORS):
            raise UserError(
                f"the decode process cannot load its code ({last_line[0][:300]}), which is no "
                "fault of a video; install the packages again, where this user may read them"
            )
        else:
            reason = "crashed"
        return reason, f"decode process ended with {_exit_name(code)}. {last_line[0][:200]}".strip()


def _exit_name(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
