"""The PRP network: one encoder, a head that names the playback rate, a decoder that reconstructs
the clip in slow motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from prp_core.catalogue import look_up
from prp_core.checks import check
from prp_core.encoders import ENCODERS
from prp_core.encoders.blocks import conv_norm_relu
from prp_core.encoders.encoder import SPACE_STRIDE, TIME_STRIDE
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.randomness import seed_everything


@dataclass(frozen=True)
class PrpOutput:
    """`rate_logits` (B, num_rates) and `reconstruction_BCTHW` (B, 3, upsampling * T, H, W), at
    least 0 and unbounded above.
    """

    rate_logits: torch.Tensor
    reconstruction_BCTHW: torch.Tensor


class Doubling(nn.Module):
    """Doubles time and space by a transposed convolution without norm or ReLU, then convolves to
    `out_channels`.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(in_channels, in_channels, kernel_size=2, stride=2)
        self.conv = conv_norm_relu(in_channels, out_channels)

    def forward(self, hidden_BCTHW: torch.Tensor) -> torch.Tensor:
        """``(B, C, t, h, w)`` to ``(B, out_channels, 2t, 2h, 2w)``."""
        return self.conv(self.up(hidden_BCTHW))


class Decoder(nn.Module):
    """Undoes the encoder's strides (8 in time, 16 in space) and lengthens the clip `upsampling`
    times on top.
    """

    def __init__(self, channels: int, upsampling: int) -> None:
        super().__init__()
        last = channels // 8
        self.up1 = Doubling(channels, channels // 2)
        self.up2 = Doubling(channels // 2, channels // 4)
        self.up3 = Doubling(channels // 4, last)
        self.up4 = nn.ConvTranspose3d(
            last, last, kernel_size=(upsampling, 2, 2), stride=(upsampling, 2, 2)
        )
        self.out = conv_norm_relu(last, 3)

    def forward(self, features_BCTHW: torch.Tensor) -> torch.Tensor:
        """``(B, C, T/8, H/16, W/16)`` to ``(B, 3, upsampling * T, H, W)``."""
        return self.out(self.up4(self.up3(self.up2(self.up1(features_BCTHW)))))


class PrpNetwork(nn.Module):
    """Encoder with both pretext branches; each branch has a convolution of its own before it.

    `encoder` is a name of `ENCODERS`, or a module with `feature_channels` (a multiple of 8) and the
    geometry of `Encoder`. Raises `UserError` for an unknown name, fewer than 2 rates, or an
    upsampling below 1.
    """

    def __init__(
        self, encoder: str | nn.Module = "r3d", num_rates: int = 4, upsampling: int = 2
    ) -> None:
        super().__init__()
        check(
            num_rates >= 2,
            "num_rates",
            num_rates,
            "must be at least 2: one rate leaves nothing to tell apart",
        )
        check(upsampling >= 1, "upsampling", upsampling, "must be a whole number from 1 up")
        self.encoder: nn.Module = (
            look_up("encoder", encoder, ENCODERS)() if isinstance(encoder, str) else encoder
        )
        channels = int(self.encoder.feature_channels)  # type: ignore[arg-type]
        check(
            channels % 8 == 0,
            "encoder.feature_channels",
            channels,
            "must be a multiple of 8: the decoder halves it three times",
        )
        self.upsampling = upsampling
        self.conv_rate = conv_norm_relu(channels, channels)
        self.conv_reconstruction = conv_norm_relu(channels, channels)
        self.rate_classifier = nn.Linear(channels, num_rates)
        self.decoder = Decoder(channels, upsampling)

    def forward(self, clip_BCTHW: torch.Tensor) -> PrpOutput:
        """Both answers for a clip ``(B, 3, T, H, W)`` in [0, 1]; T a multiple of 8, H and W of
        16.
        """
        time, height, width = clip_BCTHW.shape[2:]
        fits = time % TIME_STRIDE == 0 and height % SPACE_STRIDE == 0 and width % SPACE_STRIDE == 0
        check(
            fits,
            "clip (frames, height, width)",
            (time, height, width),
            "frames must be a multiple of 8, height and width of 16",
        )
        features = self.encoder(clip_BCTHW)
        pooled_BC = self.conv_rate(features).mean(dim=(2, 3, 4))
        return PrpOutput(
            self.rate_classifier(pooled_BC), self.decoder(self.conv_reconstruction(features))
        )

    def classifier_parameters(self) -> list[nn.Parameter]:
        """Weight and bias of the rate classifier, which learn at a multiple of the others' rate
        (method: 10).
        """
        return list(self.rate_classifier.parameters())


class NetworkConfig(Protocol):
    """What decides a network and its initial weights; `PretrainConfig` is one."""

    @property
    def encoder(self) -> EncoderConfig: ...
    @property
    def pretext(self) -> PretextTasks: ...
    @property
    def seed(self) -> int: ...


def build_network(config: NetworkConfig) -> PrpNetwork:
    """The network with the initial weights of ``config.seed``; torch's global generators are left
    as they were.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        seed_everything(config.seed, "init")
        rates = config.pretext.playback_rate.rate_list
        network = PrpNetwork(
            config.encoder.name,
            num_rates=len(rates),
            upsampling=config.pretext.slow_motion.upsampling,
        )
    # Channels last: what tensor cores want, and on a CPU a small network's step takes about two
    # thirds of the time.
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]
