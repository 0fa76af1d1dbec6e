"""What is carried to the device: crops of frames that are ready, and no picture that is too large.

The pixels are those of whole frames that are resized and cropped where the network is, to the bit.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prp_core.data import carried_frames as module
from prp_core.data.carried_frames import carried_frames
from prp_core.data.clip_config import ClipConfig
from prp_core.data.colour import PlanarFrames
from prp_core.data.indexing import index_videos
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.object_store import LocalStore
from prp_core.data.transfer import allocate_for, pack_frames
from prp_core.data.transforms import Placement, cropped_pieces, pack_crops
from prp_core.data.video_source import VideoSource
from prp_core.evaluation.views import arrange_clips
from tests.video_factory import make_video

CPU = torch.device("cpu")
META = torch.device("meta")  # as a GPU: frames are packed for it here
CLIP = ClipConfig(length=8, resize_height=48, resize_width=64, crop=32)
VIEWS = ((0, 1, 2, 3), (2, 3, 4, 9))
POSITIONS = (0, 1, 2, 3, 4, 9)


def test_frames_of_the_training_size_are_cropped_while_they_are_packed() -> None:
    torch.manual_seed(1)
    ready = [torch.randint(0, 256, (2, 48, 64, 3), dtype=torch.uint8) for _ in range(3)]
    larger = torch.randint(0, 256, (2, 50, 70, 3), dtype=torch.uint8)
    planes = PlanarFrames(
        torch.randint(0, 256, (2, 72, 64), dtype=torch.uint8), "bt601", full_range=False
    )
    frames = [ready[0], ready[1], larger, planes, ready[2]]
    places = [Placement(n, 3 * n, flip=n % 2 == 1) for n in range(len(frames))]
    packed = pack_crops(frames, places, CLIP, CPU)
    assert packed.packed.numel() == 3 * 2 * 32 * 32 * 3 + larger.numel() + 2 * 72 * 64
    pieces = cropped_pieces(packed, places, CLIP)
    whole = cropped_pieces(pack_frames(frames, allocate_for(CPU)), places, CLIP)
    assert len(pieces) == len(whole) == len(frames)
    for one, other in zip(pieces, whole, strict=True):
        assert torch.equal(one, other) and one.shape == (2, 3, 32, 32)


@pytest.mark.parametrize("size", [(50, 70), (240, 320), (144, 192), (720, 1280), (40, 60)])
def test_of_frames_that_a_gpu_resizes_the_crop_s_part_is_packed(size: tuple[int, int]) -> None:
    torch.manual_seed(2)
    frames = [torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8) for _ in range(4)]
    offsets = ((0, 0), (16, 32), (7, 13), (8, 16))
    places = [Placement(*offset, flip=n % 2 == 1) for n, offset in enumerate(offsets)]
    packed = pack_crops(frames, places, CLIP, META)
    num_bytes = sum(frame.numel() for frame in frames)
    assert packed.packed.numel() < (0.6 if size[0] > 100 else 1) * num_bytes
    (group,) = packed.groups()
    assert group[0].shape == (8, *size, 3) and group[1:] == ([2, 2, 2, 2], False)
    pieces = cropped_pieces(packed, places, CLIP)
    whole = cropped_pieces(pack_frames(frames, allocate_for(CPU)), places, CLIP)
    for one, other in zip(pieces, whole, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("frames_of_a_part", [1000, 4])
def test_evaluation_shrinks_large_pictures_as_training_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames_of_a_part: int
) -> None:
    make_video(tmp_path / "large.mp4", 12, size=(192, 144))
    loader = LoaderConfig(num_decoders=1, max_carried_pixels=96 * 96)
    monkeypatch.setattr(module, "frames_of_a_reply", lambda *_: frames_of_a_part)
    with VideoSource(LocalStore(tmp_path), None, loader) as source:
        (record,) = index_videos(source)
        carried = carried_frames(source, record, POSITIONS, CLIP)
        whole = source.frames(record, POSITIONS)
    assert carried.shape == (6, 48, 64, 3) and whole.shape == (6, 144, 192, 3)
    clips = arrange_clips(carried, VIEWS, CLIP, CPU)
    assert clips.shape == (2, 3, 4, 32, 32)
    assert torch.equal(clips, arrange_clips(whole, VIEWS, CLIP, CPU))
