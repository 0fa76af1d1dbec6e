"""The decode process: answers requests on a socket with frames, and may be killed at any time.

Started by `decode_process.DecodeProcess` with the arguments ``READER MEMORY_BYTES SOCKET LIFELINE
FOLDER...``. Messages both ways: 4 bytes length (little-endian), JSON of that length. With the
length of a request may come the descriptor of shared memory for its frames: a reply that is
``in_memory`` has put them there, and otherwise its ``shape`` announces that many raw bytes after
it. ``progress`` is no reply yet: the decoder has decoded that many pixels and goes on. Where the
kernel offers it the process has no network and reads only below its folders, and each video is
decoded by a thread of its own that can read no other (`confinement`).
"""

from __future__ import annotations

import itertools
import json
import math
import os
import resource
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from prp_core.data.container_end import is_cut_short, is_proved_whole
from prp_core.data.container_sniffing import check_container
from prp_core.data.readers import READERS
from prp_core.data.readers.confinement import confine_process, confine_thread, use_one_arena
from prp_core.data.readers.reply_memory import ReplyMemory
from prp_core.data.readers.video_reader import Allocate, VideoReader, new_frames
from prp_core.errors import BrokenVideo

try:
    import fcntl
except ImportError:  # a Python that was built without it
    fcntl = None  # type: ignore[assignment]

# A header may declare a few frames more than decode (genuine UCF101 files: 207 against 205).
MISSING_FRAMES_ALLOWED = 4
MISSING_SHARE_ALLOWED = 0.02
DROPPED_SHARE_IGNORED = 0.05  # a file of a few frames rounds its times
MOST_PIXELS_OF_A_FILE = 3 * 10**12  # three hours of 3840 x 2160 at 30 frames a second are 2.7e12
PIXELS_BETWEEN_SIGNS = 50 * 10**6  # decoded, before the process says again that it goes on


Report = Callable[[dict[str, Any]], None]


class Progress:
    """Counts the pixels that a request has decoded, and reports them from time to time."""

    def __init__(self, report: Report) -> None:
        self.pixels = 0
        self._report = report
        self._next_sign = PIXELS_BETWEEN_SIGNS

    def add(self, pixels: int) -> None:
        """One more frame, of `pixels` pixels, is decoded."""
        self.pixels += pixels
        if self.pixels >= self._next_sign:
            self._next_sign = self.pixels + PIXELS_BETWEEN_SIGNS
            self._report({"progress": self.pixels})


def inspect(
    reader_name: str, path: str, max_pixels: int, max_pixels_decoded: int, progress: Progress
) -> dict[str, Any]:
    """The video's figures with its frames counted by decoding them all. Raises `BrokenVideo`."""
    from prp_core.data.readers.header import check_shows_some, first_orientation, read_header

    check_container(path)
    header = read_header(path)
    if header.width * header.height > max_pixels:
        raise BrokenVideo(
            path,
            "too-large",
            f"{header.width} x {header.height} pixels, the limit is {max_pixels} in all",
        )
    if reader_name == "decord" and first_orientation(path).is_mirrored:
        raise BrokenVideo(
            path,
            "undecodable",
            "it is shown mirrored, which decord does not do; loader.reader = 'pyav' does",
        )
    declared = header.num_frames
    try:
        reader = READERS[reader_name](path)
        reader.max_pixels = max_pixels
        declared = max(declared, reader.num_frames_declared)
        decoded = _count_frames(reader, progress, max_pixels_decoded)
    except BrokenVideo as error:
        decoded = _Decoded(failure=error)
    if decoded.failure is not None and decoded.failure.reason == "too-large":
        raise decoded.failure
    if decoded.num_frames == 0:
        check_shows_some(path)
        words = decoded.failure.detail if decoded.failure is not None else "no frame at all"
        raise BrokenVideo(
            path,
            "undecodable",
            f"{header.codec}: {words}; another loader.reader than {reader_name!r} may decode it",
        )
    _check_whole(path, decoded, declared)
    return {
        "num_frames": decoded.num_frames,
        "fps": _rate(header.fps, decoded.frames_per_second),
        "width": decoded.shape[1],
        "height": decoded.shape[0],
        "codec": header.codec,
        "num_frames_to_read_one": decoded.num_to_read_one,
    }


@dataclass(kw_only=True)
class _Decoded:
    """What decoding a whole file gave; `shape` is (height, width) of its last frame."""

    num_frames: int = 0
    shape: tuple[int, int] = (0, 0)
    num_refused: int = 0
    num_to_read_one: int = 0
    frames_per_second: float = 0.0
    failure: BrokenVideo | None = None


def _rate(stated: float, measured: float) -> float:
    """The stated rate, or what was measured (0: nothing) where frames are left out."""
    return measured if measured < stated * (1 - DROPPED_SHARE_IGNORED) and measured else stated


