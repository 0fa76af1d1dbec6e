"""Encoders: the networks that pretraining teaches and every evaluation uses.

`encoder.py` says what all have in common, `c3d.py`, `r3d.py` and `r2plus1d.py` build them (the last two on the skeleton in
`residual.py`), and `ENCODERS` lists them. To add one, write its file and one line here; contract tests find it by its being listed.
"""

from __future__ import annotations

from collections.abc import Callable

from prp_core.catalogue import look_up
from prp_core.encoders.c3d import c3d, c3d_small
from prp_core.encoders.encoder import Encoder
from prp_core.encoders.r2plus1d import r2plus1d, r2plus1d_small
from prp_core.encoders.r3d import r3d, r3d_small

ENCODERS: dict[str, Callable[[], Encoder]] = {
    "c3d": c3d,
    "r3d": r3d,
    "r2plus1d": r2plus1d,
    "c3d_small": c3d_small,
    "r3d_small": r3d_small,
    "r2plus1d_small": r2plus1d_small,
}


def build_encoder(name: str) -> Encoder:
    """A fresh encoder with torch's default initial weights; raises `UserError` with the choices for an unknown `name`."""
    return look_up("encoder", name, ENCODERS)()


__all__ = ["ENCODERS", "Encoder", "build_encoder"]
