"""Planes to RGB on the device: FFmpeg's result within a few grey levels; training takes either."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from prp_core.data.clip_config import ClipConfig
from prp_core.data.colour import PlanarFrames, rgb_from_planes
from prp_core.data.decode_process import DecodeProcess
from prp_core.data.indexing import index_videos
from prp_core.data.loader import SpanLoader
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.object_store import LocalStore
from prp_core.data.readers.frame_arrays import RgbConverter, copy_planes, planes_kind
from prp_core.data.readers.pyav_reader import PyavReader
from prp_core.data.readers.video_reader import YuvPlanes
from prp_core.data.transfer import allocate_for, pack_frames
from prp_core.data.video_source import VideoSource
from prp_core.errors import UserError
from prp_core.pretext.targets import crop_spans
from prp_core.world import World
from tests.span_sampling import sampling_of
from tests.video_factory import Encoding, make_video, picture

CLIP = ClipConfig(length=8, resize_height=48, resize_width=64, crop=48)
# Largest difference from FFmpeg's 8-bit tables, in grey levels.
LEVELS = 3


def _smooth_frame(matrix: int, full_range: bool) -> av.VideoFrame:
    """Every luma over slow changes of chroma: what differs is the arithmetic, not the picture."""
    planes_HW = np.empty((192, 128), np.uint8)
    low, high = (0, 255) if full_range else (16, 235)
    planes_HW[:128] = np.linspace(low, high, 128)[None]
    chroma = planes_HW[128:].reshape(2, 64, 64)
    chroma[0] = np.linspace(60, 200, 64)[:, None]
    chroma[1] = np.linspace(70, 190, 64)[::-1, None]
    frame = av.VideoFrame.from_ndarray(planes_HW, format="yuv420p")
    frame.colorspace = matrix
    frame.color_range = 2 if full_range else 1
    return frame


@pytest.mark.parametrize(("matrix", "name"), [(1, "bt709"), (2, "bt601"), (6, "bt601")])
@pytest.mark.parametrize("full_range", [False, True])
def test_the_device_agrees_with_ffmpeg(matrix: int, name: str, full_range: bool) -> None:
    frame = _smooth_frame(matrix, full_range)
    assert planes_kind(frame) == (name, full_range)
    planes_NHW = np.empty((1, 192, 128), np.uint8)
    copy_planes(frame, planes_NHW[0])
    ours_NHWC = rgb_from_planes(
        PlanarFrames(torch.from_numpy(planes_NHW), name, full_range)
    ).numpy()
    theirs_HWC = RgbConverter().array(frame, 128, 128)
    assert ours_NHWC.shape == (1, 128, 128, 3)
    assert np.abs(ours_NHWC[0].astype(int) - theirs_HWC).max() <= LEVELS


@pytest.mark.parametrize(
    ("codec", "suffix", "pixel_format"),
    [("libx264", ".mp4", "yuv422p10le"), ("mpeg4", ".avi", "yuv420p")],
)
def test_rgb_is_what_the_formula_makes_of_the_planes_with_each_chroma_value_repeated(
    codec: str, suffix: str, pixel_format: str, tmp_path: Path
) -> None:
    """H.264 says that its chroma lies to the left of its pixels, MPEG-4 says nothing: FFmpeg 8
    interpolates between the values of the first, and shows those of the second as they are.
    """
    encoding = Encoding(codec=codec, suffix=suffix, pixel_format=pixel_format)
    path = make_video(tmp_path / f"a{suffix}", 2, encoding=encoding)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    depth_bytes = 2 if pixel_format.endswith("10le") else 1
    luma, u, v = (
        np.frombuffer(plane, f"<u{depth_bytes}")
        .reshape(plane.height, -1)[:, : plane.width]
        .repeat(64 // plane.height, axis=0)
        .repeat(96 // plane.width, axis=1)
        .astype(float)
        / (4 if depth_bytes == 2 else 1)
        for plane in frame.planes
    )
    y, u, v = (luma - 16) * 255 / 219, (u - 128) * 255 / 224, (v - 128) * 255 / 224
    green = y - 0.299 * 1.402 / 0.587 * v - 0.114 * 1.772 / 0.587 * u
    formula_HWC = np.stack([y + 1.402 * v, green, y + 1.772 * u], axis=-1).clip(0, 255)
    ours_HWC = RgbConverter().array(frame, 96, 64)
    assert np.abs(ours_HWC - formula_HWC).max() <= LEVELS + 1
    assert np.array_equal(next(PyavReader(str(path)).frames()), ours_HWC)


@pytest.mark.parametrize(
    ("colourspace", "instead"), [(3, 2), (8, 2), (10, 9), (11, 2), (12, 2), (13, 2), (14, 2)]
)
@pytest.mark.parametrize("kind", ["yuv420p", "yuv444p10le"])
def test_a_matrix_that_swscale_does_not_know_ends_no_decoder(
    colourspace: int, instead: int, kind: str
) -> None:
    """YCgCo, ICtCp and the like: as ffmpeg 5.1 took them (compared with it, file by file)."""
    rgb = []
    for number in (colourspace, instead):
        frame = av.VideoFrame.from_ndarray(picture(5), format="rgb24").reformat(format=kind)
        frame.colorspace = number
        rgb.append(RgbConverter().array(frame, 96, 64).copy())
    np.testing.assert_array_equal(*rgb)


def test_known_colours() -> None:
    def one(y: int, u: int, v: int, matrix: str, full_range: bool) -> list[int]:
        planes = torch.tensor([y, y, y, y, u, v], dtype=torch.uint8).reshape(1, 3, 2)
        return rgb_from_planes(PlanarFrames(planes, matrix, full_range))[0, 0, 0].tolist()

    assert one(16, 128, 128, "bt601", False) == [0, 0, 0] and one(
        235, 128, 128, "bt709", False
    ) == [255, 255, 255]
    assert one(16, 128, 128, "bt601", True) == [16, 16, 16] and one(
        255, 128, 128, "bt709", True
    ) == [255, 255, 255]
    assert one(81, 90, 240, "bt601", False) == [254, 0, 0], "the red of colour bars"
    assert one(63, 102, 240, "bt709", False) == [255, 1, 0]


def test_neighbours_of_one_kind_and_size_are_joined() -> None:
    small, large = (
        torch.zeros(1, 12, 8, dtype=torch.uint8),
        torch.zeros(1, 24, 8, dtype=torch.uint8),
    )
    first, other = PlanarFrames(small, "bt601", False), PlanarFrames(small, "bt709", False)
    assert first.shape == (1, 8, 8, 3) and len(first) == 1
    rgb = torch.full(first.shape, 7, dtype=torch.uint8)
    frames = [first, first, other, PlanarFrames(large, "bt601", False), rgb, rgb, first]
    groups = list(pack_frames(frames, allocate_for(torch.device("cpu"))).groups())
    assert [counts for _, counts, _ in groups] == [[1, 1], [1], [1], [1, 1], [1]]
    assert [tuple(group.shape) for group, _, _ in groups] == [
        (2, 8, 8, 3),
        (1, 8, 8, 3),
        (1, 16, 8, 3),
        (2, 8, 8, 3),
        (1, 8, 8, 3),
    ]
    assert torch.equal(groups[3][0], torch.cat([rgb, rgb]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the videos have planes, half are of a kind that travels as RGB."""
    folder = tmp_path_factory.mktemp("colour")
    for number in range(4):
        make_video(folder / "a" / f"{number}.mp4", 40, seed=number)
        make_video(
            folder / "b" / f"{number}.mp4",
            40,
            seed=number,
            encoding=Encoding(pixel_format="yuv444p"),
        )
    return folder


