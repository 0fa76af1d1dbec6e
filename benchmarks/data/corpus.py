"""The videos to measure on: panning textures, moving discs, sensor noise, usual encodings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

PACKED_MARK = b"\x00\x00\x01\xb2DivX503b1393p"
SEQUENCE_START = b"\x00\x00\x01\xb3"
NOTHING_CODED = b"\x00\x00\x01\xb6\x5f\x4f"


@dataclass(frozen=True)
class Kind:
    """An encoding at a size and a bit rate that is usual for it."""

    name: str
    codec: str
    suffix: str
    size: tuple[int, int]
    keyframe_every: int
    num_b_frames: int
    kilobits: int
    packed: bool = False
    options: dict[str, str] = field(default_factory=dict)


KINDS = (
    Kind("XviD, GOP 250, packed B", "mpeg4", ".avi", (320, 240), 250, 2, 500, packed=True),
    Kind("MPEG-4, GOP 12, no B", "mpeg4", ".avi", (320, 240), 12, 0, 600),
    Kind("H.264 340x256", "libx264", ".mp4", (340, 256), 250, 3, 500),
)


def make_corpus(
    folder: Path, kind: Kind, *, num_videos: int, num_frames: int, source: Path | None = None
) -> list[Path]:
    """`num_videos` files of `kind`; from the videos under `source` where it is given."""
    originals = (
        sorted(path for path in source.rglob("*") if path.suffix in (".mp4", ".avi", ".mkv"))
        if source
        else []
    )
    paths = []
    for number in range(num_videos):
        path = folder / f"{kind.codec}-{kind.keyframe_every}-{number}{kind.suffix}"
        frames = (
            _frames_of(originals[number % len(originals)], kind.size, num_frames)
            if originals
            else _scene(number, kind.size, num_frames)
        )
        paths.append(_encode(path, frames, kind))
    return paths


def _scene(seed: int, size: tuple[int, int], num_frames: int) -> Iterator[np.ndarray]:
    """uint8 (H, W, 3): a panning background, six moving discs, noise of two grey levels."""
    random = np.random.default_rng(seed)
    width, height = size
    wide = sum(
        cv2.resize(
            random.normal(0, 90 / (step + 1), (4 << step, 6 << step, 3)).astype(np.float32),
            (2 * width, 2 * height),
        )
        for step in range(6)
    )
    background = np.clip(np.asarray(wide) + 120, 0, 255).astype(np.uint8)
    discs = [
        (
            random.uniform(0.2, 0.8, 2),
            random.uniform(-0.004, 0.004, 2),
            int(random.integers(12, 40)),
            random.integers(0, 255, 3),
        )
        for _ in range(6)
    ]
    for number in range(num_frames):
        left, top = (
            int((0.5 + 0.5 * np.sin(number / period)) * extent)
            for period, extent in ((60, width), (83, height))
        )
        image_HWC = background[top : top + height, left : left + width].copy()
        for centre, speed, radius, colour in discs:
            x, y = (centre + speed * number) % 1 * (width, height)
            cv2.circle(image_HWC, (int(x), int(y)), radius, tuple(map(int, colour)), -1)
        noise = random.normal(0, 2, image_HWC.shape[:2]).astype(np.float32)[..., None]
        yield np.clip(image_HWC + noise, 0, 255).astype(np.uint8)


def _frames_of(path: Path, size: tuple[int, int], num_frames: int) -> Iterator[np.ndarray]:
    """The frames of a video, to and fro until there are enough."""
    with av.open(str(path)) as container:
        frames = [
            frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
            for frame in container.decode(video=0)
        ][:num_frames]
    there_and_back = [*frames, *frames[-2:0:-1]]
    yield from (there_and_back[number % len(there_and_back)] for number in range(num_frames))


def _encode(path: Path, frames: Iterator[np.ndarray], kind: Kind) -> Path:
    plain = path.with_name(f"plain-{path.name}") if kind.packed else path
    with av.open(str(plain), "w") as container:
        stream: Any = container.add_stream(kind.codec, rate=25)
        stream.width, stream.height = kind.size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = kind.keyframe_every
        stream.bit_rate = kind.kilobits * 1000
        if kind.codec == "mpeg4":
            stream.max_b_frames = kind.num_b_frames
        stream.options = kind.options
        for image_HWC in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image_HWC, format="rgb24")))
        container.mux(stream.encode())
    if kind.packed:
        _pack(plain, path)
        plain.unlink()
    return path


def _pack(plain: Path, path: Path) -> None:
    """Copy an AVI as DivX 5 writes it: each B-picture in the packet before, then an empty one."""
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        stream: Any = source.streams.video[0]
        chunks = [bytes(packet) for packet in source.demux(stream) if packet.size]
        written: Any = target.add_stream("mpeg4", rate=stream.average_rate)
        written.width = stream.width
        written.height = stream.height
        written.pix_fmt = "yuv420p"
        written.codec_context.open()
        chunks[0] = chunks[0].replace(SEQUENCE_START, PACKED_MARK + SEQUENCE_START, 1)
        for number, chunk in enumerate(packed(chunks)):
            packet = av.Packet(chunk)
            packet.stream = written
            packet.pts = number
            packet.dts = number
            packet.time_base = 1 / stream.average_rate
            packet.is_keyframe = b"\x00\x00\x01\xb0" in chunk or number == 0
            target.mux(packet)


def packed(chunks: list[bytes]) -> list[bytes]:
    """Decoding order I P B B P -> I, P+B, B, empty, P."""
    groups: list[list[bytes]] = []
    for chunk in chunks:
        if _is_b(chunk):
            groups[-1].append(chunk)
        else:
            groups.append([chunk])
    result: list[bytes] = []
    for group in groups:
        result += (
            [group[0]] if len(group) == 1 else [group[0] + group[1], *group[2:], NOTHING_CODED]
        )
    return result


def _is_b(chunk: bytes) -> bool:
    return chunk[chunk.index(b"\x00\x00\x01\xb6") + 4] >> 6 == 2
