"""Frames through shared memory: equal to those of a socket, in three copies, and behind seals."""

from __future__ import annotations

import fcntl
import gc
import os
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from prp_core.data import decode_process, frame_memory
from prp_core.data.decode_limits import FrameShape
from prp_core.data.decode_process import DecodeProcess
from prp_core.data.frame_memory import FrameMemory, Place, Segment
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.readers.frame_arrays import RgbConverter
from prp_core.data.readers.reply_memory import ReplyMemory
from prp_core.data.readers.sequential_reader import SequentialReader
from prp_core.data.readers.video_reader import YuvPlanes
from prp_core.data.transfer import pack_frames
from prp_core.errors import BrokenVideo
from tests.video_factory import ENCODINGS, make_video

SHAPE = FrameShape(64, 96)
ORDERS = ([2, 3, 9, 17], [17, 9, 3, 2], [9, 2, 9, 17], [5])


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("memory") / "a.mp4", 20)


@pytest.fixture
def fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that refuses such memory, as a sandbox may."""

    def refuse(num_bytes: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(frame_memory, "_anonymous_file", refuse)


def _is_shared(array: np.ndarray) -> bool:
    """Whether the memory of `array` is a segment's, and not an array's own."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.base is not None and not array.flags.owndata


@pytest.mark.parametrize("frames_of_a_part", [3, 1000])
def test_frames_are_those_of_the_socket_in_any_order(
    video: Path, monkeypatch: pytest.MonkeyPatch, frames_of_a_part: int
) -> None:
    monkeypatch.setattr(decode_process, "frames_of_a_reply", lambda *_: frames_of_a_part)
    with (
        DecodeProcess(LoaderConfig()) as shared,
        DecodeProcess(LoaderConfig(), shares_memory=False) as sent,
    ):
        for order in ORDERS:
            ours = shared.read(video, order, num_frames=20, shape=SHAPE)
            theirs = sent.read(video, order, num_frames=20, shape=SHAPE)
            np.testing.assert_array_equal(ours, theirs)
            assert _is_shared(ours) is (sorted(set(order)) in (order, order[::-1])), order
            planes = shared.read_planes(video, order, num_frames=20, shape=SHAPE)
            other = sent.read_planes(video, order, num_frames=20, shape=SHAPE)
            assert isinstance(planes, YuvPlanes) and isinstance(other, YuvPlanes)
            np.testing.assert_array_equal(planes.planes_NHW, other.planes_NHW)
        np.testing.assert_array_equal(
            shared.read_next(video, 4, 9, shape=SHAPE), sent.read_next(video, 4, 9, shape=SHAPE)
        )
        assert shared.num_bytes_sent == 0 < sent.num_bytes_sent


def test_without_such_memory_frames_come_over_the_socket(video: Path, fallback: None) -> None:
    whole = np.stack(list(SequentialReader(str(video)).frames()))
    with DecodeProcess(LoaderConfig()) as process:
        frames = process.read(video, [17, 9, 3, 2], num_frames=20, shape=SHAPE)
        np.testing.assert_array_equal(frames, whole[[17, 9, 3, 2]])
        assert process.num_bytes_sent == frames.nbytes


def test_frames_stay_while_they_are_held_and_their_memory_is_used_again(video: Path) -> None:
    whole = np.stack(list(SequentialReader(str(video)).frames()))
    with DecodeProcess(LoaderConfig()) as process:
        first = torch.from_numpy(process.read(video, [1, 2], num_frames=20, shape=SHAPE))[:1]
        second = process.read(video, [3, 4], num_frames=20, shape=SHAPE)
        places = {first.data_ptr(), second.ctypes.data}
        assert len(places) == 2 and np.array_equal(first[0].numpy(), whole[1])
        del first, second
        third = process.read(video, [5, 6], num_frames=20, shape=SHAPE)
        assert third.ctypes.data in places
        process.close()
        np.testing.assert_array_equal(third, whole[[5, 6]])
        again = process.read(video, [7, 8], num_frames=20, shape=SHAPE)
        assert again.ctypes.data != third.ctypes.data, "no other process's memory is lent"
        np.testing.assert_array_equal(third, whole[[5, 6]])


