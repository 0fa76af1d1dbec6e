"""What a container declares about its video, read without decoding a frame."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from prp_core.data.container_sniffing import DEMUXERS, check_container
from prp_core.data.readers.orientation import UPRIGHT, Orientation, orientation_of
from prp_core.data.readers.video_reader import VideoInfo
from prp_core.errors import BrokenVideo

MOST_FRAMES_PER_SECOND = 10_000
PLACEHOLDER_FRAMES = 1 << 30  # in an AVI that was written to a pipe
CHUNKS_BELOW = (b"AVI ", b"AVIX", b"movi", b"rec ")  # lists of an AVI that hold a video's chunks


def open_container(path: str, **options: str) -> Any:
    """The open container; FFmpeg may read this file and nothing else, no network.

    It is told the format that was recognised: its own guess could be another, such as a text that
    names other files. `options` are further ones of the demuxer. Raises `BrokenVideo`.
    """
    demuxer = DEMUXERS[check_container(path)]
    av.logging.set_level(av.logging.PANIC)
    try:
        return av.open(path, format=demuxer, options={"protocol_whitelist": "file", **options})
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise BrokenVideo(
            path, "undecodable", f"the container does not open: {error}"[:200]
        ) from None


def video_stream(container: Any, path: str) -> Any:
    """The best video stream by FFmpeg's rule, as decord chooses, but no picture that is attached
    to a file of music. Raises `BrokenVideo`.
    """
    stream = container.streams.best("video")
    if stream is None or _is_picture(stream):
        videos = [one for one in container.streams.video if not _is_picture(one)]
        if not videos:
            pictures = ", but a cover picture" if stream is not None else ""
            words = f"{len(container.streams)} streams, none of them video{pictures}"
            raise BrokenVideo(path, "no-video-stream", words)
        stream = max(videos, key=_pixels)
    if stream.codec_context is None:
        raise BrokenVideo(path, "undecodable", "FFmpeg has no decoder for its video's codec")
    return stream


def _pixels(stream: Any) -> int:
    context = stream.codec_context
    return 0 if context is None else int(context.width * context.height)


def _is_picture(stream: Any) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def num_frames_shown(container: Any, stream: Any) -> int:
    """How many frames the container says that it shows; 0 where it says nothing.

    An mp4 lists coded samples, and its edit list may hide some of them (what a cut without
    re-encoding keeps only to decode from): FFmpeg's index marks these. An AVI counts chunks, also
    the empty ones that say "the frame before, once more" and are no frames.
    """
    if container.format.name == "gif":
        return 0  # nothing in it declares a number: FFmpeg counts what it finds
    if container.format.name == "avi":
        if stream.frames >= PLACEHOLDER_FRAMES:
            return 0
        return max(0, int(stream.frames) - _num_empty_chunks(container.name, stream.index))
    listed = stream.index_entries if "mov" in container.format.name and stream.frames else ()
    return sum(not entry.is_discard for entry in listed) or int(stream.frames)


def check_shows_some(path: str) -> None:
    """Raise `BrokenVideo` "nothing-shown" where the edit list of the mp4 at `path` hides all."""
    with open_container(path) as container:
        stream = video_stream(container, path)
        is_listed = "mov" in container.format.name and stream.frames
        if not is_listed or not all(entry.is_discard for entry in stream.index_entries):
            return
        if _samples_of_media(container, stream):
            raise BrokenVideo(
                path,
                "nothing-shown",
                f"its edit list shows none of its {stream.frames} frames; to have them all, drop "
                "the list: ffmpeg -ignore_editlist 1 -i OLD.mp4 -c copy NEW.mp4",
            )


def jumps_of_edit_list(container: Any, stream: Any) -> dict[int, int]:
    """Where an mp4's edit list of several parts leaves the order of the media: the number of each
    packet that does not follow the one before it there, with the byte at which it begins.

    A decoder has to begin anew at it: what it holds belongs to another part. FFmpeg begins every
    part at a keyframe, and hides what stands before the part.
    """
    if "mov" not in container.format.name or not stream.frames:
        return {}
    entries = stream.index_entries
    if len(entries) == stream.frames and not any(entry.is_discard for entry in entries):
        positions = [entry.pos for entry in entries if entry.size]
        if all(map(operator.lt, positions, positions[1:])):
            return {}
    media = _samples_of_media(container, stream)
    number_of = {sample: number for number, sample in enumerate(media)}
    jumps = {}
    before = -1
    for place, entry in enumerate(entries):
        if not entry.size:
            continue
        number = number_of.get((entry.pos, entry.size), -1)
        if entry.is_keyframe and place and number != before + 1:
            jumps[place] = entry.pos
        before = number
    return jumps


def _samples_of_media(container: Any, stream: Any) -> list[tuple[int, int]]:
    """(first byte, size) of each sample of an mp4, whatever its edit list shows."""
    with open_container(container.name, ignore_editlist="1") as plain:
        entries = plain.streams[stream.index].index_entries
        return [(entry.pos, entry.size) for entry in entries if entry.size]


def _num_empty_chunks(path: str, stream_index: int) -> int:
    """The chunks without content of a stream of the AVI at `path`, as far as the file goes."""
    wanted = {b"%02d%s" % (stream_index, kind) for kind in (b"dc", b"db")}
    count = 0
    with Path(path).open("rb") as file:
        while len(head := file.read(8)) == 8:
            size = int.from_bytes(head[4:], "little")
            if head[:4] in (b"RIFF", b"LIST"):
                if file.read(4) in CHUNKS_BELOW:
                    continue
                size = max(0, size - 4)
            count += head[:4] in wanted and size == 0
            file.seek(size + size % 2, os.SEEK_CUR)
    return count


def first_orientation(path: str) -> Orientation:
    """The orientation of the first frame; upright where none decodes."""
    with open_container(path) as container:
        try:
            frame = next(container.decode(video_stream(container, path)), None)
        except (av.FFmpegError, ValueError):
            frame = None
        return UPRIGHT if frame is None else orientation_of(frame)


def _frames_per_second(stream: Any) -> float:
    """The mean rate; where the container states none (Ogg, IVF, some ASF), that of the codec, or
    the one in which all times are whole; 0 where that is no rate of pictures.
    """
    rate = float(stream.average_rate or stream.codec_context.framerate or stream.base_rate or 0)
    return rate if rate <= MOST_FRAMES_PER_SECOND else 0.0


def read_header(path: str) -> VideoInfo:
    """The best video stream's figures as the container declares them; size before rotation."""
    with open_container(path) as container:
        stream = video_stream(container, path)
        context = stream.codec_context
        return VideoInfo(
            num_frames=num_frames_shown(container, stream),
            fps=_frames_per_second(stream),
            width=int(context.width),
            height=int(context.height),
            codec=str(context.name),
        )
