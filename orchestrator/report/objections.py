"""What speaks against calling a sweep's encoder the best: it is worse than a baseline.

The alias ``best`` of MLflow's registry is earned: it is not moved to an encoder that the test part,
a confirmation, or the search's own figures show to be worse than no training at all, or than
pixels. Where there are too few groups of videos to tell, a figure below that of no training does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from orchestrator.confirmation import RANDOM_INIT, BaselineVerdict
from orchestrator.report.findings import interval_at
from orchestrator.report.formatting import joined, number_text
from orchestrator.report.record import BASELINE_PREFIX, BASELINE_TITLES
from orchestrator.run_model import Verdict
from prp_core.evaluation.intervals import metric_interval


def objection_of_verdicts(verdicts: Sequence[BaselineVerdict]) -> str:
    """Of which baselines the encoder is worse, by its runs with new seeds; empty: of none."""
    worse, below = [], []
    for one in verdicts:
        figure = f"{baseline_title(one.name)} ({one.difference.text})"
        if one.difference.verdict is Verdict.WORSE:
            worse.append(figure)
        elif one.difference.verdict is Verdict.UNKNOWN and one.name == RANDOM_INIT:
            below += [figure] if one.difference.value < 0 else []
    return _objection(worse, below)


def objection_of_search(
    metrics: Mapping[str, float], value: float, baselines: Mapping[str, float], objective: str
) -> str:
    """Of which baselines the encoder with `metrics` is worse, whose objective is `value`, by the
    intervals of the videos that selected it: these flatter it, so that worse is worse.
    """
    interval = interval_at(metrics, objective, value)
    worse, below = [], []
    for name in BASELINE_TITLES:
        metric = f"{BASELINE_PREFIX}{name}/{objective}"
        other = metric_interval(baselines, metric)
        known = baselines.get(metric, math.nan)
        figure = f"{baseline_title(name)} ({number_text(known)})"
        if interval is None or other is None:
            below += [figure] if name == RANDOM_INIT and known > value else []
        elif other.is_above(interval):
            worse.append(figure)
    return _objection(worse, below)


def _objection(worse: Sequence[str], below: Sequence[str]) -> str:
    """`below`: where there is no interval, so that worse cannot be said."""
    said = [f"it is worse than {joined(worse)}"] if worse else []
    said += [f"its figure is below that of {joined(below)}"] if below else []
    return joined(said) if said else ""


def below_words(value: float, baselines: Mapping[str, float], objective: str) -> str:
    """``below random initialisation (0.500)``: the baselines whose figure is higher than `value`,
    told apart or not; empty: none.
    """
    figures = {
        name: baselines.get(f"{BASELINE_PREFIX}{name}/{objective}", math.nan)
        for name in BASELINE_TITLES
    }
    higher = [
        f"{baseline_title(name)} ({number_text(figure)})"
        for name, figure in figures.items()
        if figure > value
    ]
    return f"below {joined(higher)}" if higher else ""


def baseline_title(name: str) -> str:
    """A baseline within a sentence: ``random initialisation``, ``pixels' mean frame``."""
    return BASELINE_TITLES.get(name, name).replace("pixels: ", "pixels' ")
