"""Selective decoding: equal to a full decode on every kind of stream, or not attempted."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from prp_core.data.dilated_sampling import needed_positions
from prp_core.data.readers.decode_server import Progress, inspect
from prp_core.data.readers.frame_arrays import copy_planes
from prp_core.data.readers.pyav_reader import PyavReader
from prp_core.data.readers.segment_decode import SegmentDecode
from prp_core.data.readers.selective_decode import SelectiveDecode
from prp_core.data.readers.sequential_reader import SequentialReader
from prp_core.errors import BrokenVideo
from tests.video_factory import (
    SELECTIVE,
    SEQUENTIAL,
    Encoding,
    cut_without_reencoding,
    make_packed_b_frames,
    make_video,
    shown_numbers,
    with_display_matrix,
    with_edit_list,
    with_packet,
)

NUM_FRAMES = 90


def _questions(num_frames: int, seed: int, count: int) -> list[list[int]]:
    """Frames as the sampler asks for them, and some that it never would, in no order of time."""
    draw = random.Random(seed)
    questions = []
    for number in range(count):
        length, rate = draw.choice([8, 16]), [1, 2, 4, 8][number % 4]
        start = draw.randrange(max(1, num_frames - length * rate + 1))
        positions = needed_positions(length, rate, 2, draw.random() < 0.5)
        questions.append(sorted({min(start + position, num_frames - 1) for position in positions}))
        questions.append(
            sorted(draw.sample(range(num_frames), draw.randint(1, min(6, num_frames))))
        )
    return questions


def check_selective_decode(path: Path, *, seed: int, count: int = 6) -> PyavReader:
    """One handle through all questions, RGB and planes; the handle."""
    every_NHWC = np.stack(list(SequentialReader(str(path)).frames()))
    planes_NHW = _all_planes(path)
    reader = PyavReader(str(path))
    for indices in _questions(len(every_NHWC), seed, count):
        np.testing.assert_array_equal(
            reader.read(indices, len(every_NHWC)),
            every_NHWC[indices],
            err_msg=f"{path.name}: {indices}",
        )
        planes = reader.read_planes(indices, len(every_NHWC))
        if planes is not None:
            np.testing.assert_array_equal(
                planes.planes_NHW, planes_NHW[indices], err_msg=f"{path.name}: {indices}"
            )
    return reader


def _all_planes(path: Path) -> np.ndarray:
    """The planes of a full decode; empty where they are not of our kind."""
    with av.open(str(path)) as container:
        decoded = container.decode(container.streams.best("video"))
        frames = [
            frame
            for frame in decoded
            if frame.format.name in ("yuv420p", "yuvj420p") and frame.width % 2 == 0
        ]
    planes_NHW = np.zeros(
        (len(frames), frames[0].height * 3 // 2, frames[0].width) if frames else (0, 0, 0), np.uint8
    )
    for target_HW, frame in zip(planes_NHW, frames, strict=True):
        copy_planes(frame, target_HW)
    return planes_NHW


@pytest.mark.parametrize("name", SELECTIVE)
def test_chosen_packets_give_the_frames_of_a_full_decode(name: str, tmp_path: Path) -> None:
    path = make_video(
        tmp_path / f"video{SELECTIVE[name].suffix}", NUM_FRAMES, encoding=SELECTIVE[name]
    )
    reader = check_selective_decode(path, seed=len(name))
    assert reader.is_selective, "this stream can be proved safe"
    is_planar = SELECTIVE[name].pixel_format == "yuv420p" and "interlaced" not in name
    assert (reader.read_planes([0, 50]) is not None) == is_planar


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_streams_that_cannot_be_proved_are_decoded_whole(name: str, tmp_path: Path) -> None:
    path = make_video(
        tmp_path / f"video{SEQUENTIAL[name].suffix}", NUM_FRAMES, encoding=SEQUENTIAL[name]
    )
    assert not check_selective_decode(path, seed=len(name), count=3).is_selective


@pytest.mark.parametrize(("num_b_frames", "keyframe_every"), [(1, 300), (2, 12), (3, 50)])
def test_packed_b_frames_are_unpacked_first(
    num_b_frames: int, keyframe_every: int, tmp_path: Path
) -> None:
    path = make_packed_b_frames(
        tmp_path / "packed.avi", 91, num_b_frames=num_b_frames, keyframe_every=keyframe_every
    )
    reader = check_selective_decode(path, seed=num_b_frames)
    decode = SelectiveDecode(str(path))
    assert reader.is_selective and decode.index is not None
    assert len(decode.index.layout.disposable) > 40, "there are B-frames to leave out"


def test_disposable_packets_stay_out_of_the_decoder(tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "video.avi", NUM_FRAMES, encoding=SELECTIVE["MPEG-4 in AVI, GOP 250, B"]
    )
    index = SelectiveDecode(str(path)).index
    assert index is not None
    assert len(index.runs([60])[0]) < 30, "frame 60 needs the third of the packets before it"
    path = make_video(tmp_path / "video.mp4", NUM_FRAMES, encoding=SELECTIVE["h264"])
    index = SelectiveDecode(str(path)).index
    assert index is not None
    assert index.runs([61]) == [[60, 61]] and index.runs([0, 61]) == [[0], [60, 61]], (
        "GOPs of 12, of no use to each other"
    )


def test_a_count_that_was_verified_otherwise_wins(tmp_path: Path) -> None:
    path = make_video(tmp_path / "video.mp4", 30)
    reader = PyavReader(str(path))
    reader.read([3], 30)
    assert reader.is_selective
    frames_NHWC = reader.read([3], 29)
    assert not reader.is_selective
    np.testing.assert_array_equal(frames_NHWC, SequentialReader(str(path)).read([3]))


def test_a_packet_that_decodes_otherwise_than_it_says_ends_in_a_full_decode(tmp_path: Path) -> None:
    """Headers intact, picture data damaged: the result is that of a full decode."""
    path = make_video(
        tmp_path / "video.avi", NUM_FRAMES, encoding=SELECTIVE["MPEG-4 in AVI, GOP 12, B"]
    )
    data = bytearray(path.read_bytes())
    draw = random.Random(3)
    begin = data.index(b"movi") + 2000
    for _ in range(12):
        data[draw.randrange(begin, len(data) * 3 // 4)] ^= 0x5A
    path.write_bytes(data)
    reader = PyavReader(str(path))
    try:
        every_NHWC = np.stack(list(SequentialReader(str(path)).frames()))
    except BrokenVideo:
        with pytest.raises(BrokenVideo):
            reader.read(list(range(NUM_FRAMES)))
        return
    np.testing.assert_array_equal(
        reader.read(list(range(len(every_NHWC))), len(every_NHWC)), every_NHWC
    )


# What cameras, recorders and other people's encoders make: (encoding, width and height, ticks).
EVERY = range(NUM_FRAMES)
UNUSUAL = {
    "starts late": (Encoding(num_b_frames=2), (96, 64), [50 + n for n in EVERY]),
    "starts late in AVI": (
        Encoding(codec="mpeg4", suffix=".avi", num_b_frames=1),
        (96, 64),
        [9 + n for n in EVERY],
    ),
    "variable frame rate": (Encoding(num_b_frames=2), (96, 64), [n + n // 7 for n in EVERY]),
    "long gap": (
        Encoding(suffix=".mkv", keyframe_every=30),
        (96, 64),
        [n + 500 * (n > 40) for n in EVERY],
    ),
    "odd size": (Encoding(pixel_format="yuv444p", num_b_frames=2), (95, 63), None),
    "odd width, MPEG-2": (Encoding(codec="mpeg2video", num_b_frames=2), (95, 64), None),
    "odd size, MPEG-4": (Encoding(codec="mpeg4", suffix=".avi", num_b_frames=2), (95, 63), None),
    "full range": (Encoding(pixel_format="yuvj420p", num_b_frames=2), (96, 64), None),
    "VP9, 4:4:4, odd size": (
        Encoding(
            codec="libvpx-vp9",
            suffix=".webm",
            pixel_format="yuv444p",
            options={"cpu-used": "8", "deadline": "realtime"},
        ),
        (95, 63),
        None,
    ),
    "VP8 with transparency": (
        Encoding(
            codec="libvpx",
            suffix=".webm",
            pixel_format="yuva420p",
            options={"auto-alt-ref": "0"},
        ),
        (96, 64),
        None,
    ),
    "HEVC, 4:4:4, 10 bit": (
        Encoding(
            codec="libx265",
            pixel_format="yuv444p10le",
            options={"x265-params": "log-level=none:pools=1:frame-threads=1"},
        ),
        (96, 64),
        None,
    ),
    "animated picture": (Encoding(codec="gif", suffix=".gif", pixel_format="rgb8"), (96, 64), None),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_videos(name: str, tmp_path: Path) -> None:
    encoding, size, ticks = UNUSUAL[name]
    path = tmp_path / f"video{encoding.suffix}"
    make_video(path, NUM_FRAMES, size=size, encoding=encoding, ticks=ticks)
    check_selective_decode(path, seed=1, count=2)


X265 = "log-level=none:pools=1:frame-threads=1"
SEGMENTED = {
    "HEVC, open GOPs": Encoding(
        codec="libx265", num_b_frames=3, options={"x265-params": f"{X265}:keyint=12:open-gop=1"}
    ),
    "HEVC, closed GOPs": Encoding(
        codec="libx265", num_b_frames=3, options={"x265-params": f"{X265}:keyint=12:open-gop=0"}
    ),
    "HEVC, 10 bit, in Matroska": Encoding(
        codec="libx265",
        suffix=".mkv",
        pixel_format="yuv420p10le",
        num_b_frames=2,
        options={"x265-params": f"{X265}:keyint=12"},
    ),
    "VP9, hidden frames": Encoding(
        codec="libvpx-vp9",
        suffix=".webm",
        options={"auto-alt-ref": "1", "lag-in-frames": "8", "cpu-used": "5"},
    ),
    "AV1": Encoding(codec="libsvtav1", suffix=".mkv", options={"preset": "12"}),
    "VP8, segments": Encoding(
        codec="libvpx",
        suffix=".mkv",
        options={
            "deadline": "realtime",
            "cpu-used": "8",
            "error-resilient": "1",
            "static-thresh": "100",
            "b": "20k",
        },
    ),
    "MPEG-2, open GOPs": Encoding(
        codec="mpeg2video", suffix=".mpg", num_b_frames=2, container="mpeg"
    ),
    "MPEG-2, interlaced": Encoding(
        codec="mpeg2video",
        suffix=".mpg",
        num_b_frames=2,
        container="mpeg",
        options={"flags": "+ildct+ilme"},
    ),
    "MPEG-1 in AVI": Encoding(codec="mpeg1video", suffix=".avi"),
}


@pytest.mark.parametrize("name", SEGMENTED)
def test_frames_behind_a_safe_keyframe_are_those_of_a_full_decode(
    name: str, tmp_path: Path
) -> None:
    encoding = SEGMENTED[name]
    path = make_video(tmp_path / f"a{encoding.suffix}", 40, encoding=encoding)
    sequential = SequentialReader(str(path))
    whole = np.stack(list(sequential.frames()))
    sequential.close()
    assert len(whole) == 40
    decode = SegmentDecode(str(path))
    assert len(decode.starts) >= 3, decode.starts
    decode.close()
    for indices in ([39], [0, 1, 2], [11, 12, 13], list(range(5, 40, 3)), [10, 38], range(40)):
        reader = PyavReader(str(path))
        np.testing.assert_array_equal(reader.read(indices, 40), whole[list(indices)])
        np.testing.assert_array_equal(reader.read([20], 40), whole[[20]])
        assert reader.is_selective
        reader.close()
    reader = PyavReader(str(path))
    np.testing.assert_array_equal(reader.read([39], 0), whole[[39]])  # no count was verified
    assert not reader.is_selective
    reader.close()


def test_frames_of_vp8_that_are_only_referred_to_are_not_counted(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.webm", 40, encoding=Encoding(codec="libvpx", suffix=".webm"))
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0)]
    for number in (5, 17, 18):
        hidden = bytes([packets[number][0] & ~0x10]) + packets[number][1:]
        path = with_packet(path, tmp_path / f"{number}.webm", number, hidden)
    whole = np.stack(list(SequentialReader(str(path)).frames()))
    assert shown_numbers(whole) == [n for n in range(40) if n not in (5, 17, 18)]
    reader = PyavReader(str(path))
    for indices in (range(4, 8), [11], [14, 15, 16], range(20, 37), [36]):
        np.testing.assert_array_equal(reader.read(indices, 37), whole[list(indices)])
    assert reader.is_selective and reader.num_frames_to_read_one(37) == 12


@pytest.mark.parametrize("turn", [(1, 0, 0, 1), (0, 1, -1, 0)], ids=["upright", "turned"])
@pytest.mark.parametrize("name", ["h264, B", "MPEG-4 in mp4, B", "HEVC, closed GOPs"])
def test_what_an_edit_list_hides_and_how_frames_are_turned_costs_no_decode_from_the_start(
    name: str, turn: tuple[int, int, int, int], tmp_path: Path
) -> None:
    encoding = {**SELECTIVE, **SEGMENTED, "h264, B": Encoding(num_b_frames=3)}[name]
    whole = make_video(tmp_path / "whole.mp4", 60, encoding=encoding)
    cut = with_display_matrix(cut_without_reencoding(whole, tmp_path / "cut.mp4", 20), *turn)
    assert check_selective_decode(cut, seed=1, count=3).is_selective
    reader = PyavReader(str(cut))
    assert reader.read([0, 39], 40).shape == ((2, 64, 96, 3) if turn[0] else (2, 96, 64, 3))
    assert 2 <= reader.num_frames_to_read_one(40) <= 16, "one group of pictures, no more"


@pytest.mark.parametrize("name", ["h264, open GOPs", "HEVC, open GOPs"])
def test_each_part_of_an_edit_list_is_decoded_by_itself(name: str, tmp_path: Path) -> None:
    """What the decoder holds of one part has no room in the next: `ffmpeg` loses frames so."""
    encoding = {**SELECTIVE, **SEGMENTED}[name]
    whole = make_video(tmp_path / "whole.mp4", 40, encoding=encoding)
    ones = [(number, number + 1) for number in range(40)]
    for parts in (ones, ones[::-1], [(25, 33), (5, 8), (17, 19), (31, 32)]):
        listed = with_edit_list(whole, tmp_path / "listed.mp4", parts)
        shown = [number for begin, end in parts for number in range(begin, end)]
        progress = Progress(lambda _: None)
        info = inspect("pyav", str(listed), 10**6, 1, progress)
        assert info["num_frames"] == len(shown)
        assert progress.pixels > 2 * len(shown) * 96 * 64, "what is hidden is decoded, too"
        reader = PyavReader(str(listed))
        wanted = range(0, len(shown), 3)
        assert shown_numbers(reader.read(wanted, len(shown))) == [shown[at] for at in wanted]
        assert reader.is_selective == name.startswith("HEVC")
        reader.close()


def test_motion_jpeg_with_exif_data_comes_as_it_says(tmp_path: Path) -> None:
    """A camera writes its make and the orientation into each picture: side data of a kind that PyAV
    has no name for.
    """
    plain = make_video(tmp_path / "plain.avi", 3, encoding=SEQUENTIAL["Motion JPEG"])
    tags = struct.pack("<HHHII", 1, 0x0112, 3, 1, 8) + bytes(4)  # turned left
    exif = b"Exif\0\0II*\0\x08\0\0\0" + tags
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    turned = tmp_path / "turned.avi"
    with av.open(str(plain)) as source, av.open(str(turned), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                picture = av.Packet(bytes(packet)[:2] + segment + bytes(packet)[2:])
                picture.pts = picture.dts = packet.dts
                picture.time_base = packet.time_base
                picture.stream = copy
                target.mux(picture)
    upright = PyavReader(str(plain)).read([0, 2])
    np.testing.assert_array_equal(
        PyavReader(str(turned)).read([0, 2]), np.rot90(upright, axes=(1, 2))
    )
