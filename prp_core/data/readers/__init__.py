"""Video readers (decoders): each library is imported only if chosen, in the decode process alone.

`video_reader` is the protocol. `pyav_reader` decodes only the packets that are needed
(`selective_decode`), which `packet_index` finds in the form of a `packet_layout` with
`mpeg4_packets` and `h264_packets` (over `bits`; `h264_slices` and `h264_references` prove recovery
points), or from a safe keyframe on (`segment_decode`,
`keyframe_starts`), and otherwise reads from the beginning (`sequential_reader`, which turns frames
to their `orientation`), both with `frame_arrays`. `decord_reader` is the alternative. `header`
reads what a container declares, `decode_server` is the process that owns a reader and can be
killed; it puts frames into a `reply_memory`, and `confinement` takes the network and all other
files from it. `compact_video` encodes and decodes the GOPs of compact shards. Nothing here imports
torch: the decode process must start quickly.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from prp_core.catalogue import look_up
from prp_core.data.readers.video_reader import VideoReader
from prp_core.errors import UserError


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

# What is imported by each reader, and how it is installed.
PACKAGES = {
    "decord": (
        "decord",
        "pip install 'prp[decord]', or uv sync --extra decord; it has a wheel for "
        "Linux on x86-64 alone",
    ),
    "pyav": ("av", "pip install av"),
}


def check_reader(name: str) -> None:
    """Raise `UserError` if there is no reader `name`, or its package is not installed here."""
    look_up("video reader", name, READERS)
    package, how = PACKAGES[name]
    if find_spec(package) is None:
        others = " or ".join(repr(other) for other in READERS if other != name)
        raise UserError(
            f"loader.reader = {name!r}: the package {package} is not installed here "
            f"({how}); or choose loader.reader = {others}"
        )
