"""Rate jitter: a clip labelled with a rate is played a few per cent faster or slower.

Frames that are exactly s apart carry marks of s: a codec's groups of pictures, cameras that repeat
every fifth frame, a lamp that flickers. SpeedNet (Benaim et al., CVPR 2020) augments in time
against such cues; the rule here is our own. A clip at rate s, jittered to p per cent, reads for the
position q of its span (0, 1, 2, ...) the native frame ``(q * p + 50) // 100``: whole numbers,
rounded. Clip, target and key frames go through the same mapping, so what slow motion reconstructs
are the frames in between at the jittered rate::

    rate 2, T = 4, r = 2      position in the span      0  1  2  3  4  5  6  7
    p = 100                   native frame              0  1  2  3  4  5  6  7
    p = 120                   native frame              0  1  2  4  5  6  7  8
                              of these the clip         0     2     5     7
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from prp_core.checks import check
from prp_core.randomness import draw_below


@dataclass(frozen=True, kw_only=True)
class RateJitter:
    """Multiplies a clip's rate by a factor of 1 +- `strength`, drawn in whole per cents."""

    strength: float = 0.0
    """0 (off) to below 0.5: the largest change of the rate, as a share of it."""

    def __post_init__(self) -> None:
        check(
            0 <= self.strength < 0.5,
            "clip.augmentation.rate_jitter.strength",
            self.strength,
            "must lie in 0 to 0.5 (0.5 left out): a share of the rate",
        )

    @property
    def is_on(self) -> bool:
        """Whether any rate is varied."""
        return self.percents(1) != (100, 100)

    def percents(self, rate: int) -> tuple[int, int]:
        """The least and the most per cent that a clip labelled `rate` is played at.

        Never so slow that two frames of the clip would be the same native frame: a repeated frame
        would tell the rate. So rate 1 is only played faster.
        """
        reach = round(100 * self.strength)
        return max(100 - reach, -(-100 // rate)), 100 + reach

    def draw(self, rate: int, *key: int | str) -> int:
        """The per cent of `rate` for one clip, each whole one alike: a pure function of `key`."""
        least, most = self.percents(rate)
        return least + draw_below(most - least + 1, *key)

    def overlap(self, rates: Sequence[int]) -> str:
        """Which of `rates` (ascending) could not be told apart, and how far they go; "" if none."""
        for slow, fast in pairwise(rates):
            fastest = slow * self.percents(slow)[1]
            slowest = fast * self.percents(fast)[0]
            if fastest >= slowest:
                return (
                    f"rate {slow} would go up to {fastest / 100:g} "
                    f"and rate {fast} down to {slowest / 100:g}"
                )
        return ""

    def check_rates(self, rates: Sequence[int]) -> None:
        """Raise `UserError` when the jitter makes two of `rates` overlap."""
        overlap = self.overlap(rates)
        path = "clip.augmentation.rate_jitter.strength"
        check(not overlap, path, self.strength, f"{overlap}; lower it or choose other rates")
