"""The report's analysis: hyperparameter importance, learning curves, cost and rate confusion."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from orchestrator.report import findings
from orchestrator.report.content import Figure, Table
from orchestrator.report.findings import Point
from orchestrator.report.formatting import metric_title, ordinal, short_name
from orchestrator.report.record import SweepRecord, TrialRecord
from orchestrator.report.spending import cost_per_point, spending_table, spendings, time_unit
from orchestrator.search.record import Importance
from orchestrator.trial_state import ENDED, TrialState


@dataclass(frozen=True)
class ImportanceSection:
    """Hyperparameter importance beside the learning curves of all trials."""

    importance: Figure
    curves: Figure


@dataclass(frozen=True)
class CostSection:
    """Recall against cost beside rate confusion; `spending` is None without a ledger."""

    pareto: Figure
    confusion: Figure
    spending: Table | None


def importance_section(record: SweepRecord, importance: Importance) -> ImportanceSection:
    """Which hyperparameter decided the first rung, and how the trials went on from it."""
    return ImportanceSection(importance_figure(importance), curves_figure(record))


def cost_section(record: SweepRecord) -> CostSection:
    """What the trials used and what it bought."""
    return CostSection(pareto_figure(record), confusion_figure(record), _spending(record))


def importance_figure(importance: Importance) -> Figure:
    """Bars of importance, titled by the largest one that exceeds chance."""
    from orchestrator.report.figures import draw_importance

    if importance.missing:
        return Figure(
            title="Hyperparameter importance is not known",
            note=importance.missing[:1].upper() + importance.missing[1:] + ".",
        )
    shares, noise = importance.shares, importance.noise
    names = {path: short_name(path) for path in shares}
    above_chance = [path for path in shares if shares[path] > noise[path]]
    title = "No hyperparameter is more important than chance"
    if above_chance:
        first = names[max(above_chance, key=lambda path: shares[path])]
        title = f"Most important hyperparameter: {first}"
    described = "; ".join(
        f"{names[path]} {share:.0%} (by chance up to {noise[path]:.0%})"
        for path, share in shares.items()
    )
    return Figure(
        title=title,
        drawing=draw_importance(importance, names),
        alternative=f"Importance of each hyperparameter: {described}",
        note="Conditional PED-ANOVA of being in the best quarter after "
        f"{importance.epoch} epochs, {importance.num_trials} trials; empty bars are within chance.",
    )


def curves_figure(record: SweepRecord) -> Figure:
    """The objective of each trial by epoch, titled by how many were pruned."""
    from orchestrator.report.figures import draw_curves

    evaluated = [trial for trial in record.trials if trial.rungs]
    if not evaluated:
        return Figure(
            title="No trial has reached a rung",
            note="Learning curves appear after the first evaluation.",
        )
    best = record.best
    pruned = [trial for trial in evaluated if trial.state == TrialState.PRUNED]
    at = Counter(trial.epoch for trial in pruned)
    counts = ", ".join(f"epoch {epoch}: {count}" for epoch, count in sorted(at.items()))
    described = "; ".join(
        f"trial {trial.number} {trial.state} after {trial.epoch} epochs with {trial.objective:.3f}"
        for trial in evaluated
    )
    return Figure(
        title=f"{len(pruned)} of {len(evaluated)} trials were pruned"
        + _rank_at_first_rung(record, evaluated),
        drawing=draw_curves(
            evaluated,
            best.number if best else None,
            record.objective,
            {"chance": record.data.chance},
        ),
        alternative=f"{metric_title(record.objective)} by epoch: {described}",
        note=f"Pruned at {counts}; the table of trials gives the reasons." if counts else "",
    )


def _rank_at_first_rung(record: SweepRecord, evaluated: list[TrialRecord]) -> str:
    rung = findings.first_rung(record)
    best = record.best
    if best is None or rung not in best.rungs:
        return ""
    early = [trial.rungs[rung] for trial in evaluated if rung in trial.rungs]
    rank = 1 + sum(value > best.rungs[rung] for value in early)
    return f"; the best ranked {ordinal(rank)} of {len(early)} at epoch {rung}"


def pareto_figure(record: SweepRecord) -> Figure:
    """Recall against cost with the Pareto front, titled by the total and the pruned share."""
    from orchestrator.report.figures import draw_cost

    points = findings.cost_points(record)
    if not points:
        return Figure(
            title="The cost of the trials is not known",
            note="No trial with an evaluation has ended.",
        )
    factor, unit = time_unit(record)
    points = [replace(point, cost=point.cost * factor) for point in points]
    front = findings.pareto_front(points)
    source = (
        "Source: the cost ledger."
        if record.ledger is not None
        else "No ledger: a trial's cost is its duration times its resources, waiting included."
    )
    described = "; ".join(
        f"trial {point.trial.number}, {point.cost:.3g} {unit}, {point.recall:.3f}"
        for point in front
    )
    return Figure(
        title=_cost_title(points, _without_recall(record, points) * factor, unit),
        drawing=draw_cost(points, front, unit, record.objective),
        alternative=f"Pareto front: {described}",
        note=f"{source} Numbers name the trials on the Pareto front.",
    )


def _without_recall(record: SweepRecord, points: list[Point]) -> float:
    """What the ended trials cost that are no points, because they have no recall."""
    shown = {point.trial.number for point in points}
    return sum(
        findings.cost_of(record, trial).amount
        for trial in record.trials
        if trial.state in ENDED and trial.number not in shown
    )


def _cost_title(points: list[Point], without_recall: float, unit: str) -> str:
    """`without_recall`: what trials cost that have none, beside the `points`."""
    pruned = sum(point.cost for point in points if point.trial.state == TrialState.PRUNED)
    ended = sum(point.cost for point in points if point.trial.state in ENDED) + without_recall
    if not ended:
        return f"Recall against {unit}"
    lost = f", {without_recall / ended:.0%} in trials without a recall" if without_recall else ""
    return f"{ended:.3g} {unit} in ended trials, {pruned / ended:.0%} of it in pruned ones{lost}"


def confusion_figure(record: SweepRecord) -> Figure:
    """The rate confusion matrix of the best trial, titled by its most frequent error."""
    from orchestrator.report.figures import draw_confusion

    best = record.taken
    confusion = findings.confusion_of(best) if best else {}
    if best is None or not confusion:
        return Figure(
            title="The rate confusion is not known",
            note="No finished trial's run holds rate_confusion/ metrics.",
        )
    error = findings.most_confused(confusion)
    described = "; ".join(
        f"{true}x predicted as {predicted}x: {share:.0%}"
        for (true, predicted), share in sorted(confusion.items())
    )
    return Figure(
        title=f"{error[0]}x is predicted as {error[1]}x for {error[2]:.0%} of its clips"
        if error
        else "Every rate is predicted correctly",
        drawing=draw_confusion(confusion),
        alternative=f"Rate confusion of trial {best.number}: {described}",
        note=f"Trial {best.number}, training clips of its last epoch; rows add up to 100 %.",
    )


def _spending(record: SweepRecord) -> Table | None:
    ledger = record.ledger or ()
    rows = spendings(ledger)
    if not rows:
        return None
    point = cost_per_point(record)
    caption = "Cost by activity; the losses are shares of their row."
    caption += f" Cost per point: {point}." if point else ""
    return spending_table(rows, time_unit(record), caption)
