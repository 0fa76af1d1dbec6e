"""One-line summary of data-loading health, with a hint when loading is the bottleneck."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prp_core.training.data_health import ADVICE

PARTS = (
    ("data/frames_hit_rate", "{:.0%} of clips from frames decoded before"),
    ("data/cache_hit_rate", "{:.0%} of objects at hand"),
    ("time/data_wait_share", "waiting {:.0%} of the time"),
    ("data/quarantined", "{:.0f} quarantined"),
)


def health_line(trials: Iterable[Mapping[str, float]]) -> str:
    """``videos: ...``, the means over the metrics of `trials` that have them; "" where none does.

    Of the quarantined videos it is the largest number, not the mean.
    """
    rows = list(trials)
    words = []
    for name, form in PARTS:
        values = [row[name] for row in rows if name in row]
        if not values:
            continue
        if name != "data/quarantined":
            words.append(form.format(sum(values) / len(values)))
        elif max(values) > 0:
            words.append(form.format(max(values)))
    return "videos: " + " · ".join(words) if words else ""


def advice_of(metrics: Mapping[str, float]) -> str:
    """The text of the metric ``data/advice``; "" where there is nothing to advise."""
    return list(ADVICE.values())[int(metrics.get("data/advice", 0))]


def advice_line(trials: Iterable[Mapping[str, float]]) -> str:
    """``training waits for videos: ...`` with the first advice among `trials`; "" without one."""
    advice = next(filter(None, map(advice_of, trials)), "")
    return f"training waits for videos: {advice}" if advice else ""
