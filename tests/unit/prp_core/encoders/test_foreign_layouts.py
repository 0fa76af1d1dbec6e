"""Weights in the official and in torchvision's layout come back bit for bit, and run there."""

from __future__ import annotations

import pytest
import torch

from prp_core.encoders import build_encoder
from prp_core.encoders.foreign_layouts import (
    OFFICIAL_PREFIX,
    check_layout,
    from_layout,
    to_layout,
)
from prp_core.errors import UserError
from prp_core.pretext.official_checkpoint import load_official_checkpoint
from tests.unit.prp_core.pretext.test_official_checkpoint import encoder_names


@pytest.mark.parametrize("kind", ["c3d", "r3d", "r2plus1d"])
def test_official_names_are_those_of_the_authors_and_the_bits_come_back(kind: str) -> None:
    encoder = build_encoder(kind)
    weights = {
        name: torch.randn(tensor.shape) if tensor.ndim else tensor + 7
        for name, tensor in encoder.state_dict().items()
    }
    written = to_layout("official", kind, weights)
    assert {
        name.removeprefix(OFFICIAL_PREFIX): name_of(weights, tensor)
        for name, tensor in written.items()
    } == encoder_names(kind)
    report = load_official_checkpoint(encoder, written)
    assert (report.missing, report.unexpected, report.ignored) == ((), (), ())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in encoder.state_dict().items())


def name_of(weights: dict[str, torch.Tensor], wanted: torch.Tensor) -> str:
    return next(name for name, tensor in weights.items() if tensor is wanted)


def test_torchvision_computes_the_same_features_with_our_weights() -> None:
    # here, or every test process imports torchvision, and torch's compiler with it
    from torchvision.models.video.resnet import BasicBlock, BasicStem, Conv3DSimple, VideoResNet

    torch.manual_seed(5)
    encoder = build_encoder("r3d").eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    weights = encoder.state_dict()
    written = to_layout("torchvision", "r3d", weights)
    theirs = VideoResNet(BasicBlock, [Conv3DSimple] * 4, [1, 1, 1, 1], BasicStem).eval()
    loaded = theirs.load_state_dict(written, strict=False)
    assert (loaded.missing_keys, loaded.unexpected_keys) == (["fc.weight", "fc.bias"], [])
    clip_BCTHW = torch.rand(1, 3, 8, 32, 32)
    with torch.no_grad():
        features_BCTHW = theirs.layer4(
            theirs.layer3(theirs.layer2(theirs.layer1(theirs.stem(clip_BCTHW))))
        )
        assert torch.equal(features_BCTHW, encoder(clip_BCTHW))
    back, unknown = from_layout("torchvision", weights, {**written, "fc.bias": torch.ones(1)})
    assert unknown == ("fc.bias",) and back.keys() == weights.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize(
    ("layout", "encoder", "complaint"),
    [
        ("torchvision", "r2plus1d", r"Encoder 'r2plus1d' has no torchvision layout .*have: r3d"),
        ("official", "r3d_small", r"has the published widths only"),
        ("torchvison", "r3d", r"Did you mean 'torchvision'\?"),
    ],
)
def test_an_encoder_that_other_code_cannot_build_is_refused(
    layout: str, encoder: str, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        check_layout(layout, encoder)
