"""The report's interactive section: what varied against the objective, and the linear probe."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.report.content import Plot
from orchestrator.report.formatting import joined, metric_title, short_name
from orchestrator.report.plots import (
    Dot,
    Reference,
    beside_each_other,
    by_dimension,
    parallel_coordinates,
)
from orchestrator.report.record import (
    BASELINE_PREFIX,
    BASELINE_TITLES,
    SweepRecord,
    TrialRecord,
)
from orchestrator.trial_state import TrialState

PROBE = "linear_probe/accuracy"
PROBE_TITLE = "linear probe accuracy"
MOST_DIMENSIONS = 12


@dataclass(frozen=True)
class ExploreSection:
    """The interactive figures; of those that nothing is known for there is none."""

    plots: tuple[Plot, ...]


def explore_section(record: SweepRecord) -> ExploreSection | None:
    """The figures of `record`; None where no trial has been evaluated."""
    trials = [trial for trial in record.trials if math.isfinite(trial.objective)]
    dimensions = varying(trials, record.varied)
    plots = []
    if trials and dimensions:
        plots += _of_dimensions(record, trials, dimensions)
    if (probe := _probe_plot(record)) is not None:
        plots.append(probe)
    return ExploreSection(tuple(plots)) if plots else None


def varying(trials: list[TrialRecord], paths: list[str]) -> list[str]:
    """Those of `paths` that have two values or more among `trials`."""
    return [
        path
        for path in paths
        if len({str(trial.values[path]) for trial in trials if path in trial.values}) > 1
    ][:MOST_DIMENSIONS]


def _of_dimensions(record: SweepRecord, trials: list[TrialRecord], paths: list[str]) -> list[Plot]:
    score = metric_title(record.objective)
    names = {path: short_name(path) for path in paths}
    not_drawn = _not_drawn(record, trials, paths)
    dots = [
        Dot(
            label=f"trial {trial.number}",
            state=str(trial.state),
            values={names[path]: trial.values.get(path) for path in paths},
            score=trial.objective,
        )
        for trial in trials
    ]
    titles = list(names.values())
    return [
        Plot(
            name="parallel",
            title=f"What varied, and {score}",
            note=f"A line is a trial, its colour the {score}; where it has no value, it is broken. "
            f"Pruned trials end at their last rung, and have trained less.{not_drawn}",
            spec=parallel_coordinates(dots, titles, score),
            alternative=f"Parallel coordinates of {len(dots)} trials over {joined(titles)}, with "
            f"{score} as the last axis; the table of all trials has the values",
        ),
        Plot(
            name="dimensions",
            title=f"{score} by each dimension",
            note="Filled circles are finished trials, open triangles pruned ones at their last "
            f"rung.{not_drawn}",
            spec=by_dimension(dots, titles, score),
            alternative=f"{score} of {len(dots)} trials against each of {joined(titles)}",
        ),
    ]


def _not_drawn(record: SweepRecord, trials: list[TrialRecord], paths: list[str]) -> str:
    """Which trials and dimensions the figures leave out; empty where none."""
    missing = [str(trial.number) for trial in record.trials if trial not in trials]
    said = ""
    if missing:
        said += f" Not drawn, because they have no {metric_title(record.objective)}: trials "
        said += f"{joined(missing)}."
    if len(paths) == MOST_DIMENSIONS:
        said += f" No more than {MOST_DIMENSIONS} dimensions are drawn."
    return said


def _probe_plot(record: SweepRecord) -> Plot | None:
    trials = [
        trial
        for trial in record.trials
        if trial.state == TrialState.FINISHED
        and math.isfinite(trial.objective)
        and math.isfinite(trial.metrics.get(PROBE, math.nan))
    ]
    if not trials:
        return None
    score = metric_title(record.objective)
    references = [
        Reference(title=title, x=pair[0], y=pair[1])
        for name, title in BASELINE_TITLES.items()
        if (pair := _pair(record, name)) is not None
    ]
    dots = [
        Dot(
            label=f"trial {trial.number}",
            state=f"rates {trial.rates}",
            values={PROBE_TITLE: trial.metrics[PROBE]},
            score=trial.objective,
        )
        for trial in trials
    ]
    return Plot(
        name="probe",
        title=probe_title(record, references),
        note="Diamonds are the baselines on the same videos. The linear probe is trained on the "
        "labels of the training part; retrieval uses none to find neighbours.",
        spec=beside_each_other(dots, score, PROBE_TITLE, references),
        alternative=f"{PROBE_TITLE} against {score} of {len(dots)} finished trials and "
        f"{len(references)} baselines",
    )


def probe_title(record: SweepRecord, references: list[Reference]) -> str:
    """Which baselines have a better linear probe than the trial that was taken."""
    taken = record.taken
    probe = math.nan if taken is None else taken.metrics.get(PROBE, math.nan)
    if taken is None or not math.isfinite(probe) or not references:
        return "Linear probe beside retrieval"
    better = [one.title for one in references if one.y > probe]
    if not better:
        return f"By the linear probe, trial {taken.number} is above every baseline"
    return (
        f"By the linear probe, trial {taken.number} ({probe:.3f}) is below {joined(better)} "
        f"({max(one.y for one in references):.3f})"
    )


def _pair(record: SweepRecord, name: str) -> tuple[float, float] | None:
    found = [
        record.baselines.get(f"{BASELINE_PREFIX}{name}/{metric}")
        for metric in (record.objective, PROBE)
    ]
    if found[0] is None or found[1] is None:
        return None
    return found[0], found[1]
