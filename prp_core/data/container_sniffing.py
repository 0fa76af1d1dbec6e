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
# Bytes of an MPEG-TS packet, and where its sync byte stands: plain, as cameras write it behind a
# time stamp (AVCHD's .MTS, Blu-ray's .m2ts), and with an error correction behind it.
TS_PACKETS = ((188, 0), (192, 4), (204, 0))
TS_SYNC = 0x47
START_CODES = (b"\0\0\0\1", b"\0\0\1")
H264_SPS = 7
H264_SEI = 6
HEVC_SEI = b"\x4e\x01"
H264_DELIMITER = 9
H264_PROFILES = {44, 66, 77, 88, 100, 110, 118, 122, 128, 144, 244}
HEVC_FIRST_UNITS = (b"\x40\x01", b"\x46\x01")  # a video parameter set, a delimiter

# What FFmpeg calls each: it is told, and does not guess a second time.
DEMUXERS = {
    "mp4": "mov",
    "avi": "avi",
    "matroska": "matroska",
    "flv": "flv",
    "ogg": "ogg",
    "gif": "gif",
    "mpeg-ps": "mpeg",
    "mpeg-video": "mpegvideo",
    "asf": "asf",
    "mpeg-ts": "mpegts",
    "h264": "h264",
    "hevc": "hevc",
}


def sniff(head: bytes) -> str:
    """The container that begins with `head`, the file's first `HEAD_BYTES`; "" if not allowed."""
    if head[4:8] in MP4_FIRST_BOXES:
        return "mp4"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    for magic, name in MAGIC_AT_START.items():
        if head.startswith(magic):
            return name
    if any(_is_transport_stream(head, *packets) for packets in TS_PACKETS):
        return "mpeg-ts"
    return _raw_video(head)


def _is_transport_stream(head: bytes, packet_bytes: int, first: int) -> bool:
    """Whether each packet begins with the sync byte, and none is marked as damaged."""
    places = range(first, len(head) - 1, packet_bytes)
    return len(head) > 2 * packet_bytes and all(
        head[place] == TS_SYNC and not head[place + 1] & 0x80 for place in places
    )


def _raw_video(head: bytes) -> str:
    """H.264 or HEVC without a container, which begins with parameter sets or a delimiter."""
    code = next((code for code in START_CODES if head.startswith(code)), None)
    if code is None or len(head) < len(code) + 4:
        return ""
    unit = _behind_messages(head[len(code) :])
    if unit[:2] in HEVC_FIRST_UNITS:
        return "hevc"
    kind = unit[0] & 0x1F
    is_set = kind == H264_SPS and unit[1] in H264_PROFILES
    is_delimiter = kind == H264_DELIMITER and unit[1] & 0x1F == 0x10
    return "h264" if unit[0] < 0x80 and (is_set or is_delimiter) else ""


def _behind_messages(unit: bytes) -> bytes:
    """`unit` and what follows, without SEI messages before the first other unit: what comes out of
    an mp4 begins with the encoder's message.
    """
    while unit[:2] == HEVC_SEI or (unit[:1] and unit[0] == H264_SEI):
        _, _, unit = unit.partition(START_CODES[1])
    return unit if len(unit) > 1 else b"\0\0"


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
            "gif, mpeg, ts, mts, asf, and raw H.264 and HEVC",
        )
    return name
