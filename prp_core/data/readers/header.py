"""What a container declares about its video, read without decoding a frame."""

from __future__ import annotations

from typing import Any

import av

from prp_core.data.readers.orientation import UPRIGHT, Orientation, orientation_of
from prp_core.data.readers.video_reader import VideoInfo
from prp_core.errors import BrokenVideo


def open_container(path: str) -> Any:
    """The open container; FFmpeg may read this file and nothing else, no network.

    Raises `BrokenVideo`.
    """
    av.logging.set_level(av.logging.PANIC)
    try:
        return av.open(path, options={"protocol_whitelist": "file"})
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise BrokenVideo(
            path, "undecodable", f"the container does not open: {error}"[:200]
        ) from None


def video_stream(container: Any, path: str) -> Any:
    """The best video stream by FFmpeg's rule, as decord chooses. Raises `BrokenVideo`."""
    stream = container.streams.best("video")
    if stream is None:
        raise BrokenVideo(
            path, "no-video-stream", f"{len(container.streams)} streams, none of them video"
        )
    return stream


def num_frames_shown(container: Any, stream: Any) -> int:
    """How many frames the container says that it shows; 0 where it says nothing.

    An mp4 lists coded samples, and its edit list may hide some of them (what a cut without
    re-encoding keeps only to decode from): FFmpeg's index marks these.
    """
    listed = stream.index_entries if "mp4" in container.format.name and stream.frames else ()
    return sum(not entry.is_discard for entry in listed) or int(stream.frames)


def first_orientation(path: str) -> Orientation:
    """The orientation of the first frame; upright where none decodes."""
    with open_container(path) as container:
        try:
            frame = next(container.decode(video_stream(container, path)), None)
        except (av.FFmpegError, ValueError):
            frame = None
        return UPRIGHT if frame is None else orientation_of(frame)


def read_header(path: str) -> VideoInfo:
    """The best video stream's figures as the container declares them; size before rotation."""
    with open_container(path) as container:
        stream = video_stream(container, path)
        context = stream.codec_context
        return VideoInfo(
            num_frames=num_frames_shown(container, stream),
            fps=float(stream.average_rate or 0),
            width=int(context.width),
            height=int(context.height),
            codec=str(context.name),
        )
