"""Small encoded videos whose every frame shows its number, whole ones and broken ones."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

NUM_BITS = 10
BLOCK = 8


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How a video is packed; `suffix` chooses the container."""

    codec: str = "libx264"
    suffix: str = ".mp4"
    pixel_format: str = "yuv420p"
    keyframe_every: int = 12
    num_b_frames: int = 0
    container: str | None = None
    options: dict[str, str] = field(default_factory=dict)


# Those that decord and PyAV both read. The B-frames, open GOPs and missing timestamps are what
# trips random access.
ENCODINGS = {
    "h264": Encoding(),
    "h264 with B-frames": Encoding(num_b_frames=3, keyframe_every=250),
    "h264 with open GOPs": Encoding(num_b_frames=3, options={"x264-params": "open-gop=1"}),
    "h264 with B-frames in AVI": Encoding(suffix=".avi", num_b_frames=2),
    "h264 in Matroska": Encoding(suffix=".mkv", num_b_frames=2),
    "MPEG-4 in AVI, GOP 12": Encoding(codec="mpeg4", suffix=".avi"),
    "MPEG-4 in AVI with B-frames": Encoding(codec="mpeg4", suffix=".avi", num_b_frames=2),
    "MPEG-4 in AVI, one keyframe": Encoding(
        codec="mpeg4", suffix=".avi", num_b_frames=1, keyframe_every=300
    ),
    "MPEG-4 in mp4 with B-frames": Encoding(codec="mpeg4", num_b_frames=2),
    "MPEG-2": Encoding(codec="mpeg2video", suffix=".mpg", num_b_frames=2, container="mpeg"),
    "Motion JPEG": Encoding(codec="mjpeg", suffix=".avi", pixel_format="yuvj420p"),
    "VP8": Encoding(codec="libvpx", suffix=".webm"),
    "VP9": Encoding(
        codec="libvpx-vp9", suffix=".webm", options={"cpu-used": "8", "deadline": "realtime"}
    ),
    "FLV": Encoding(codec="flv", suffix=".flv"),
}


# The streams that chosen packets can be decoded from, and (below) those that look so and must not
# be.
SELECTIVE = {
    "h264": Encoding(),
    "h264, one keyframe": Encoding(num_b_frames=3, keyframe_every=250),
    "h264, open GOPs": Encoding(num_b_frames=3, options={"x264-params": "open-gop=1"}),
    "h264, B-pyramid": Encoding(
        num_b_frames=5, keyframe_every=30, options={"x264-params": "b-pyramid=normal:b-adapt=0"}
    ),
    "h264, no B": Encoding(options={"x264-params": "bframes=0"}),
    "h264, intra-refresh": Encoding(options={"x264-params": "intra-refresh=1"}),
    "h264, slices": Encoding(num_b_frames=2, options={"x264-params": "slices=3"}),
    "h264 in Matroska": Encoding(suffix=".mkv", num_b_frames=2),
    "h264 in a transport stream": Encoding(suffix=".ts", num_b_frames=2, container="mpegts"),
    "h264, 4:4:4": Encoding(num_b_frames=2, pixel_format="yuv444p"),
    "h264, 10 bit": Encoding(num_b_frames=2, pixel_format="yuv420p10le"),
    "MPEG-4 in AVI, GOP 12": Encoding(codec="mpeg4", suffix=".avi"),
    "MPEG-4 in AVI, GOP 12, B": Encoding(codec="mpeg4", suffix=".avi", num_b_frames=2),
    "MPEG-4 in AVI, GOP 250, B": Encoding(
        codec="mpeg4", suffix=".avi", num_b_frames=2, keyframe_every=250
    ),
    "MPEG-4 in AVI, quarter pixels": Encoding(
        codec="mpeg4", suffix=".avi", num_b_frames=2, options={"flags": "+qpel"}
    ),
    "MPEG-4 in mp4, B": Encoding(codec="mpeg4", num_b_frames=2),
    "MPEG-4 in Matroska, B": Encoding(codec="mpeg4", suffix=".mkv", num_b_frames=2),
    "h264, interlaced": Encoding(num_b_frames=2, options={"x264-params": "interlaced=1"}),
    "h264, interlaced, open GOPs": Encoding(
        num_b_frames=3, options={"x264-params": "interlaced=1:open-gop=1:b-adapt=0:ref=4"}
    ),
    "h264, open GOPs, B-pyramid": Encoding(
        num_b_frames=4, options={"x264-params": "open-gop=1:b-adapt=0:b-pyramid=normal:ref=4"}
    ),
}
SEQUENTIAL = {
    "h264 in AVI": Encoding(suffix=".avi", num_b_frames=2),
    "MPEG-4, interlaced": Encoding(
        codec="mpeg4", suffix=".avi", num_b_frames=2, options={"flags": "+ildct+ilme"}
    ),
    "Motion JPEG": Encoding(codec="mjpeg", suffix=".avi", pixel_format="yuvj420p"),
}


