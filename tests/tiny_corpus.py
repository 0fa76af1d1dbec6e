"""A small corpus of encoded videos whose classes are motions, with its records."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import Parts, VideoRecord
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource

HEIGHT, WIDTH, NUM_FRAMES = 40, 64, 44
MOTIONS = {"down": (1, 0), "right": (0, 1)}
LOADER = LoaderConfig(num_decoders=1, num_prefetched_batches=2)


def encode_motion(
    path: Path, motion: tuple[int, int], seed: int, num_frames: int = NUM_FRAMES
) -> None:
    """A drawn texture that moves by `motion` pixels (rows, columns) each frame, as H.264."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (HEIGHT // 4, WIDTH // 4, 3), dtype=np.uint8)
    texture = coarse.repeat(4, axis=0).repeat(4, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = WIDTH
        stream.height = HEIGHT
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "g": "8", "threads": "1"}
        for number in range(num_frames):
            picture = np.roll(texture, (motion[0] * number, motion[1] * number), axis=(0, 1))
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                )
            )
        container.mux(stream.encode())


def make_corpus(folder: Path, *, num_train: int = 10, num_val: int = 4) -> Parts:
    """Half of each part is of each class; every video is its own group."""
    for split, count in (("train", num_train), ("val", num_val)):
        for number in range(count):
            label = sorted(MOTIONS)[number % len(MOTIONS)]
            encode_motion(
                folder / label / f"{split}-{number:02d}.mp4",
                MOTIONS[label],
                seed=number + (1000 if split == "val" else 0),
            )
    records = [
        VideoRecord(
            key=info.key,
            num_bytes=info.num_bytes,
            etag=info.etag,
            num_frames=NUM_FRAMES,
            label=info.key.split("/")[0],
            group=info.key,
        )
        for info in LocalStore(folder).list()
    ]
    train, val = (
        tuple(record for record in records if f"/{split}-" in record.key)
        for split in ("train", "val")
    )
    return Parts(train=train, val=val, test=())


def open_source(folder: Path) -> VideoSource:
    """The corpus' videos, read where they lie."""
    return VideoSource(LocalStore(folder), None, LOADER)