def test_three_copies_bring_a_picture_to_the_device(video: Path) -> None:
    """The converter's picture to shared memory, that to the packed batch, that to the device."""
    picture = av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), format="rgb24")
    converted = RgbConverter().array(picture.reformat(format="yuv420p"), 96, 64)
    assert _is_shared(converted), "no array of its own"
    lent = np.zeros((2, 64, 96, 3), np.uint8)
    reader = SequentialReader(str(video))
    assert reader.read([0, 1], allocate=lambda shape: lent) is lent and lent.any()
    with DecodeProcess(LoaderConfig()) as process:
        frames = process.read(video, [0, 1], num_frames=20, shape=SHAPE)
        assert _is_shared(frames) and process.num_bytes_sent == 0
        stored = torch.from_numpy(frames)
        assert stored.data_ptr() == frames.ctypes.data
        packed = pack_frames([stored], lambda count: torch.empty(count, dtype=torch.uint8))
        assert np.array_equal(packed.packed.numpy(), lent.reshape(-1))


def test_a_decoder_cannot_change_the_size_of_what_it_was_lent() -> None:
    segment = Segment(1 << 20)
    for size in (0, 4096, 1 << 21):
        with pytest.raises(PermissionError):
            os.ftruncate(segment.descriptor, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(segment.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    assert fcntl.fcntl(segment.descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_a_reply_is_held_to_what_was_lent() -> None:
    lent = FrameMemory().lend(2 * 64 * 96 * 3)
    assert lent is not None
    place = Place(2, lent)
    assert place.frames("a", (2, 64, 96, 3)).shape == (2, 64, 96, 3)
    for liar in (Place(2), Place(2, lent, first_row=1), Place(1, lent, first_row=2)):
        shape = (liar.count, 64, 96, 3)
        with pytest.raises(BrokenVideo, match="names memory that it was not lent"):
            liar.frames("a", shape)


def test_frames_larger_than_what_was_lent_are_sent(video: Path, tmp_path: Path) -> None:
    """A file that was exchanged for one of larger pictures is refused as ever."""
    large = make_video(tmp_path / "large.mp4", 20, size=(192, 128))
    with DecodeProcess(LoaderConfig()) as process:
        with pytest.raises(BrokenVideo, match="frames are 192 x 128, the manifest says 96 x 64"):
            process.read(large, [0, 1], num_frames=20, shape=SHAPE)
        assert process.read(video, [0], num_frames=20, shape=SHAPE).shape == (1, 64, 96, 3)
    segment = Segment(1 << 20)
    memory = ReplyMemory(os.dup(segment.descriptor), first_row=1)
    assert not memory.holds(memory.allocate((2, 1024, 1024, 3)))
    assert memory.holds(memory.allocate((2, 64, 96, 3)))
    memory.close()


def test_a_process_lends_a_share_of_its_descriptors_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_memory.resource, "getrlimit", lambda _: (64, 64))
    memory = FrameMemory(num_clients=4)
    assert memory.most_segments == 2
    held = [memory.lend(1000) for _ in range(3)]
    assert [lent is None for lent in held] == [False, False, True]
    held.clear()
    assert memory.lend(5 << 20) is not None and memory.num_segments == 2
    monkeypatch.setattr(frame_memory, "MOST_UNUSED_BYTES", 0)
    assert memory.lend(1000) is not None and memory.num_segments <= 2


def test_decoded_pictures_are_freed_without_the_garbage_collector(tmp_path: Path) -> None:
    """The side data of a picture would hold it in a circle."""
    path = make_video(tmp_path / "b.avi", 12, encoding=ENCODINGS["MPEG-4 in AVI, GOP 12"])
    reader = SequentialReader(str(path))
    gc.collect()
    gc.disable()
    try:
        assert len(list(reader.frames())) == 12
        left = [one for one in gc.get_objects() if isinstance(one, av.VideoFrame) and one.width]
    finally:
        gc.enable()
    assert left == []
