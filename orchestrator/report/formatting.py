"""How the report writes figures, units, metrics and lists of rate sets."""

from __future__ import annotations

from collections.abc import Sequence

from prp_core.evaluation.intervals import Interval


def joined(texts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]


def rates_list(names: Sequence[str], limit: int = 3) -> str:
    """``1-2``, ``1-2 and 1-4``, ``1-2, 1-4, 2-4-8 and 2 more``."""
    return joined(
        list(names[:limit]) + ([f"{len(names) - limit} more"] if len(names) > limit else [])
    )


def interval_text(interval: Interval | None) -> str:
    """``0.562 [0.433, 0.683]``; nothing for nothing."""
    return (
        ""
        if interval is None
        else f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
    )


def metric_title(name: str) -> str:
    """``recall@1`` for ``retrieval/recall_at_1``."""
    return name.rsplit("/", 1)[-1].replace("_at_", "@").replace("_", " ")


def readable_unit(unit: str, largest: float) -> tuple[float, str]:
    """(factor, unit) that makes `largest` of the hours in `unit` a number of a few digits: hours,
    minutes or seconds.
    """
    for factor, time_unit in ((1, "h"), (60, "min")):
        if largest * factor >= 1:
            return factor, unit.replace(" h", f" {time_unit}")
    return 3600, unit.replace(" h", " s")
