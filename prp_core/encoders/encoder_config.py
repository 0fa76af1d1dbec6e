"""Which encoder is trained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The encoder of a run; its name is checked where the encoder is built and a config is read."""

    name: str = "r3d"
    """A key of `ENCODERS`: c3d, r3d or r2plus1d, or one of them with _small, for CPUs."""

    init_from: str = ""
    """The folder of the encoder whose weights training starts from; empty: random weights."""
