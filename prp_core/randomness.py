"""Random draws that are pure functions of their keys.

A draw depends on its key alone, for example ``(seed, epoch, video index, "start")``: the same with
one worker or eight, with any number of loader threads, and after a resume. Nothing here has state,
and nothing is seeded at import.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported where it is needed: a sweep's server draws and never computes
    import torch


def draw_bits(*key: int | str) -> int:
    """64 uniform bits for `key`: BLAKE2b of its parts, so that near keys give unrelated draws."""
    text = "/".join(f"{type(part).__name__[0]}{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def draw_below(bound: int, *key: int | str) -> int:
    """A uniform integer of ``0 .. bound-1`` for `key`; `bound` is at least 1.

    The bias is below ``bound / 2**64``.
    """
    assert bound >= 1, bound
    return draw_bits(*key) * bound >> 64


def draw_unit(*key: int | str) -> float:
    """A uniform float of [0, 1) for `key`."""
    return (draw_bits(*key) >> 11) * 2.0**-53


def permutation(length: int, *key: int | str) -> list[int]:
    """The order of ``0 .. length-1`` for `key`."""
    return sorted(range(length), key=lambda position: draw_bits(*key, position))


def generator_for(*key: int | str, device: str = "cpu") -> torch.Generator:
    """A torch generator seeded by `key`, for initial weights and for augmentation on the device."""
    import torch

    return torch.Generator(device=device).manual_seed(draw_bits(*key) >> 1)


def seed_everything(*key: int | str) -> None:
    """Seed torch's global generators by `key`; called once by whoever starts a run."""
    import torch

    torch.manual_seed(draw_bits(*key) >> 1)


def shares(items: Sequence[int], rank: int, size: int) -> list[int]:
    """The share of `items` of worker `rank` of `size`: every size-th one.

    The union of all shares is `items` in order.
    """
    return list(items[rank::size])
