"""The ways of reading original videos that are compared, and the decoder's own limit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from queue import Queue
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.data import paper_way
from benchmarks.data.measure import Request, Way
from prp_core.data.colour import PlanarFrames, rgb_from_planes
from prp_core.data.decode_process import DecodeProcess
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.readers import READERS
from prp_core.data.readers.selective_decode import SelectiveDecode
from prp_core.data.readers.sequential_reader import SequentialReader

PAPER = "paper's way: frames resized, mask made"
LIMIT = "limit: decoder alone, needed packets"


def ways() -> list[Way]:
    """Each row of the table for one kind of file; made anew for each table."""
    return [
        Way(
            PAPER,
            lambda r: paper_way.load(r.path, r.start, r.clip_length, r.rate),
            lambda answer, r: answer[0][list(r.positions)],
        ),
        Way("decord as a peer calls it (get_batch)", _decord_batch, lambda answer, r: answer),
        _reader_way("decord reader: RGB", "decord"),
        _reader_way("our reader: RGB", "pyav"),
        Way("our reader: planes", _planes, _rgb_of),
        Way(LIMIT, DecoderAlone().load),
        _process_way("decode process: RGB", DecodeProcess.read),
        _process_way("decode process: planes", DecodeProcess.read_planes),
        _process_way(
            "2 decode processes at once: planes", DecodeProcess.read_planes, num_processes=2
        ),
    ]


def truth(request: Request, size: tuple[int, int]) -> np.ndarray:
    """The frames of a full decode, resized by PIL where `size` (height, width) is another."""
    frames_NHWC = _all_frames(str(request.path))[request.frames]
    if frames_NHWC.shape[1:3] == size:
        return frames_NHWC
    return np.stack(
        [
            np.asarray(Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.BILINEAR))
            for frame in frames_NHWC
        ]
    )


@cache
def _all_frames(path: str) -> np.ndarray:
    return np.stack(list(SequentialReader(path).frames()))


def _decord_batch(request: Request) -> np.ndarray:
    import decord

    return decord.VideoReader(str(request.path), num_threads=1).get_batch(request.frames).asnumpy()


def _reader_way(name: str, reader: str) -> Way:
    def load(request: Request) -> np.ndarray:
        video = READERS[reader](str(request.path))
        try:
            return video.read(request.frames)
        finally:
            video.close()

    return Way(name, load, lambda answer, _: answer)


def _planes(request: Request) -> Any:
    video = READERS["pyav"](str(request.path))
    try:
        planes = video.read_planes(request.frames)
        assert planes is not None, request.path
        return planes
    finally:
        video.close()


class DecoderAlone:
    """The limit: the needed packets through FFmpeg's decoder, and nothing else.

    Files are open, packets in memory, frames dropped as they come.
    """

    def __init__(self) -> None:
        self._open: dict[str, SelectiveDecode] = {}

    def load(self, request: Request) -> None:
        """Decode what `request` needs."""
        decode = self._open.setdefault(str(request.path), SelectiveDecode(str(request.path)))
        index = decode.index
        context = decode._context
        assert index is not None, request.path
        for run in index.runs(request.frames):
            for packet in (*(index.packets[place] for place in run), None):
                context.decode(packet)
            context.flush_buffers()


def _rgb_of(planes: Any, _: Request) -> np.ndarray:
    return rgb_from_planes(
        PlanarFrames(torch.from_numpy(planes.planes_NHW), planes.matrix, planes.full_range)
    ).numpy()


def _process_way(name: str, read: Callable[..., Any], num_processes: int = 1) -> Way:
    processes = [DecodeProcess(LoaderConfig(reader="pyav")) for _ in range(num_processes)]
    idle: Queue[DecodeProcess] = Queue()
    for process in processes:
        idle.put(process)

    def load(request: Request) -> Any:
        process = idle.get()
        try:
            return read(process, request.path, request.frames)
        finally:
            idle.put(process)

    def close() -> None:
        for process in processes:
            process.close()

    return Way(
        name,
        load,
        lambda answer, r: answer if isinstance(answer, np.ndarray) else _rgb_of(answer, r),
        pids=lambda: [process.pid for process in processes if process.pid],
        close=close,
        num_at_once=num_processes,
    )
