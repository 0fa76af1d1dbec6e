"""The PRP network: one encoder, and a head for each pretext task that is on."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from prp_core.catalogue import look_up
from prp_core.checks import check
from prp_core.encoders import ENCODERS
from prp_core.encoders.blocks import conv_norm_relu
from prp_core.encoders.encoder import SPACE_STRIDE, TIME_STRIDE
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.pretext.heads import ClipClassifier, Decoder
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.randomness import seed_everything


class PrpNetwork(nn.Module):
    """An encoder with one branch for each task that is on: a convolution of its own, then its head.

    `encoder` is a name of `ENCODERS`, or a module with `feature_channels` and the geometry of
    `Encoder`; `tasks` are the published ones by default. Initial weights are drawn in this order:
    encoder, the branches' convolutions, the heads. Raises `UserError` for an unknown name, or for
    channels that a head cannot take.
    """

    def __init__(self, encoder: str | nn.Module = "r3d", tasks: PretextTasks | None = None) -> None:
        super().__init__()
        active = (tasks or PretextTasks()).active
        self.encoder: nn.Module = (
            look_up("encoder", encoder, ENCODERS)() if isinstance(encoder, str) else encoder
        )
        channels = int(self.encoder.feature_channels)  # type: ignore[arg-type]
        self.stems = nn.ModuleDict({name: conv_norm_relu(channels, channels) for name in active})
        self.heads = nn.ModuleDict({name: task.head(channels) for name, task in active.items()})

    def forward(self, clip_BCTHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """The output of each task's head, by task, for a clip ``(B, 3, T, H, W)`` in [0, 1].

        T is a multiple of 8, H and W of 16; raises `UserError` otherwise.
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
        return {name: head(self.stems[name](features)) for name, head in self.heads.items()}

    def classifier_parameters(self) -> list[nn.Parameter]:
        """Weights and biases of the linear classifiers, which have a learning rate of their own.

        (Method §5: ten times the others'.)
        """
        classifiers = (head for head in self.heads.values() if isinstance(head, ClipClassifier))
        return [parameter for head in classifiers for parameter in head.parameters()]

    def fuse_decoders(self, fuses: bool | None) -> None:
        """Fuse every stage of every decoder, or none; None: those that are cheaper that way."""
        for head in self.heads.values():
            if isinstance(head, Decoder):
                head.fuses = fuses

    def fused_stages(self, num_clips: int, length: int, crop: int) -> dict[str, tuple[str, ...]]:
        """Of each task with a decoder, the stages that are computed fused, for clips of a size.

        `num_clips` go through the network together, `length` frames of `crop` x `crop` pixels each.
        """
        num_positions = num_clips * length * crop * crop // (TIME_STRIDE * SPACE_STRIDE**2)
        return {
            name: head.fused_stages(num_positions)
            for name, head in self.heads.items()
            if isinstance(head, Decoder)
        }


class NetworkConfig(Protocol):
    """The config of a network and its initial weights; `PretrainConfig` is one."""

    @property
    def encoder(self) -> EncoderConfig: ...
    @property
    def pretext(self) -> PretextTasks: ...
    @property
    def seed(self) -> int: ...


def build_network(config: NetworkConfig) -> PrpNetwork:
    """The network with the initial weights of ``config.seed``.

    torch's global generators are left as they were.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        seed_everything(config.seed, "init")
        network = PrpNetwork(config.encoder.name, config.pretext)
    # Channels last: what tensor cores want, and on a CPU a small network's step takes about two
    # thirds of the time.
    network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network
