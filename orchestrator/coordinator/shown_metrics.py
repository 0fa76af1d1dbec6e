"""The metrics of a trial that MLflow gets as metrics, and those that it gets as one summary.

Counters of caches and readers, counts of videos and single kinds of waste are diagnoses: they are
kept with the trial, stand in the report, and are one tag of the run instead of forty charts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from orchestrator.tracking.tags import NOTE_TAG
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState
from prp_core.evaluation.sentinels import alarms

ALARMS_TAG = "prp.alarms"  # what is wrong with the training, each with its likely cause
COUNTERS_TAG = "prp.counters"  # the summary: JSON, metric -> its last value
SUMMARISED = ("data/", "waste/")
COUNTS = ("/num_broken", "/num_replaced", "/num_videos", "/num_gallery", "/num_queries")
# Of what is summarised, these are metrics all the same: a person acts on them.
SHOWN = (
    "data/quarantined",
    "data/changed",
    "data/cache_hit_rate",
    "data/frames_hit_rate",
    "data/shard_frames",
    "waste/share",
)


def shown(metrics: Mapping[str, float]) -> dict[str, float]:
    """Those of `metrics` that are metrics in MLflow."""
    return {name: value for name, value in metrics.items() if not _is_hidden(name)}


def hidden(metrics: Mapping[str, float]) -> dict[str, float]:
    """Those of `metrics` that are one summary in MLflow; only numbers."""
    return {
        name: value
        for name, value in sorted(metrics.items())
        if _is_hidden(name) and math.isfinite(value)
    }


def ended_words(view: TrialView, objective: str) -> str:
    """The description of a trial that has ended, for MLflow: how, where, and with what result."""
    interval = interval_of(view.metrics, objective)
    result = "" if math.isnan(view.objective) else f": {objective} {view.objective:.3f} {interval}"
    reason = f" ({view.reason})" if view.reason else ""
    return (
        f"Trial {view.number} {view.state} after {view.epoch} of {view.num_epochs} "
        f"epochs{result.rstrip()}{reason}."
    )


def ended_tags(view: TrialView, objective: str) -> dict[str, str]:
    """The tags of the run of a trial that has ended: its description, its counters of the data
    path, which are no metrics there (`hidden`), and what is wrong by its last metrics.
    """
    counters = json.dumps(hidden(view.metrics))
    words = ended_words(view, objective)
    return {NOTE_TAG: words, COUNTERS_TAG: counters, **alarm_tag(view.metrics)}


def alarm_tag(metrics: Mapping[str, float]) -> dict[str, str]:
    """The tag of a run with what is wrong by its last metrics; none where nothing is."""
    rings = alarms(metrics)
    return {ALARMS_TAG: "; ".join(rings)} if rings else {}


def sweep_words(views: Sequence[TrialView], num_trials: int, objective: str) -> str:
    """The description of a sweep that runs: how many trials have ended, and the best finished."""
    ended = [view for view in views if view.state.is_over]
    finished = [view for view in ended if view.state == TrialState.FINISHED]
    num_trials = max(num_trials, len(views))  # extensions come on top
    words = f"Running: {len(ended)} of {num_trials} trials have ended."
    if not finished:
        return words
    best = max(finished, key=lambda view: (view.objective, -view.number))
    return f"{words} The best so far: {ended_words(best, objective)}"


def interval_of(metrics: Mapping[str, float], objective: str) -> str:
    """``[0.433, 0.683]``: the objective's interval; empty where `metrics` has none."""
    low, high = (metrics.get(f"{objective}_{end}") for end in ("low", "high"))
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def _is_hidden(name: str) -> bool:
    if name in SHOWN:
        return False
    return name.startswith(SUMMARISED) or name.endswith(COUNTS)
