"""The contract of every reader in `READERS`: frame n is the n-th of a full decode, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prp_core.data.readers import READERS
from prp_core.data.readers.header import read_header
from prp_core.errors import BrokenVideo
from tests.video_factory import (
    ENCODINGS,
    cut_short,
    make_packed_b_frames,
    make_video,
    shown_numbers,
    with_display_matrix,
    with_index_first,
)

NUM_FRAMES = 60
QUESTIONS = (
    (0,),
    (59,),
    (36, 37),
    (0, 12, 24, 36, 48),
    (2, 24, 26, 48, 54, 56),
    (3, 5, 23, 54, 55, 56),
    tuple(range(13, 47)),
    (5,),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readers")


def _video(folder: Path, name: str) -> Path:
    path = folder / f"{name.replace(' ', '_')}{ENCODINGS[name].suffix}"
    return path if path.exists() else make_video(path, NUM_FRAMES, encoding=ENCODINGS[name])


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("reader_name", READERS)
def test_random_access_is_the_full_decode_bit_for_bit(
    reader_name: str, name: str, folder: Path
) -> None:
    path = str(_video(folder, name))
    every_NHWC = np.stack(list(READERS[reader_name](path).frames()))
    assert every_NHWC.dtype == np.uint8 and every_NHWC.shape == (NUM_FRAMES, 64, 96, 3)
    assert shown_numbers(every_NHWC) == list(range(NUM_FRAMES)), (
        "the frames of the full decode are those that were encoded"
    )
    one_handle = READERS[reader_name](path)
    for indices in QUESTIONS:
        for reader in (one_handle, READERS[reader_name](path)):
            np.testing.assert_array_equal(
                reader.read(indices), every_NHWC[list(indices)], err_msg=f"{indices}"
            )


@pytest.mark.parametrize("name", ENCODINGS)
def test_readers_agree_on_every_frame(name: str, folder: Path) -> None:
    path = str(_video(folder, name))
    decoded = {
        reader_name: np.stack(list(open_reader(path).frames())).astype(int)
        for reader_name, open_reader in READERS.items()
    }
    first = decoded.pop("decord")
    for frames_NHWC in decoded.values():
        assert np.abs(first - frames_NHWC).mean() < 1.0, (
            "libraries round colours differently, by less than a grey level"
        )


@pytest.mark.parametrize("reader_name", READERS)
def test_packed_b_frames_come_in_order(reader_name: str, folder: Path) -> None:
    path = str(make_packed_b_frames(folder / f"packed-{reader_name}.avi"))
    assert shown_numbers(np.stack(list(READERS[reader_name](path).frames()))) == list(range(41))
    assert shown_numbers(READERS[reader_name](path).read([7, 20, 39])) == [7, 20, 39]


@pytest.mark.parametrize("reader_name", READERS)
def test_frames_that_are_not_there_are_not_made_up(reader_name: str, folder: Path) -> None:
    path = str(_video(folder, "h264"))
    with pytest.raises(BrokenVideo) as caught:
        READERS[reader_name](path).read([10, NUM_FRAMES])
    assert caught.value.reason == "truncated"
    one = str(make_video(folder / f"one-{reader_name}.mp4", 1))
    assert len(list(READERS[reader_name](one).frames())) == 1
    with pytest.raises(BrokenVideo):
        READERS[reader_name](one).read(list(range(16)))


@pytest.mark.parametrize("reader_name", READERS)
def test_a_lost_tail_is_never_the_last_frame_again(reader_name: str, folder: Path) -> None:
    path = make_video(folder / f"cut-{reader_name}.mp4", NUM_FRAMES)
    cut_short(with_index_first(path), 0.7)
    frames: list[np.ndarray] = []
    try:
        reader = READERS[reader_name](str(path))
        for frame in reader.frames():
            frames.append(frame)
            assert shown_numbers(np.stack(frames)) == list(range(len(frames)))
        assert reader.num_frames_declared == NUM_FRAMES
    except BrokenVideo as error:
        assert error.reason in ("undecodable", "repeated-frames")
    assert len(frames) < NUM_FRAMES


@pytest.mark.parametrize("reader_name", READERS)
@pytest.mark.parametrize("size", [(121, 81), (98, 66)])
def test_odd_sizes_have_no_padding(reader_name: str, size: tuple[int, int], folder: Path) -> None:
    even = ENCODINGS["Motion JPEG"]
    path = make_video(folder / f"odd-{reader_name}-{size[0]}.avi", 5, size=size, encoding=even)
    frames_NHWC = READERS[reader_name](str(path)).read([1, 4])
    assert frames_NHWC.shape == (2, size[1], size[0], 3)
    assert shown_numbers(frames_NHWC) == [1, 4]


def test_the_header_says_what_the_container_promises(folder: Path) -> None:
    info = read_header(str(_video(folder, "MPEG-4 in AVI with B-frames")))
    assert (info.num_frames, info.fps, info.width, info.height, info.codec) == (
        NUM_FRAMES,
        25.0,
        96,
        64,
        "mpeg4",
    )


ORIENTATIONS = {
    (1, 0, 0, 1): lambda picture: picture,
    (-1, 0, 0, 1): lambda picture: picture[:, ::-1],
    (1, 0, 0, -1): lambda picture: picture[::-1],
    (-1, 0, 0, -1): lambda picture: picture[::-1, ::-1],
    (0, 1, -1, 0): lambda picture: np.rot90(picture, -1),
    (0, -1, 1, 0): lambda picture: np.rot90(picture),
    (0, 1, 1, 0): lambda picture: picture.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda picture: np.rot90(picture, 2).transpose(1, 0, 2),
}


@pytest.mark.parametrize("matrix", ORIENTATIONS, ids=str)
def test_frames_come_in_the_orientation_in_which_they_are_shown(
    tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    path = make_video(tmp_path / "turned.mp4", 14)
    upright = READERS["pyav"](str(path)).read([3, 13])
    with_display_matrix(path, *matrix)
    planes = READERS["pyav"](str(path)).read_planes([3])
    reader = READERS["pyav"](str(path))
    expected = np.stack([ORIENTATIONS[matrix](frame) for frame in upright])
    np.testing.assert_array_equal(reader.read([3, 13]), expected)
    np.testing.assert_array_equal(list(reader.frames())[3], expected[0])
    assert (planes is not None) == (matrix == (1, 0, 0, 1))
