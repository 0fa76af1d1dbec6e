"""Libraries that turn a video file into frames; each is imported only when it is chosen, and only
inside the decode process.

`video_reader` says what a reader does. `pyav_reader` does it from the packets that are needed
(`selective_decode`), which `packet_index` finds with `mpeg4_packets` and `h264_packets`, and else
from the beginning (`sequential_reader`); `decord_reader` is the other one. `header` reads what a
container promises, and `decode_server` is the process that owns a reader and can be killed. Nothing
here imports torch: that process must start quickly.
"""

from __future__ import annotations

from collections.abc import Callable

from prp_core.data.readers.video_reader import VideoReader


def _open_with_decord(path: str) -> VideoReader:
    from prp_core.data.readers.decord_reader import DecordReader

    return DecordReader(path)


def _open_with_pyav(path: str) -> VideoReader:
    from prp_core.data.readers.pyav_reader import PyavReader

    return PyavReader(path)


READERS: dict[str, Callable[[str], VideoReader]] = {
    "decord": _open_with_decord,
    "pyav": _open_with_pyav,
}
