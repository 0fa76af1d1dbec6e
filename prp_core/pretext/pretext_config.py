"""The pretext tasks of a run: one optional field each, so that a table in the TOML switches a task
on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from prp_core.checks import check, check_choice
from prp_core.errors import UserError

ATTENTION_MODES = ("dpau", "gauss", "none")


def parse_rates(text: str, path: str = "pretext.playback_rate.rates") -> tuple[int, ...]:
    """The rates of a set written as ``"1-2-4-8"``: at least two, distinct, positive, ascending.

    Raises `UserError` that names `path`. A set is text, not a tuple, because it must survive in a
    database of trials.
    """
    try:
        rates = tuple(int(part) for part in text.split("-"))
    except (ValueError, AttributeError):
        raise UserError(
            f"{path} = {text!r}: write a rate set as whole numbers joined by '-', for "
            "example '1-2-4-8'"
        ) from None
    check(
        len(rates) >= 2,
        path,
        text,
        "needs at least two rates, for example '1-2': one rate leaves nothing to tell apart",
    )
    check(all(rate >= 1 for rate in rates), path, text, "rates are whole numbers from 1 up")
    check(
        list(rates) == sorted(set(rates)),
        path,
        text,
        "rates are distinct and ascending, for example '1-2-4-8'",
    )
    return rates


@dataclass(frozen=True, kw_only=True)
class PlaybackRateConfig:
    """Name the rate that a clip plays at (the discriminative branch)."""

    rates: str = "1-2-4-8"
    loss_weight: float = 0.1

    def __post_init__(self) -> None:
        parse_rates(self.rates)
        check(
            self.loss_weight >= 0,
            "pretext.playback_rate.loss_weight",
            self.loss_weight,
            "must not be negative",
        )

    @property
    def rate_list(self) -> tuple[int, ...]:
        """The rates as numbers; a rate's class label is its position here."""
        return parse_rates(self.rates)


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """How the reconstruction error is weighted towards motion: weights of `low` to `high`."""

    mode: str = "dpau"
    low: float = 0.8
    high: float = 2.0
    exact: bool = False

    def __post_init__(self) -> None:
        check_choice("pretext.slow_motion.attention.mode", self.mode, ATTENTION_MODES)
        check(
            0 <= self.low <= self.high,
            "pretext.slow_motion.attention.low",
            self.low,
            f"must lie in 0 to attention.high = {self.high}",
        )


@dataclass(frozen=True, kw_only=True)
class SlowMotionConfig:
    """Reconstruct the clip at `upsampling` times its frame rate (the generative branch)."""

    upsampling: int = 2
    loss_weight: float = 1.0
    attention: AttentionConfig = field(default_factory=AttentionConfig)

    def __post_init__(self) -> None:
        check(
            self.upsampling >= 1,
            "pretext.slow_motion.upsampling",
            self.upsampling,
            "must be a whole number from 1 up",
        )
        check(
            self.loss_weight >= 0,
            "pretext.slow_motion.loss_weight",
            self.loss_weight,
            "must not be negative",
        )


@dataclass(frozen=True, kw_only=True)
class PretextTasks:
    """Both branches of PRP. A task whose loss weight is 0 is computed and logged, and teaches
    nothing.
    """

    playback_rate: PlaybackRateConfig = field(default_factory=PlaybackRateConfig)
    slow_motion: SlowMotionConfig = field(default_factory=SlowMotionConfig)