def _check_whole(path: str, decoded: _Decoded, declared: int) -> None:
    """Raise `BrokenVideo` where more frames are missing than the tolerance allows.

    One rule for all containers: frames are missing that the container declares, or whose packets
    are empty or damaged. A container that declares no number is asked whether it ends.
    """
    count = decoded.num_frames
    expected = max(declared, count + decoded.num_refused)
    failure = decoded.failure
    said = f": {failure.detail}" if failure else ""
    if expected - count > max(MISSING_FRAMES_ALLOWED, MISSING_SHARE_ALLOWED * expected):
        repeats = failure is not None and failure.reason == "repeated-frames"
        raise BrokenVideo(
            path,
            "repeated-frames" if repeats else "truncated",
            f"{count} of {expected} frames decode{said}",
        )
    if declared == 0 and (
        (failure is not None and not is_proved_whole(path)) or is_cut_short(path)
    ):
        raise BrokenVideo(
            path,
            "truncated",
            f"{count} frames decode"
            + (said or "; the file ends before its container does, or breaks within"),
        )


def _count_frames(reader: VideoReader, progress: Progress, max_pixels_decoded: int) -> _Decoded:
    """Decode every frame, hidden ones too; ask what reading one takes only where it matters."""
    decoded = _Decoded()
    reader.on_decoded = progress.add
    try:
        for frame_HWC in reader.frames():
            decoded.num_frames += 1
            decoded.shape = (frame_HWC.shape[0], frame_HWC.shape[1])
            if progress.pixels > MOST_PIXELS_OF_A_FILE:
                words = f"more than {MOST_PIXELS_OF_A_FILE:.0e} pixels in all its frames; divide it"
                raise BrokenVideo("", "too-large", words)
        decoded.num_to_read_one = -(-progress.pixels // max(1, math.prod(decoded.shape)))
        if progress.pixels > max_pixels_decoded:
            chosen = reader.num_frames_to_read_one(decoded.num_frames)
            if chosen < decoded.num_frames:
                decoded.num_to_read_one = chosen
    except BrokenVideo as error:
        decoded.failure = error
    finally:
        decoded.num_refused = reader.num_packets_refused
        decoded.frames_per_second = reader.frames_per_second
        reader.close()
    return decoded


class Server:
    """Answers requests; keeps the last file's reader open, because spans of one video cluster."""

    def __init__(self, reader_name: str, report: Report) -> None:
        self._reader_name = reader_name
        self._report = report
        self._open_path: tuple[str, int] | None = None
        self._reader: VideoReader | None = None
        self._rest: tuple[int, Iterator[np.ndarray]] | None = None

    def answer(
        self, request: dict[str, Any], allocate: Allocate = new_frames
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        """(reply, frames or None) to one request; a broken video is a reply.

        The frames lie in what `allocate` returned last.
        """
        path = request["path"]
        try:
            if request["op"] == "inspect":
                limits = request["max_pixels"], request["max_pixels_decoded"]
                info = inspect(self._reader_name, path, *limits, Progress(self._report))
                return {"info": info}, None
            if request["op"] == "next":
                frames_NHWC = self._read_next(request, allocate)
                return {"shape": frames_NHWC.shape}, frames_NHWC
            return self._read(request, allocate)
        except BrokenVideo as error:
            self.close()
            reason = (
                "truncated"
                if error.reason == "undecodable" and is_cut_short(path)
                else error.reason
            )
            return {"reason": reason, "detail": error.detail}, None
        except MemoryError as error:
            self.close()
            return {"reason": "out-of-memory", "detail": str(error)[:200]}, None
        except FileNotFoundError as error:
            self.close()
            return {"reason": "missing", "detail": str(error)[:200]}, None

    def _read(
        self, request: dict[str, Any], allocate: Allocate
    ) -> tuple[dict[str, Any], np.ndarray]:
        self._rest = None
        reader = self._open(request)
        indices = request["indices"]
        num_frames = request["num_frames"]
        planes = reader.read_planes(indices, num_frames, allocate) if request["planes"] else None
        if planes is not None:
            return {
                "shape": planes.planes_NHW.shape,
                "matrix": planes.matrix,
                "full_range": planes.full_range,
            }, planes.planes_NHW
        frames_NHWC = reader.read(indices, num_frames, allocate)
        return {"shape": frames_NHWC.shape}, frames_NHWC

    def _read_next(self, request: dict[str, Any], allocate: Allocate) -> np.ndarray:
        """``count`` frames from number ``first`` on, decoded where the request before stopped."""
        path, first, count = request["path"], request["first"], request["count"]
        reader = self._open(request)
        if self._rest is None or self._rest[0] != first:
            self._rest = (first, itertools.islice(reader.frames(), first, None))
        rest = self._rest[1]
        frames = list(itertools.islice(rest, count))
        if len(frames) < count:
            raise BrokenVideo(
                path,
                "truncated",
                f"frame {first + len(frames)} was asked for and decoding ends before it",
            )
        self._rest = (first + count, rest)
        return np.stack(frames, out=allocate((count, *frames[0].shape)))

    def _open(self, request: dict[str, Any]) -> VideoReader:
        path = request["path"]
        identity = (path, Path(path).stat().st_ino)
        if self._reader is None or self._open_path != identity:
            self.close()
            check_container(path)
            self._reader = READERS[self._reader_name](path)
            self._reader.max_pixels = request["max_pixels"]
            self._reader.on_decoded = Progress(self._report).add
            self._open_path = identity
        return self._reader

    def close(self) -> None:
        """Close the file that is open."""
        self._rest = None
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        self._open_path = None


class ConfinedServer:
    """A `Server` for each video, in a thread that can read this video's file and no other."""

    def __init__(self, reader_name: str, report: Report) -> None:
        self._reader_name = reader_name
        self._report = report
        self._path = ""
        self._server = Server(reader_name, report)
        self._thread: ThreadPoolExecutor | None = None

    def answer(
        self, request: dict[str, Any], allocate: Allocate = new_frames
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        """See `Server.answer`."""
        path = request["path"]
        if self._thread is None or path != self._path:
            if self._thread is not None:
                self._thread.submit(self._server.close).result()
                self._thread.shutdown()
            self._path = path
            self._server = Server(self._reader_name, self._report)
            self._thread = ThreadPoolExecutor(1, initializer=confine_thread, initargs=(path,))
        return self._thread.submit(self._server.answer, request, allocate).result()


def serve(server: Server | ConfinedServer, channel: socket.socket) -> None:
    """Answer requests until the other end closes."""
    while True:
        head, descriptor = _receive_head(channel)
        if head is None or (body := _receive(channel, struct.unpack("<I", head)[0])) is None:
            return
        request = json.loads(body)
        memory = ReplyMemory(descriptor, **request.pop("memory", {}))
        reply, frames_NHWC = server.answer(request, memory.allocate)
        in_memory = memory.holds(frames_NHWC)
        memory.close()  # before the client reads that its frames are there
        _send(channel, {**reply, "in_memory": in_memory})
        if frames_NHWC is not None and not in_memory:
            channel.sendall(np.ascontiguousarray(frames_NHWC).data.cast("B"))
        del frames_NHWC  # or the next reply would have to find room beside it


def _receive_head(channel: socket.socket) -> tuple[bytes | None, int | None]:
    """The length of a request, and the descriptor that came with it."""
    first, descriptors, _, _ = socket.recv_fds(channel, 4, 1)
    rest = _receive(channel, 4 - len(first)) if first else None
    head = first + rest if rest is not None else None
    return head, descriptors[0] if descriptors else None


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    text = json.dumps(message).encode()
    channel.sendall(struct.pack("<I", len(text)) + text)


def _receive(channel: socket.socket, num_bytes: int) -> bytes | None:
    pieces = b""
    while len(pieces) < num_bytes:
        piece = channel.recv(num_bytes - len(pieces))
        if not piece:
            return None
        pieces += piece
    return pieces


def die_with_parent(lifeline: int) -> None:
    """Be killed by SIGIO when the parent's end of the pipe `lifeline` closes.

    Also during a decode that holds the interpreter. Not PR_SET_PDEATHSIG: that fires when the
    *thread* that started this process ends, and loader threads end every epoch.
    """
    if fcntl is None:
        return  # it ends when its socket closes, after a decode that is going on
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(
        lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK
    )


def limit_memory(num_bytes: int) -> None:
    """Let this process map `num_bytes` at most, where the kernel enforces that: a Mac's refuses."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (num_bytes, num_bytes))
    except (OSError, ValueError):
        if sys.platform == "linux":
            raise


def load_libraries(reader_name: str) -> None:
    """Load all code that decoding needs, while it can still be read."""
    import prp_core.data.readers.header  # noqa: F401 - for inspect

    with suppress(BrokenVideo):
        READERS[reader_name](os.devnull).close()


def main() -> None:
    """Read the arguments, set the limits, and serve."""
    reader_name, memory_bytes, channel, lifeline = sys.argv[1], *map(int, sys.argv[2:5])
    use_one_arena()
    limit_memory(memory_bytes)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    die_with_parent(lifeline)
    load_libraries(reader_name)
    enforced = confine_process(sys.argv[5:])
    server = ConfinedServer if "files" in enforced else Server
    answers = socket.socket(fileno=channel)
    serve(server(reader_name, partial(_send, answers)), answers)


if __name__ == "__main__":
    main()
