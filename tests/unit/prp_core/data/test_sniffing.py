"""Which first bytes a decoder may see, as a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from prp_core.data.container_end import is_cut_short
from prp_core.data.container_sniffing import HEAD_BYTES, check_container, sniff
from prp_core.errors import BrokenVideo
from tests.video_factory import ENCODINGS, Encoding, make_video, with_index_first, write_playlist

CONTAINERS = {
    ".mp4": "mp4",
    ".avi": "avi",
    ".mkv": "matroska",
    ".webm": "matroska",
    ".mpg": "mpeg-ps",
    ".flv": "flv",
    ".ts": "mpeg-ts",
    ".mov": "mp4",
}

REFUSED = {
    "HLS playlist": b"#EXTM3U\n#EXTINF:10,\nhttp://example.com/x.ts\n",
    "concat script": b"ffconcat version 1.0\nfile /etc/hostname\n",
    "DASH": b'<?xml version="1.0"?><MPD></MPD>',
    "SDP": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
    "wave sound": b"RIFF\x24\0\0\0WAVEfmt ",
    "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "one byte of a stream": b"\x47",
    "text that starts with G": b"G" * 100,
    "nothing": b"",
}


@pytest.mark.parametrize(
    "encoding", [*ENCODINGS.values(), Encoding(suffix=".ts"), Encoding(suffix=".mov")]
)
def test_real_containers_are_told_by_content(tmp_path: Path, encoding: Encoding) -> None:
    path = make_video(tmp_path / f"video{encoding.suffix}", 12, encoding=encoding)
    assert (
        check_container(path.rename(tmp_path / "name-says-nothing.txt"))
        == CONTAINERS[encoding.suffix]
    )


@pytest.mark.parametrize("head", REFUSED.values(), ids=REFUSED.keys())
def test_everything_else_is_refused(head: bytes) -> None:
    assert sniff(head[:HEAD_BYTES]) == ""


def test_the_errors_name_the_first_bytes(tmp_path: Path) -> None:
    with pytest.raises(BrokenVideo, match=r"not-a-video \(it begins with b'#EXTM3U"):
        check_container(write_playlist(tmp_path / "film.mp4", tmp_path / "other"))
    (tmp_path / "empty.avi").touch()
    with pytest.raises(BrokenVideo, match="empty"):
        check_container(tmp_path / "empty.avi")


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_lost_tail_shows_in_the_boxes(tmp_path: Path, suffix: str) -> None:
    path = make_video(
        tmp_path / f"video{suffix}", 30, encoding=Encoding(codec="mpeg4", suffix=suffix)
    )
    if suffix == ".mp4":
        with_index_first(path)
    assert not is_cut_short(path)
    data = path.read_bytes()
    for share in (0.2, 0.5, 0.99):
        path.write_bytes(data[: int(len(data) * share)])
        assert is_cut_short(path), share
