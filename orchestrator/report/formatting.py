"""Text formatting for the pages: numbers, intervals, units, and names of metrics and parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from prp_core.evaluation.intervals import Interval

# What no line break may divide: a rate set, an interval, a trial with its number.
UNBREAKABLE = re.compile(r"((?<![\w-])\d+(?:-\d+)+(?![\w-])|\[\d[\d., ]*\]|trial \d+)")

SHORT_NAMES = {
    "pretext.playback_rate.rates": "rates",
    "pretext.playback_rate.loss_weight": "rate loss weight",
    "pretext.slow_motion.loss_weight": "reconstruction loss weight",
    "pretext.playing_direction.loss_weight": "direction loss weight",
    "pretext.slow_motion.upsampling": "upsampling",
    "pretext.slow_motion.decoder": "decoder",
    "pretext.slow_motion.attention.mode": "attention mode",
    "pretext.slow_motion.attention.high": "attention high",
    "pretext.slow_motion.attention.low": "attention low",
    "training.learning_rate": "learning rate",
    "training.classifier_learning_rate_multiplier": "classifier learning rate multiplier",
    "training.encoder_learning_rate_multiplier": "encoder learning rate multiplier",
}


def joined(texts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]


def rates_list(names: Sequence[str], limit: int = 3) -> str:
    """``1-2``, ``1-2 and 1-4``, ``1-2, 1-4, 2-4-8 and 2 more``."""
    return joined(
        list(names[:limit]) + ([f"{len(names) - limit} more"] if len(names) > limit else [])
    )


def interval_text(interval: Interval | None) -> str:
    """``0.562 [0.433, 0.683]``; empty for None."""
    if interval is None:
        return ""
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def share_text(value: float | None, interval: Interval | None) -> str:
    """``0.562 [0.433, 0.683]``; ``0.562`` where there is no interval; empty for None."""
    if value is not None and not math.isfinite(value):
        return "not a number"
    return interval_text(interval) if interval is not None else number_text(value)


def number_text(value: float | None) -> str:
    """``0.562``; empty for None and for a value that is not finite."""
    return "" if value is None or not math.isfinite(value) else f"{value:.3f}"


def value_text(value: object) -> str:
    """A sampled value: floats with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``3rd``, ``11th``."""
    if 10 <= number % 100 <= 20:
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def metric_title(name: str) -> str:
    """``recall@1`` for ``retrieval/recall_at_1``, ``label-free recall@1`` for a label-free one."""
    kind = "label-free " if name.startswith("label_free/") else ""
    return kind + name.rsplit("/", 1)[-1].replace("_at_", "@").replace("_", " ")


def short_name(path: str) -> str:
    """The display name of a config path: from `SHORT_NAMES`, else its last two words."""
    return SHORT_NAMES.get(path) or " ".join(path.split(".")[-2:]).replace("_", " ")


def readable_unit(unit: str, largest: float) -> tuple[float, str]:
    """(factor, unit) that shows `largest` with a few digits; `unit` ends in `` h``.

    The unit becomes hours, minutes or seconds.
    """
    for factor, time_unit in ((1, "h"), (60, "min")):
        if largest * factor >= 1:
            return factor, unit.replace(" h", f" {time_unit}")
    return 3600, unit.replace(" h", " s")


def unbreakable_pieces(text: str) -> list[tuple[str, bool]]:
    """`text` as (piece, whether it must stay on one line), in order; no piece is empty."""
    pieces = UNBREAKABLE.split(text)
    return [(piece, place % 2 == 1) for place, piece in enumerate(pieces) if piece]
