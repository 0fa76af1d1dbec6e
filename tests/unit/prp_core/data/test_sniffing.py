"""Which first bytes a decoder may see, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from prp_core.data.container_end import is_cut_short
from prp_core.data.container_sniffing import HEAD_BYTES, check_container, sniff
from prp_core.data.decode_process import DecodeProcess
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.readers.decode_server import Progress, inspect
from prp_core.data.readers.header import read_header
from prp_core.errors import BrokenVideo
from tests.video_factory import (
    ENCODINGS,
    Encoding,
    cut_short,
    make_video,
    picture,
    remuxed,
    shown_numbers,
    with_index_first,
    write_playlist,
)

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
    "messages and nothing else": b"\0\0\0\1\6\5\2ab\x80\0\0\1\6",
    "text behind a message": b"\0\0\0\1\6\5\2ab\x80\0\0\1#EXTM3U\n",
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


def test_raw_video_may_begin_with_messages() -> None:
    """As what ``ffmpeg -c copy`` takes out of an mp4 does: x264 writes its settings there."""
    message = b"\0\0\1\6\5\x02ab\x80"
    assert sniff(message + message + b"\0\0\1\x67\x64\0\x0a") == "h264"
    assert sniff(b"\0\0\0\1\x4e\1\5\1a\x80\0\0\0\1\x40\1\x0c") == "hevc"


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


def _as_to_a_pipe(avi: bytes) -> bytes:
    """The sizes and the count of frames that FFmpeg's muxer could not go back to."""
    index = avi.index(b"idx1")
    data = bytearray(avi[:index])
    for place in (0, data.index(b"movi") - 8):
        data[place + 4 : place + 8] = b"\xff" * 4
    length = data.index(b"strh") + 8 + 32
    data[length : length + 4] = (1 << 30).to_bytes(4, "little")
    return bytes(data)


def test_each_gigabyte_of_an_avi_is_a_list_of_its_own(tmp_path: Path) -> None:
    """OpenDML: of the files that were tried (1.3 GB) the lists, without what is in them."""
    path = tmp_path / "a.avi"
    data = b"".join(
        b"RIFF" + (4 + 1000).to_bytes(4, "little") + kind + bytes(1000)
        for kind in (b"AVI ", b"AVIX", b"AVIX")
    )
    for size, is_short in {len(data): False, len(data) - 1: True, 1500: True, 1012: False}.items():
        path.write_bytes(data[:size])
        assert is_cut_short(path) == is_short, size
    path.write_bytes(data + bytes(5000))
    assert not is_cut_short(path)


STREAMED = {
    "fragments": (Encoding(), ".mp4", {"movflags": "frag_keyframe+empty_moov"}),
    "live Matroska": (Encoding(), ".mkv", {"live": "1", "cluster_time_limit": "400"}),
    "Matroska, one segment": (Encoding(), ".mkv", {}),
    "AVI, to a pipe": (
        Encoding(codec="mpeg4", suffix=".avi", options={"b": "3M"}),
        ".avi",
        {},
    ),
    "FLV": (Encoding(codec="flv", suffix=".flv"), ".flv", {}),
    "Ogg": (Encoding(codec="libvpx", suffix=".webm"), ".ogg", {}),
    "GIF": (Encoding(codec="gif", suffix=".gif", pixel_format="rgb8"), ".gif", {}),
}


@pytest.mark.parametrize(("encoding", "suffix", "options"), STREAMED.values(), ids=STREAMED)
def test_a_lost_tail_and_a_hole_are_told_and_bytes_behind_the_end_are_not(
    tmp_path: Path, encoding: Encoding, suffix: str, options: dict[str, str]
) -> None:
    """Demuxers pass over all that is no element, and the frames in it are missed by nobody."""
    made = make_video(tmp_path / f"made{encoding.suffix}", 40, encoding=encoding)
    data = remuxed(made, tmp_path / f"a{suffix}", **options).read_bytes()
    if suffix == ".avi":
        data = _as_to_a_pipe(data)
    path = tmp_path / "video"

    def judged(content: bytes) -> int | str:
        path.write_bytes(content)
        try:
            return int(
                inspect("pyav", str(path), 1 << 20, 1 << 30, Progress(lambda said: None))[
                    "num_frames"
                ]
            )
        except BrokenVideo as error:
            return error.reason

    noise = np.random.default_rng(0).bytes(100_000)
    for tail in (bytes(3000), b"sent by a server\n", b"\xff" * 300, noise):
        assert judged(data + tail) == 40
    for share in (0.4, 0.7, 0.97):
        assert judged(data[: int(share * len(data))]) == "truncated", share
    half = len(data) // 2
    if suffix != ".mp4":  # its index tells where each frame lies, whatever lies between
        assert judged(data[:half] + bytes(1500) + data[half + 1500 :]) == "truncated"


