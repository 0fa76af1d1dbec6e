"""Mutated videos are judged twice, while the decoder's memory, time and doors are watched.

A listener on loopback counts connections, a canary folder counts what is opened in it, and both are
named in texts that pose as videos.
"""

from __future__ import annotations

import ctypes
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from prp_core.data.container_sniffing import sniff
from prp_core.data.decode_process import DecodeProcess
from prp_core.data.loader_config import LoaderConfig
from prp_core.errors import QUARANTINE_REASONS, BrokenVideo
from tests.tools.hostile_reading import MAX_SECONDS, Tally
from tests.tools.mutations import mutated
from tests.video_factory import ENCODINGS, Encoding, make_video

IN_OPEN = 0x20
IN_CREATE = 0x100
MAX_RESIDENT_BYTES = 1 << 30
LOADER = LoaderConfig(max_pixels=1280 * 720, decode_memory_bytes=1 << 30)

SAMPLES = {
    **{name: encoding for name, encoding in ENCODINGS.items() if encoding.suffix != ".webm"},
    "VP9": ENCODINGS["VP9"],
    "transport stream": Encoding(suffix=".ts", num_b_frames=2, container="mpegts"),
    "raw H.264": Encoding(suffix=".h264", container="h264"),
    "HEVC": Encoding(
        codec="libx265", options={"x265-params": "log-level=none:pools=1:frame-threads=1"}
    ),
    "gif": Encoding(codec="gif", suffix=".gif", pixel_format="rgb8"),
}


@dataclass
class Canary:
    """A port and a folder that nothing has a reason to touch; `touched` says what did."""

    port: int
    folder: Path
    touched: list[str] = field(default_factory=list)

    def texts(self) -> list[bytes]:
        """Playlists and the like that name them."""
        url = f"http://127.0.0.1:{self.port}/a.ts"
        secret = self.folder / "secret.ts"
        return [
            f"#EXTM3U\n#EXTINF:1,\n{url}\n#EXTINF:1,\n{secret}\n".encode(),
            f"ffconcat version 1.0\nfile '{secret}'\nfile '{url}'\n".encode(),
            f"v=0\nc=IN IP4 127.0.0.1\nm=video {self.port} RTP/AVP 96\n".encode() * 40,
            f'<?xml version="1.0"?><MPD><BaseURL>{url}</BaseURL></MPD>'.encode(),
        ]


@contextmanager
def canary(folder: Path) -> Iterator[Canary]:
    """A canary that watches until the block ends."""
    folder.mkdir()
    (folder / "secret.ts").write_bytes(b"secret")
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(watch, os.fsencode(folder), IN_OPEN | IN_CREATE) >= 0
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        bird = Canary(server.getsockname()[1], folder)
        yield bird
        try:
            while True:
                server.accept()[0].close()
                bird.touched.append("a connection to the listener")
        except BlockingIOError:
            pass
    try:
        data = os.read(watch, 1 << 16)
    except BlockingIOError:
        data = b""
    finally:
        os.close(watch)
    while data:
        _, mask, _, length = struct.unpack_from("iIII", data)
        name = data[16 : 16 + length].rstrip(b"\0").decode()
        bird.touched.append(f"{name or folder.name}: event {mask:#x}")
        data = data[16 + length :]


def make_samples(folder: Path) -> dict[str, bytes]:
    """A small valid video of each kind."""
    return {
        name: make_video(folder / f"{number}{one.suffix}", 10, encoding=one).read_bytes()
        for number, (name, one) in enumerate(SAMPLES.items())
    }


def hostile_bytes(sample: bytes, bird: Canary, seed: str) -> bytes:
    """`sample` mutated, or one time in eight with a text of the canary's in or before it."""
    draw = random.Random(f"{seed} text")
    data = mutated(sample, seed)
    if draw.random() < 1 / 8:
        text = draw.choice(bird.texts())
        at = draw.choice((0, 8, 64, len(data) // 2))
        data = data[:at] + text + data[at:]
        if draw.random() < 0.5 and sniff(data[:1024]) == "":  # it poses as a transport stream
            posing = bytearray(data.ljust(1504, b"\n"))
            posing[:1504:188] = b"G" * 8
            data = bytes(posing)
    return data


def judge_videos(folder: Path, seeds: range, tally: Tally, reader: str = "pyav") -> None:
    """Judge a mutation of a sample for each seed, twice, by two decoders."""
    (folder / "samples").mkdir()
    samples = make_samples(folder / "samples")
    names = sorted(samples)
    video = folder / "videos" / "a.mp4"
    video.parent.mkdir()
    loader = replace(LOADER, reader=reader)
    with (
        canary(folder / "canary") as bird,
        DecodeProcess(loader) as one,
        DecodeProcess(loader) as two,
    ):
        for seed in seeds:
            name = names[seed % len(names)]
            video.write_bytes(hostile_bytes(samples[name], bird, f"{name} {seed}"))
            verdicts = []
            for process in (one, two):
                started = time.monotonic()
                verdicts.append(verdict_on(process, video))
                seconds = time.monotonic() - started
                tally.slowest_seconds = max(tally.slowest_seconds, seconds)
                if seconds > MAX_SECONDS:
                    tally.breaches.append(f"{name}, seed {seed}: {seconds:.1f} s")
            kind = verdicts[0].partition(" ")[0]
            tally.outcomes[kind] += 1
            if verdicts[0] != verdicts[1]:
                tally.breaches.append(f"{name}, seed {seed}: {verdicts[0]}, then {verdicts[1]}")
            if kind not in ("usable", *QUARANTINE_REASONS):
                tally.breaches.append(f"{name}, seed {seed}: {verdicts[0]}")
            tally.largest_bytes = max(tally.largest_bytes, most_resident_bytes(one.pid))
        starts = one.num_starts + two.num_starts
    tally.outcomes["decoders started again"] = starts - 2
    tally.breaches += bird.touched
    if tally.largest_bytes > MAX_RESIDENT_BYTES:
        tally.breaches.append(f"a decoder took {tally.largest_bytes >> 20} MiB")
    if sorted(path.name for path in folder.iterdir()) != ["canary", "samples", "videos"]:
        tally.breaches.append(f"files appeared: {sorted(folder.iterdir())}")


def verdict_on(process: DecodeProcess, video: Path) -> str:
    """``usable`` with the figures and a digest of frames, or the reason."""
    try:
        info = process.inspect(video)
        wanted = sorted({0, info.num_frames // 2, info.num_frames - 1})
        frames = process.read(video, wanted, num_frames=info.num_frames)
        return f"usable {info} {hash(frames.tobytes())}"
    except BrokenVideo as error:
        return f"{error.reason} {error.detail.replace(str(video), '')}"
    except BaseException as error:  # noqa: BLE001 - what would end training is what is looked for
        return f"! {type(error).__name__}: {error}"


def most_resident_bytes(pid: int | None) -> int:
    """The most memory that the process ever had; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)
