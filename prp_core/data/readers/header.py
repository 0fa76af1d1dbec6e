"""What a container promises about its video, read without decoding a frame of it."""

from __future__ import annotations

from typing import Any

import av

from prp_core.data.readers.video_reader import VideoInfo
from prp_core.errors import BrokenVideo


def open_container(path: str) -> Any:
    """The open container; it may read this file and nothing else (no network, no other file).
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
    """The stream that FFmpeg holds for the best, as decord chooses. Raises `BrokenVideo`
    "no-video-stream".
    """
    stream = container.streams.best("video")
    if stream is None:
        raise BrokenVideo(
            path, "no-video-stream", f"{len(container.streams)} streams, none of them video"
        )
    return stream


def read_header(path: str) -> VideoInfo:
    """The best video stream's figures as the container has them; size before rotation."""
    with open_container(path) as container:
        stream = video_stream(container, path)
        context = stream.codec_context
        return VideoInfo(
            num_frames=int(stream.frames),
            fps=float(stream.average_rate or 0),
            width=int(context.width),
            height=int(context.height),
            codec=str(context.name),
        )