def make_video(
    path: Path,
    num_frames: int,
    *,
    size: tuple[int, int] = (96, 64),
    fps: int = 25,
    encoding: Encoding | None = None,
    seed: int = 0,
    moving: bool = True,
    ticks: Sequence[int] | None = None,
) -> Path:
    """Write a video of `size` (width, height) to `path`, with the suffix as given. Frame n shows n
    in binary above a moving bar.

    With `moving` off every frame is the same picture (and shows 0). `ticks` says when each frame is
    shown, in units of ``1 / fps`` seconds (default: 0, 1, 2, ...).
    """
    encoding = encoding or Encoding()
    path.parent.mkdir(parents=True, exist_ok=True)
    with same_priority(), av.open(str(path), "w", format=encoding.container) as container:
        stream: Any = container.add_stream(encoding.codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = encoding.pixel_format
        stream.gop_size = encoding.keyframe_every
        stream.max_b_frames = encoding.num_b_frames
        stream.codec_context.thread_count = 1
        stream.options = encoding.options
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(
                picture(number if moving else 0, size, seed), format="rgb24"
            )
            if ticks is not None:
                frame.pts = ticks[number]
                frame.time_base = Fraction(1, fps)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@contextlib.contextmanager
def same_priority() -> Iterator[None]:
    """A context that leaves this thread's scheduling as it was.

    SVT-AV1, run by root, makes the thread that calls it a real-time one of the highest priority,
    for good: what it runs from then on, its children too, takes the cores from all others.
    """
    if not hasattr(os, "sched_setscheduler"):  # a Mac
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def picture(number: int, size: tuple[int, int] = (96, 64), seed: int = 0) -> np.ndarray:
    """Frame `number`: uint8 (height, width, 3)."""
    width, height = size
    image_HWC = np.random.default_rng(seed).integers(
        40, 90, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8
    )
    image_HWC = image_HWC.repeat(8, axis=0).repeat(8, axis=1)[:height, :width].copy()
    left = number * 3 % width
    image_HWC[BLOCK:, left : left + 6] = 220
    for bit in range(min(NUM_BITS, width // BLOCK)):
        image_HWC[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 if number >> bit & 1 else 0
    return image_HWC


def shown_numbers(frames_NHWC: np.ndarray) -> list[int]:
    """The numbers that frames of `make_video` show."""
    blocks = np.asarray(frames_NHWC)[:, 2 : BLOCK - 2, : NUM_BITS * BLOCK].reshape(
        len(frames_NHWC), BLOCK - 4, NUM_BITS, BLOCK, 3
    )
    bits = blocks[:, :, :, 2:-2].mean(axis=(1, 3, 4)) > 128
    return [int(sum(1 << place for place, bit in enumerate(row) if bit)) for row in bits]


def make_class_folders(
    folder: Path, labels: Sequence[str], num_videos: int, num_frames: int = 40, **kwargs: Any
) -> Path:
    """`num_videos` videos in a folder for each of `labels`: ``label/label_3.mp4``."""
    for place, label in enumerate(labels):
        for number in range(num_videos):
            make_video(
                folder / label / f"{label}_{number}.mp4",
                num_frames,
                seed=100 * place + number,
                **kwargs,
            )
    return folder


def make_packed_b_frames(
    path: Path, num_frames: int = 41, *, num_b_frames: int = 1, keyframe_every: int = 300
) -> Path:
    """An AVI as DivX 5 wrote it: the first B-frame rides in the chunk of the frame before it, and
    an empty chunk follows the last.
    """
    encoding = Encoding(
        codec="mpeg4", suffix=".avi", num_b_frames=num_b_frames, keyframe_every=keyframe_every
    )
    plain = make_video(path.with_name(f"plain-{path.name}"), num_frames, encoding=encoding)
    with av.open(str(plain)) as source:
        stream: Any = source.streams.video[0]
        chunks = [bytes(packet) for packet in source.demux(stream) if packet.size]
        rate = stream.average_rate
    chunks[0] = chunks[0].replace(
        b"\x00\x00\x01\xb3", b"\x00\x00\x01\xb2DivX503b1393p\x00\x00\x01\xb3", 1
    )
    with av.open(str(path), "w") as target:
        written: Any = target.add_stream("mpeg4", rate=rate)
        written.width = 96
        written.height = 64
        written.pix_fmt = "yuv420p"
        written.codec_context.open()
        for number, chunk in enumerate(_packed(chunks)):
            packet = av.Packet(chunk)
            packet.stream = written
            packet.pts = number
            packet.dts = number
            packet.time_base = 1 / rate
            packet.is_keyframe = b"\x00\x00\x01\xb0" in chunk
            target.mux(packet)
    return path


def _packed(chunks: list[bytes]) -> list[bytes]:
    """Chunks in decoding order I P B B P ... -> I, P+B, B, empty, P ..."""
    groups: list[list[bytes]] = []
    for chunk in chunks:
        is_b = chunk[chunk.index(b"\x00\x00\x01\xb6") + 4] >> 6 == 2
        groups[-1 if is_b else len(groups) :] = [[*groups[-1], chunk] if is_b else [chunk]]
    packed: list[bytes] = []
    for first, *others in groups:
        packed += (
            [first + others[0], *others[1:], b"\x00\x00\x01\xb6\x5f"] if others else [first]
        )  # the last says "not coded"
    return packed


def cut_short(path: Path, share: float) -> Path:
    """Keep the first `share` of the file's bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def remuxed(path: Path, target: Path, first: int = 0, **options: str) -> Path:
    """The packets of the video at `path`, from number `first` on, in the container of `target`,
    with its `options`.
    """
    with av.open(str(path)) as source, av.open(str(target), "w", options=options) as other:
        stream = source.streams.video[0]
        copy = other.add_stream_from_template(stream)
        for place, packet in enumerate(source.demux(stream)):
            if packet.dts is not None and place >= first:
                packet.stream = copy
                other.mux(packet)
    return target


def with_index_first(path: Path) -> Path:
    """The mp4 at `path` with its index before its frames, so that it opens even when its tail is
    lost.
    """
    plain = path.with_name(f"plain-{path.name}")
    path.rename(plain)
    remuxed(plain, path, movflags="faststart")
    plain.unlink()
    return path


def write_playlist(path: Path, listed: Path) -> Path:
    """A text playlist under a video's name, which makes an unguarded FFmpeg read `listed`
    instead.
    """
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{listed}\n#EXT-X-ENDLIST\n")
    return path


def cut_without_reencoding(path: Path, target: Path, first: int) -> Path:
    """What ``ffmpeg -ss ... -c copy`` makes of the mp4 at `path`: all packets are kept, and an edit
    list hides the frames before number `first`.
    """
    with av.open(str(path)) as source, av.open(str(target), "w") as cut:
        stream = source.streams.video[0]
        copy = cut.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.pts is not None]
        start = sorted(packet.pts or 0 for packet in packets)[first]
        for packet in packets:
            packet.pts = (packet.pts or 0) - start
            packet.dts = (packet.dts or 0) - start
            packet.stream = copy
            cut.mux(packet)
    return target


def with_edit_list(path: Path, target: Path, parts: Sequence[tuple[int, int]]) -> Path:
    """The mp4 of `make_video` at `path` with an edit list that shows these parts of it (first
    frame, end), one after the other; none: 20 frames' time of nothing.
    """
    data = path.read_bytes()
    at = data.index(b"elst") + 4
    first = int.from_bytes(data[at + 12 : at + 16], "big")
    ticks_at = data.index(b"mdhd") + 16
    ticks = int.from_bytes(data[ticks_at : ticks_at + 4], "big") // 25  # of a frame
    entries = [(40 * (end - begin), first + begin * ticks) for begin, end in parts]
    listed = b"".join(struct.pack(">Iii", *one, 1 << 16) for one in entries or [(800, -1)])
    listed = bytes(4) + (len(listed) // 12).to_bytes(4, "big") + listed
    grown = bytearray(data[:at] + listed + data[at + 20 :])
    for box in (b"moov", b"trak", b"edts", b"elst"):
        start = data.index(box) - 4
        size = int.from_bytes(data[start : start + 4], "big") + len(listed) - 20
        grown[start : start + 4] = size.to_bytes(4, "big")
    target.write_bytes(grown)
    return target


def with_packet(path: Path, target: Path, number: int, data: bytes) -> Path:
    """The video at `path` with `data` as its packet `number`, in the container of `target`."""
    return with_packets(path, target, lambda place, _: data if place == number else None)


def with_packets(path: Path, target: Path, changed: Callable[[int, bytes], bytes | None]) -> Path:
    """The video at `path` with what `changed` makes of each packet's number and bytes (None: it
    stays), in the container of `target`.
    """
    with av.open(str(path)) as source, av.open(str(target), "w") as damaged:
        stream = source.streams.video[0]
        copy = damaged.add_stream_from_template(stream)
        for place, packet in enumerate(source.demux(stream)):
            if packet.pts is None:
                continue
            data = changed(place, bytes(packet))
            if data is not None:
                replacement = av.Packet(data)
                replacement.pts = packet.pts
                replacement.dts = packet.dts
                replacement.time_base = packet.time_base
                packet = replacement
            packet.stream = copy
            damaged.mux(packet)
    return target


def with_empty_block(path: Path, number: int) -> Path:
    """The Matroska file at `path` with nothing in its block `number`, and no byte moved."""
    data = path.read_bytes()
    with av.open(str(path)) as source:
        payload = next(
            bytes(packet) for place, packet in enumerate(source.demux(video=0)) if place == number
        )
    start = data.index(payload) - 4  # track, time and flags stand before it
    size_bytes = next(length for length in range(1, 9) if data[start - length - 1] == 0xA3)
    void = len(payload) + size_bytes - 1 - 9
    path.write_bytes(
        data[: start - size_bytes]
        + b"\x84"
        + data[start : start + 4]
        + b"\xec\x01"
        + void.to_bytes(7, "big")
        + bytes(void)
        + data[start + 4 + len(payload) :]
    )
    return path


def with_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """The mp4 at `path`, to be shown with x to a x + c y and y to b x + d y."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    whole = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    data[start : start + 36] = b"".join(number.to_bytes(4, "big", signed=True) for number in whole)
    path.write_bytes(data)
    return path
