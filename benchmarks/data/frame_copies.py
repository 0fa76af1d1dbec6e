"""Frames that a decode process carries: through shared memory, and over a socket as before.

uv run python -m benchmarks.data.frame_copies [--num-rounds 12] [--num-clips 16]

How often a picture's bytes are copied from FFmpeg's converter to the device: found by asking whose
memory each stage has. Clips per CPU-second of this process and the decoder's together, packed for
the device, over all rounds, which are interleaved.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.data.corpus import KINDS, Kind, make_corpus
from benchmarks.data.measure import Figure, Request, Way, compare
from benchmarks.data.samples import NUM_FRAMES, NUM_VIDEOS, sample_requests
from prp_core.data.decode_limits import FrameShape
from prp_core.data.decode_process import DecodeProcess
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.readers.video_reader import YuvPlanes
from prp_core.data.transfer import PackedFrames, allocate_for, pack_frames

FROM_THE_CONVERTER = 1
OVER_A_SOCKET = 2  # into the kernel and out of it
PACKED = 1
TO_THE_DEVICE = 1


class CarriedFrames:
    """One decode process whose frames are packed for a device; `num_copies` of the last request."""

    def __init__(self, kind: Kind, *, shares_memory: bool, planes: bool) -> None:
        self.process = DecodeProcess(LoaderConfig(), shares_memory=shares_memory)
        self._read = DecodeProcess.read_planes if planes else DecodeProcess.read
        self._shape = FrameShape(kind.size[1], kind.size[0])
        self.num_copies = 0

    def load(self, request: Request) -> PackedFrames:
        """The frames of `request`, packed."""
        before = self.process.num_bytes_sent
        read = self._read(
            self.process,
            request.path,
            request.frames,
            num_frames=NUM_FRAMES,
            shape=self._shape,
        )
        frames = read.planes_NHW if isinstance(read, YuvPlanes) else read
        sent = self.process.num_bytes_sent - before
        assert sent in (0, frames.nbytes), (sent, frames.nbytes)
        stored = torch.from_numpy(frames)
        packed = pack_frames([stored], allocate_for(torch.device("cpu")))
        assert not np.shares_memory(packed.packed.numpy(), frames)
        copies = FROM_THE_CONVERTER + PACKED + TO_THE_DEVICE
        self.num_copies = copies + (OVER_A_SOCKET if sent else 0)
        return packed

    def way(self, name: str) -> Way:
        """The row of the table."""
        return Way(name, self.load, pids=self._pids, close=self.process.close)

    def _pids(self) -> list[int]:
        return [self.process.pid] if self.process.pid else []


def compare_carrying(kind: Kind, num_rounds: int, num_clips: int) -> str:
    """A table for videos of `kind`, in Markdown."""
    lines = [
        f"{kind.name}",
        "",
        "| frames | through | copies | clips per CPU-second | of the socket's |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        paths = make_corpus(Path(folder), kind, num_videos=NUM_VIDEOS, num_frames=NUM_FRAMES)
        requests = sample_requests(paths, num_clips)
        for planes in (False, True):
            carried = {
                name: CarriedFrames(kind, shares_memory=shares, planes=planes)
                for name, shares in (("a socket", False), ("shared memory", True))
            }
            ways = [one.way(name) for name, one in carried.items()]
            try:
                socket, shared = compare(ways, requests, _no_truth, num_rounds=num_rounds)
            finally:
                for way in ways:
                    way.close()
            for figure in (socket, shared):
                copies = carried[figure.name].num_copies
                ratio = _rate(figure) / _rate(socket)
                lines.append(
                    f"| {'planes' if planes else 'RGB'} | {figure.name} | {copies} | "
                    f"{_rate(figure):.1f} | {ratio:.2f}x |"
                )
    return "\n".join(lines)


def _rate(figure: Figure) -> float:
    """Clips per CPU-second of all rounds together: the kernel counts in steps of 10 ms."""
    return statistics.harmonic_mean(figure.rounds)


def _no_truth(request: Request, size: tuple[int, int]) -> np.ndarray:
    raise AssertionError("no pictures are compared: a test holds that they are equal")


def main() -> None:
    """Measure every kind of file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-rounds", type=int, default=12)
    parser.add_argument("--num-clips", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for kind in KINDS:
        print(f"\n{compare_carrying(kind, options.num_rounds, options.num_clips)}", flush=True)


if __name__ == "__main__":
    main()