def test_one_batch_may_hold_both_kinds(folder: Path) -> None:
    batches = {}
    for colour in ("decoder", "device"):
        with VideoSource(
            LocalStore(folder), None, LoaderConfig(num_decoders=1, colour=colour)
        ) as source:
            records = list(index_videos(source))
            loader = SpanLoader(
                source,
                records,
                CLIP,
                sampling_of((1, 2), CLIP.length),
                batch_size=8,
                seed=1,
                world=World.alone(),
            )
            batches[colour] = next(iter(loader.batches(0)))
    kinds = [type(sample.frames_NHWC) for sample in batches["device"].samples]
    assert kinds.count(PlanarFrames) == 4 and kinds.count(torch.Tensor) == 4
    assert {type(sample.frames_NHWC) for sample in batches["decoder"].samples} == {torch.Tensor}
    clips = {
        colour: crop_spans(batch.samples, CLIP, torch.device("cpu"), (1,))
        for colour, batch in batches.items()
    }
    assert (clips["device"] - clips["decoder"]).abs().max() * 255 <= LEVELS + 1


def test_frames_too_large_to_carry_are_shrunk_as_rgb(folder: Path) -> None:
    with VideoSource(
        LocalStore(folder),
        None,
        LoaderConfig(num_decoders=1, colour="device", max_carried_pixels=1),
    ) as source:
        loader = SpanLoader(
            source,
            list(index_videos(source)),
            CLIP,
            sampling_of((1,), CLIP.length, with_attention=False),
            batch_size=8,
            seed=1,
            world=World.alone(),
        )
        batch = next(iter(loader.batches(0)))
    assert {tuple(sample.frames_NHWC.shape[1:]) for sample in batch.samples} == {(48, 64, 3)}
    assert loader.counters["data/shrunk"] == 8


def test_planes_cross_the_process_as_they_are(folder: Path) -> None:
    with DecodeProcess(LoaderConfig()) as process:
        planes = process.read_planes(folder / "a/0.mp4", [7, 3, 3])
        assert (
            isinstance(planes, YuvPlanes)
            and planes.planes_NHW.shape == (3, 96, 96)
            and (planes.matrix, planes.full_range) == ("bt601", False)
        )
        assert np.array_equal(planes.planes_NHW[1], planes.planes_NHW[2]) and not np.array_equal(
            planes.planes_NHW[0], planes.planes_NHW[1]
        )
        rgb_NHWC = process.read_planes(folder / "b/0.mp4", [7, 3])
        assert isinstance(rgb_NHWC, np.ndarray) and np.array_equal(
            rgb_NHWC, process.read(folder / "b/0.mp4", [7, 3])
        )


def test_what_has_no_planes_is_refused(folder: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"loader.colour = 'device': needs planes, and loader.reader = 'decord' has RGB only",
    ):
        LoaderConfig(reader="decord", colour="device")
    with pytest.raises(UserError, match="loader.colour"):
        LoaderConfig(colour="gpu")

    class Stored:
        loader = LoaderConfig(colour="device")

    with VideoSource(LocalStore(folder), None, LoaderConfig(num_decoders=1)) as source:
        records = list(index_videos(source))
    with pytest.raises(
        UserError,
        match=r"loader.colour = 'device': these frames are stored as RGB; set it to 'decoder'",
    ):
        SpanLoader(
            Stored(),
            records,
            CLIP,
            sampling_of((1,), CLIP.length, with_attention=False),
            batch_size=4,
            seed=1,
            world=World.alone(),
        )  # type: ignore[arg-type]
    assert dataclasses.asdict(LoaderConfig())["colour"] == "decoder"
