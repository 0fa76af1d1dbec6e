"""An allow-list of containers that a decoder may open, recognised by their first bytes.

Never by the file's name: FFmpeg also opens playlists, and a playlist named ``.mp4`` makes it read
other files and the network. Anything else is "not-a-video".
"""

from __future__ import annotations

from pathlib import Path

from prp_core.errors import BrokenVideo

HEAD_BYTES = 1024

MP4_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")
MAGIC_AT_START = {
    b"\x1aE\xdf\xa3": "matroska",
    b"FLV\x01": "flv",
    b"OggS": "ogg",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"\x00\x00\x01\xba": "mpeg-ps",
    b"\x00\x00\x01\xb3": "mpeg-video",
    b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\x00\xaa\x00b\xcel": "asf",
}
TS_PACKET_BYTES = 188


def sniff(head: bytes) -> str:
    """The container that begins with `head`, the file's first `HEAD_BYTES`; "" if not allowed."""
    if head[4:8] in MP4_FIRST_BOXES:
        return "mp4"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    for magic, name in MAGIC_AT_START.items():
        if head.startswith(magic):
            return name
    if len(head) > 2 * TS_PACKET_BYTES and all(
        head[place] == 0x47 for place in range(0, len(head), TS_PACKET_BYTES)
    ):
        return "mpeg-ts"
    return ""


def check_container(path: str | Path) -> str:
    """The container of the file at `path`; raises `BrokenVideo` "empty" or "not-a-video"."""
    with Path(path).open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise BrokenVideo(str(path), "empty")
    name = sniff(head)
    if not name:
        raise BrokenVideo(
            str(path),
            "not-a-video",
            f"it begins with {head[:16]!r}; known: mp4, mov, avi, mkv, webm, flv, ogg, "
            "gif, mpeg, ts, asf",
        )
    return name
