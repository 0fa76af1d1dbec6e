"""Encoders: the networks that are pretrained and that every evaluation uses.

In the order that they are built:

- `encoder_config`: which encoder is trained;
- `encoder`: the geometry that all encoders have in common; `blocks`: layers that they share;
  `padded_channels`: channels filled up to what a GPU's tensor cores take;
- `c3d`, `r3d`, `r2plus1d`: the encoders, the last two on the skeleton in `residual`;
- `foreign_layouts`: what the official code and torchvision call their weights.

`ENCODERS` lists them. To add one, write its file, and its builder and its line here; contract tests
iterate over the list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prp_core.catalogue import look_up

if TYPE_CHECKING:
    from prp_core.encoders.encoder import Encoder

# Each builder imports its file when it is called: whoever only checks a name (a sweep's server)
# does not pay for torch.


def _c3d() -> Encoder:
    from prp_core.encoders.c3d import c3d

    return c3d()


def _c3d_small() -> Encoder:
    from prp_core.encoders.c3d import c3d_small

    return c3d_small()


def _r3d() -> Encoder:
    from prp_core.encoders.r3d import r3d

    return r3d()


def _r3d_small() -> Encoder:
    from prp_core.encoders.r3d import r3d_small

    return r3d_small()


def _r2plus1d() -> Encoder:
    from prp_core.encoders.r2plus1d import r2plus1d

    return r2plus1d()


def _r2plus1d_small() -> Encoder:
    from prp_core.encoders.r2plus1d import r2plus1d_small

    return r2plus1d_small()


ENCODERS: dict[str, Callable[[], Encoder]] = {
    "c3d": _c3d,
    "r3d": _r3d,
    "r2plus1d": _r2plus1d,
    "c3d_small": _c3d_small,
    "r3d_small": _r3d_small,
    "r2plus1d_small": _r2plus1d_small,
}


def build_encoder(name: str) -> Encoder:
    """A new encoder with torch's default initial weights.

    Raises `UserError` with the choices for an unknown `name`.
    """
    return look_up("encoder", name, ENCODERS)()


__all__ = ["ENCODERS", "build_encoder"]
