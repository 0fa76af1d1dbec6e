"""Portable encoders: a program computes our features, for any number of clips; parity is told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from prp_core.data.clip_config import ClipConfig
from prp_core.encoders import build_encoder
from prp_core.evaluation.features import retrieval_feature
from prp_core.evaluation.frame_encoder import FrameEncoder
from prp_core.evaluation.portable_encoder import (
    ONNX_PACKAGES,
    Parity,
    missing_packages,
    save_layout,
    save_program,
)
from prp_core.evaluation.views import ViewsConfig


def encoder_of(name: str) -> FrameEncoder:
    torch.manual_seed(2)
    return FrameEncoder(
        build_encoder(name).eval(),
        clip=ClipConfig(length=8, resize_height=32, resize_width=32, crop=32),
        views=ViewsConfig(clip_length=8),
        rates=(1, 2),
    )


def test_a_program_of_torch_export_computes_our_features(tmp_path: Path) -> None:
    encoder = encoder_of("c3d_small")
    parity = save_program(encoder, tmp_path / "c3d.pt2")
    assert parity.holds and parity.largest_value > 0
    clips_BCTHW = torch.rand(5, 3, 8, 32, 32)
    theirs = torch.export.load(tmp_path / "c3d.pt2").module()
    with torch.no_grad():
        ours_BD = retrieval_feature(encoder(clips_BCTHW))
        assert torch.allclose(theirs(clips_BCTHW), ours_BD, rtol=1e-4, atol=1e-6)


def test_weights_are_compared_with_what_the_file_holds(tmp_path: Path) -> None:
    parity = save_layout(encoder_of("r3d"), "torchvision", "r3d", tmp_path / "r3d.pth")
    assert parity == Parity("72 weights", 0.0, 1.0)


@pytest.mark.parametrize(
    ("difference", "holds"), [(0.0, True), (1e-3, True), (1.1e-3, False), (math.nan, False)]
)
def test_parity_is_a_share_of_the_largest_value(difference: float, holds: bool) -> None:
    assert Parity("features", difference, 10.0).holds is holds


def test_packages_that_are_missing_are_named() -> None:
    assert missing_packages(("json", "no_such_package")) == ["no_such_package"]
    assert set(missing_packages(ONNX_PACKAGES)) <= set(ONNX_PACKAGES)
