"""Which encoder is trained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """`name` is a key of `prp_core.encoders.ENCODERS`; checked where the encoder is built and where
    a config is read.
    """

    name: str = "r3d"
