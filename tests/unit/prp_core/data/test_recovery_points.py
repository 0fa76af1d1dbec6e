"""Recovery points of H.264: where decoding may begin, told from slice headers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from prp_core.data.readers.h264_references import CodedPicture, ReferenceProof
from prp_core.data.readers.h264_slices import B, I, P, SequenceHeader, Slice, states_recovery
from prp_core.data.readers.pyav_reader import PyavReader
from prp_core.data.readers.selective_decode import SelectiveDecode
from prp_core.data.readers.sequential_reader import SequentialReader
from tests.video_factory import SELECTIVE, Encoding, make_video, picture, remuxed, with_packets

HEADER = SequenceHeader(
    frames_only=True,
    num_reordered=2,
    is_mbaff=False,
    frame_number_bits=4,
    order_kind=0,
    order_bits=6,
    num_references=3,
    chroma=1,
)
AT_ONCE = b"\x06\x06\x01\xc4\x80"  # a recovery point with recovery_frame_cnt 0
AFTER_TWO = b"\x06\x06\x01\x64\x80"


def _one(
    kind: int, number: int, order: int, counts: tuple[int, ...] = (), **named: object
) -> Slice:
    plain = Slice(
        kind=kind,
        frame_number=number,
        is_idr=False,
        is_reference=kind != B,
        order=2 * order,
        bottom_difference=0,
        counts=counts,
        changes=((),) * len(counts),
        drops=None if kind != B else (),
    )
    return replace(plain, **named)


def _is_safe(*slices: Slice, start: int = 2) -> bool:
    first = replace(_one(I, 0, 0), is_idr=True, drops=())
    pictures = [CodedPicture((one,), place + 1 == start) for place, one in enumerate(slices)]
    every = [CodedPicture((first,), False), *pictures]
    order = [one.slices[0].order for one in every]
    shown = sorted(range(len(every)), key=order.__getitem__)
    return ReferenceProof(every, HEADER, shown).is_safe(start)


INTRA = _one(I, 2, 4)


@pytest.mark.parametrize(
    ("behind", "is_safe"),
    [
        ([_one(P, 3, 5, (1,)), _one(P, 4, 6, (2,))], True),
        ([_one(P, 3, 5, (2,))], False),  # its second reference lies before
        ([_one(P, 3, 5, (1,), changes=(((0, 2),),))], False),  # so does its first, by a command
        ([_one(P, 3, 5, (1,), changes=(((0, 1),),))], True),
        ([_one(B, 3, 3, (1, 1)), _one(P, 3, 5, (1,))], True),  # what leads it may refer to both
        ([_one(B, 3, 3, (1, 1), is_reference=True, drops=None), _one(P, 4, 5, (1,))], False),
        (
            [
                _one(B, 3, 3, (1, 1), is_reference=True, drops=None),
                _one(P, 4, 5, (1,), changes=(((0, 2),),)),
                _one(P, 5, 6, (1,)),
            ],
            True,  # the one that leads it is a reference, and nobody's
        ),
        ([_one(P, 3, 8, (1,)), _one(B, 4, 6, (1, 1))], True),
        ([_one(P, 3, 8, (1,)), _one(B, 4, 6, (2, 1))], False),
        ([_one(P, 3, 5, (1,)), _one(P, 4, 6, (3,))], False),
        ([_one(P, 3, 5, (1,), drops=(2,)), _one(P, 4, 6, (1,), drops=(1,))], True),
    ],
)
def test_a_recovery_point_is_safe_where_nothing_behind_it_refers_to_before(
    behind: list[Slice], is_safe: bool
) -> None:
    assert _is_safe(_one(P, 1, 1, (1,)), INTRA, *behind) == is_safe


def test_no_other_picture_is_safe() -> None:
    assert not _is_safe(_one(P, 1, 1, (1,)), _one(P, 2, 4, (1,)))
    assert not _is_safe(_one(P, 1, 1, (1,)), replace(INTRA, is_reference=False, drops=()))
    assert not _is_safe(_one(P, 1, 5, (1,)), INTRA)  # a picture before it is shown behind it
    with pytest.raises(ValueError, match="gap"):
        _is_safe(_one(P, 1, 1, (1,)), replace(INTRA, frame_number=3))
    assert states_recovery([AT_ONCE]) and not states_recovery([AFTER_TWO])
    assert not states_recovery([b"\x06\x06\x01\xe4\x80", b"\x06\x05\x02ab\x80", b"\x06"])


def _three_scenes(path: Path, num_references: int) -> Path:
    """A scene each 20 frames, whose first picture is an intra picture, but no IDR picture."""
    params = f"keyint=99:min-keyint=99:bframes=0:ref={num_references}:weightp=0:scenecut=100"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": params})
        stream.width = 96
        stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(60):
            image = picture(number, seed=number // 20) ^ (255 * (number // 20 % 2))
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def _with_recovery_points(source: Path, target: Path) -> Path:
    """`source` with a recovery point before the pictures 20 and 40."""
    point = len(AT_ONCE).to_bytes(4, "big") + AT_ONCE
    return with_packets(
        source, target, lambda place, data: point + data if place in (20, 40) else None
    )


@pytest.mark.parametrize(("references", "starts"), [(1, (0, 20, 40)), (3, (0,))])
def test_recovery_points_that_are_stated_falsely_are_found_out(
    references: int, starts: tuple[int, ...], tmp_path: Path
) -> None:
    """Intra pictures behind which pictures refer to before them, where there are references."""
    plain = _three_scenes(tmp_path / "plain.mp4", references)
    decode = SelectiveDecode(str(_with_recovery_points(plain, tmp_path / "stated.mp4")))
    assert decode.index is not None and decode.index.layout.starts == starts


def test_a_cut_that_begins_at_a_recovery_point(tmp_path: Path) -> None:
    """Without an IDR picture: what leads the first picture is not shown."""
    whole = make_video(tmp_path / "a.ts", 60, encoding=SELECTIVE["h264, open GOPs, B-pyramid"])
    cut = remuxed(whole, tmp_path / "cut.ts", first=11)
    every = np.stack(list(SequentialReader(str(cut)).frames()))
    reader = PyavReader(str(cut))
    for indices in ([0], [len(every) - 1], [5, 20, 30], range(len(every))):
        np.testing.assert_array_equal(reader.read(indices, len(every)), every[list(indices)])
    assert reader.is_selective and reader.num_frames_to_read_one(len(every)) < 16


def test_a_stream_that_lacks_a_picture_is_read_from_its_beginning(tmp_path: Path) -> None:
    """What the decoder puts in its place depends on which other pictures it was given."""
    whole = make_video(tmp_path / "a.ts", 40, encoding=Encoding(num_b_frames=2, suffix=".ts"))
    with av.open(str(whole)) as video, av.open(str(tmp_path / "b.ts"), "w") as other:
        stream = video.streams.video[0]
        copy = other.add_stream_from_template(stream)
        for place, packet in enumerate(video.demux(stream)):
            if packet.dts is not None and place != 13:  # a P-picture
                packet.stream = copy
                other.mux(packet)
    assert SelectiveDecode(str(whole)).index is not None
    assert SelectiveDecode(str(tmp_path / "b.ts")).index is None
