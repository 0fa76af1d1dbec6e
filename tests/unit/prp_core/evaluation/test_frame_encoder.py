"""A frame encoder: the feature of a video's frames as evaluation has it; other clips refused."""

from __future__ import annotations

import pytest
import torch

from prp_core.data.clip_config import ClipConfig
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.encoders import build_encoder
from prp_core.errors import UserError
from prp_core.evaluation.features import extract_features
from prp_core.evaluation.frame_encoder import FrameEncoder
from prp_core.evaluation.views import ViewsConfig
from prp_core.world import World

CLIP = ClipConfig(length=16, resize_height=40, resize_width=48, crop=32)
VIEWS = ViewsConfig(num_clips=3, clip_length=8)


class FramesInMemory:
    """A frame source of one video."""

    def __init__(self, frames_NHWC: torch.Tensor) -> None:
        self.loader = LoaderConfig(num_decoders=1)
        self.counters: dict[str, float] = {}
        self.frames_NHWC = frames_NHWC

    def frames(self, record: VideoRecord, positions: tuple[int, ...]) -> torch.Tensor:
        return self.frames_NHWC[list(positions)]

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def loaded() -> FrameEncoder:
    torch.manual_seed(3)
    encoder = build_encoder("c3d_small").eval()
    return FrameEncoder(encoder, clip=CLIP, views=VIEWS, rates=(1, 2))


@pytest.mark.parametrize("num_frames", [5, 30])
def test_one_call_gives_a_videos_feature_to_the_bit(loaded: FrameEncoder, num_frames: int) -> None:
    frames_NHWC = torch.randint(0, 256, (num_frames, 50, 70, 3), dtype=torch.uint8)
    record = VideoRecord(key="a.mp4", num_bytes=1, etag="e", num_frames=num_frames)
    table = extract_features(
        loaded.encoder, [record], FramesInMemory(frames_NHWC), CLIP, VIEWS, World.alone()
    )
    assert torch.equal(loaded.feature(frames_NHWC), table.features_ND[0])
    assert torch.equal(loaded.feature(frames_NHWC.numpy()), table.features_ND[0])


def test_weights_have_the_names_of_the_bare_encoder(loaded: FrameEncoder) -> None:
    assert list(loaded.state_dict()) == list(build_encoder("c3d_small").state_dict())
    assert loaded.feature_channels == 64 and loaded.clip_lengths == (8, 16)


@pytest.mark.parametrize(
    ("clip_BCTHW", "complaint"),
    [
        (torch.zeros(1, 3, 8, 48, 48), r"shape \(1, 3, 8, 48, 48\).*\(B, 3, 8 or 16, 32, 32\)"),
        (torch.zeros(1, 3, 24, 32, 32), "trained and measured on clips of shape"),
        (torch.zeros(3, 8, 32, 32), "trained and measured on clips of shape"),
        (torch.zeros(1, 3, 8, 32, 32, dtype=torch.uint8), "uint8 frames of a video to `feature`"),
        (torch.zeros(1, 3, 8, 32, 32).half(), "are torch.float16; give torch.float32 clips in"),
        (torch.zeros(1, 3, 8, 32, 32).double(), "are torch.float64; give torch.float32 clips in"),
        (torch.zeros(1, 3, 8, 32, 32).numpy(), "numpy.ndarray.*; give torch.float32 clips in"),
        (torch.full((1, 3, 8, 32, 32), 255.0), r"lie in \[255, 255\].*divide 8-bit frames by 255"),
        (torch.full((1, 3, 8, 32, 32), -0.5), r"lie in \[-0.5, -0.5\].*subtract no mean"),
        (torch.full((1, 3, 8, 32, 32), torch.nan), r"lie in \[nan, nan\]"),
    ],
)
def test_clips_of_another_size_or_range_are_refused(
    loaded: FrameEncoder, clip_BCTHW: torch.Tensor, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        loaded(clip_BCTHW)


def test_frames_that_are_no_8_bit_video_are_refused(loaded: FrameEncoder) -> None:
    for frames_NHWC in (
        torch.zeros(4, 8, 8, 3),
        torch.zeros(4, 3, 8, 8, dtype=torch.uint8),
        torch.zeros(0, 8, 8, 3, dtype=torch.uint8),
    ):
        with pytest.raises(UserError, match="give the RGB frames of one video as uint8"):
            loaded.feature(frames_NHWC)


def test_values_that_rounding_leaves_outside_the_range_are_taken(loaded: FrameEncoder) -> None:
    assert loaded(torch.full((1, 3, 8, 32, 32), 1.0005)).shape == (1, 64, 1, 2, 2)