@pytest.mark.parametrize(
    ("encoding", "num_frames"),
    [(Encoding(suffix=".ts"), 1), (Encoding(codec="wmv2", suffix=".wmv"), 3)],
)
def test_the_rate_of_a_container_that_states_none(
    tmp_path: Path, encoding: Encoding, num_frames: int
) -> None:
    """That of the codec, or of the clock; Theora in Ogg is such a video, too."""
    path = make_video(tmp_path / f"a{encoding.suffix}", num_frames, encoding=encoding)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate is None
    assert read_header(str(path)).fps == 25


def test_dropped_frames_are_no_frames_and_no_part_of_the_rate(tmp_path: Path) -> None:
    """An AVI has an empty chunk for each, other containers nothing; all state the clock's rate."""
    encoding = Encoding(codec="mpeg4", num_b_frames=1)
    avi, mkv = (
        make_video(tmp_path / name, 20, fps=50, encoding=encoding, ticks=range(0, 80, 4))
        for name in ("a.avi", "a.mkv")
    )
    with DecodeProcess(LoaderConfig()) as process:
        for path in (mkv, avi):
            info = process.inspect(path)
            assert (info.num_frames, read_header(str(path)).fps) == (20, 50)
            assert info.fps == pytest.approx(12.5, rel=0.05)  # an AVI mixes up the times of B
        cut_short(path, 0.7)
        with pytest.raises(BrokenVideo, match="truncated"):
            process.inspect(path)


def _camera_packets(stream: bytes) -> bytes:
    """A transport stream as AVCHD cameras write it: four bytes of time before each packet."""
    return b"".join(b"\0\1\2\3" + stream[at : at + 188] for at in range(0, len(stream), 188))


def test_cameras_streams_and_raw_video_are_decoded(tmp_path: Path) -> None:
    stream = make_video(tmp_path / "a.ts", 12, encoding=Encoding(suffix=".ts"))
    camera = tmp_path / "a.MTS"
    camera.write_bytes(_camera_packets(stream.read_bytes()))
    raw = make_video(tmp_path / "a.h264", 12, encoding=Encoding(container="h264"))
    x265 = {"x265-params": "log-level=none:pools=1:frame-threads=1"}
    hevc = make_video(
        tmp_path / "a.bin", 12, encoding=Encoding(codec="libx265", container="hevc", options=x265)
    )
    kinds = [check_container(path) for path in (camera, raw, hevc)]
    assert kinds == ["mpeg-ts", "h264", "hevc"]
    with DecodeProcess(LoaderConfig()) as process:
        for path in (stream, camera, raw, hevc):
            assert process.inspect(path).num_frames == 12
            assert shown_numbers(process.read(path, [3, 11], num_frames=12)) == [3, 11]


def test_ffmpeg_is_told_the_format_that_was_recognised(tmp_path: Path) -> None:
    """1.2 KB of text with a G at each 188th place pass as a transport stream; FFmpeg's own guess is
    a list of network streams."""
    text = bytearray((b"v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n" * 60)[:1504])
    text[::188] = b"G" * len(text[::188])
    path = tmp_path / "text.ts"
    path.write_bytes(text)
    assert check_container(path) == "mpeg-ts"
    for reader in ("pyav", "decord"):
        with (
            DecodeProcess(LoaderConfig(reader=reader)) as process,
            pytest.raises(BrokenVideo) as caught,
        ):
            process.read(path, [0])
        expected = {"pyav": "undecodable", "decord": "not-a-video"}
        assert caught.value.reason == expected[reader]


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    for with_video in (False, True):
        path = tmp_path / "song.mp4"
        with av.open(str(path), "w") as container:
            sound = container.add_stream("aac", rate=8000)
            film: Any = container.add_stream("mpeg4", rate=25) if with_video else None
            cover: Any = container.add_stream("mjpeg", rate=1)
            cover.disposition = Disposition.attached_pic
            for stream, size, kind in (
                (film, (96, 64), "yuv420p"),
                (cover, (640, 480), "yuvj420p"),
            ):
                if stream is not None:
                    stream.width, stream.height = size
                    stream.pix_fmt = kind
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 8000), np.float32), format="fltp", layout="mono"
            )
            silence.rate = 8000
            container.mux([*sound.encode(silence), *sound.encode()])
            for stream, size, count in ((film, (96, 64), 12), (cover, (640, 480), 1)):
                for number in range(count if stream is not None else 0):
                    frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")
                    container.mux(stream.encode(frame))
                if stream is not None:
                    container.mux(stream.encode())
        with DecodeProcess(LoaderConfig()) as process:
            if with_video:
                info = process.inspect(path)
                assert (info.num_frames, info.width, info.codec) == (12, 96, "mpeg4")
                continue
            with pytest.raises(BrokenVideo, match="none of them video, but a cover picture"):
                process.inspect(path)
