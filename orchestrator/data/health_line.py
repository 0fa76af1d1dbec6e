"""How the videos of a sweep's trials come, in one line for a person, and the advice where they come
too slowly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prp_core.training.data_health import ADVICE

PARTS = (
    ("data/frames_hit_rate", "{:.0%} of clips from frames decoded before"),
    ("data/cache_hit_rate", "{:.0%} of objects at hand"),
    ("time/data_wait_share", "waiting {:.0%} of the time"),
    ("data/quarantined", "{:.0f} quarantined"),
)


def data_line(trials: Iterable[Mapping[str, float]]) -> str:
    """``videos: ...`` with the means over the metrics of `trials` that know them (of what is
    quarantined the most); empty where none does.
    """
    rows = list(trials)
    words = []
    for name, form in PARTS:
        values = [row[name] for row in rows if name in row]
        if values and (name != "data/quarantined" or max(values) > 0):
            words.append(
                form.format(
                    max(values) if name == "data/quarantined" else sum(values) / len(values)
                )
            )
    return "videos: " + " · ".join(words) if words else ""


def advice_of(metrics: Mapping[str, float]) -> str:
    """The words for ``data/advice`` among `metrics`; empty where there is nothing to advise."""
    return list(ADVICE.values())[int(metrics.get("data/advice", 0))]


def advice_line(trials: Iterable[Mapping[str, float]]) -> str:
    """``training waits for videos: ...`` with the first advice among the metrics of `trials`, or
    nothing.
    """
    advice = next(filter(None, map(advice_of, trials)), "")
    return f"training waits for videos: {advice}" if advice else ""
