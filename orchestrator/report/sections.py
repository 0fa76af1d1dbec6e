"""The parts of the report, in the order in which they are read: each is a function of the record
that returns HTML.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import replace

from orchestrator.report import findings, markup
from orchestrator.report.confirmed import candidate_text, test_table
from orchestrator.report.findings import short_name, video_interval
from orchestrator.report.formatting import interval_text, joined, metric_title, readable_unit
from orchestrator.report.record import BASELINE_PREFIX, BASELINE_TITLES, SweepRecord, TrialRecord
from orchestrator.report.showcase_choice import SHOWCASE_FILE
from orchestrator.report.spending import is_on_gpu, price_of_a_point, spendings, table_of
from orchestrator.search.record import Importance
from orchestrator.tracking.tracking_uri import ui_command
from orchestrator.trial_state import ENDED, TrialState

PRETEXT_NOTE = (
    "What pretext accuracy is not: a score. Naming 2 rates is easier than naming 4, "
    "and a network can name rates well and be worth little; "
    "trials are ranked by retrieval alone."
)


def head(record: SweepRecord) -> str:
    """The answer in one sentence, and what qualifies it."""
    answer = findings.answer(record)
    states = Counter(trial.state for trial in record.trials)
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
    started = min((trial.started for trial in record.trials if trial.started), default=0.0)
    begun = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(started)) if started else "not yet"
    planned = f"{len(record.trials)} of {record.config.sweep.num_trials} trials" + (
        f" ({counts})" if counts else ""
    )
    if findings.ended_by_budget(record):
        planned += f" · ended by its budget of {record.config.budget.words}"
    lines = [f"Sweep {record.spec.sweep_id} · begun {begun} · {planned}", *answer.notes]
    notes = "".join(f"<li>{markup.prose(line)}</li>" for line in lines[1:])
    first = (
        f'<p class="eyebrow">{markup.escape(lines[0])}</p><h1>{markup.prose(answer.headline)}</h1>'
    )
    return f'<header id="answer">{first}<ul class="notes">{notes}</ul></header>'


def rate_sets(record: SweepRecord) -> str:
    """The leaderboard of rate sets: picture, then table, with the baselines below."""
    from orchestrator.report.figures import draw_rate_sets

    rows = findings.rate_sets(record)
    metric = metric_title(record.objective)
    if not rows:
        return markup.section("rate-sets", "Rate sets", markup.paragraph("No trial has begun."))
    untrained = record.baselines.get(f"{BASELINE_PREFIX}random_init/{record.objective}")
    references = {
        "guessing": record.data.chance,
        **({"untrained": untrained} if untrained is not None else {}),
    }
    best_rows = [row for row in rows if row.best is not None]
    alternative = (
        "; ".join(f"{row.rates}: {interval_text(row.best)}" for row in best_rows)
        or "no finished trial yet"
    )
    svg = draw_rate_sets(rows, record.objective, references)
    rung = findings.first_rung(record)
    note = "A line is the 95 % interval of a rate set's best trial, over videos (Wilson)."
    picture = markup.figure(
        svg,
        _rate_sets_title(record),
        f"{metric} of the best trial of each rate set, with its interval: {alternative}",
        note,
    )
    cells = [
        (
            "best" if place == 0 and row.best is not None else "",
            (
                row.rates,
                _counts(row),
                interval_text(row.best),
                "" if row.best_trial is None else str(row.best_trial),
                f"{row.count('finished')} finished"
                if row.mean is None and row.best is not None
                else interval_text(row.mean),
                _number(row.first_rung),
            ),
        )
        for place, row in enumerate(rows)
    ]
    cells += [("soft", (title, "", text, "", "", "")) for title, text in _baselines(record)]
    head = (
        "rates",
        "trials",
        f"best {metric} [95 %]",
        "trial",
        "mean of the finished [95 %, t]",
        f"mean of all at epoch {rung}",
    )
    return markup.section(
        "rate-sets", "Rate sets", picture, markup.table(head, cells, numbers=(2, 3, 4, 5))
    )


def confirmation(record: SweepRecord) -> str:
    """The best trials trained again with several seeds, and the winner's figures on the test part;
    nothing where that was not done.
    """
    found = record.confirmation
    if found is None:
        return ""
    rates = {trial.number: trial.rates for trial in record.trials}
    rows = [
        (
            "best" if one.trial == found.taken else "",
            (
                str(one.trial),
                rates.get(one.trial, ""),
                ", ".join(str(seed) for seed in one.seeds),
                ", ".join(f"{value:.3f}" for value in one.recall_at_1),
                candidate_text(one),
            ),
        )
        for one in found.candidates
    ]
    table = markup.table(
        ("trial", "rates", "seeds", "recall@1 of each", "mean [95 %, seeds]"), rows
    )
    parts = [table, markup.paragraph(f"The verdict: {found.text}.")]
    if found.test:
        head, lines = test_table(found)
        unread = found.test.get("test/retrieval/num_broken", 0.0)
        said = (
            f"The {record.data.num_test} test videos, which nothing was chosen by, measured "
            "once; intervals: bootstrap over groups of videos"
        )
        parts.append(
            markup.paragraph(said + (f"; {unread:.0f} could not be read." if unread else "."))
        )
        parts.append(markup.table(head, lines, numbers=range(1, len(head))))
    return markup.section("confirmation", "The best again, with other seeds", *parts)


def why(record: SweepRecord, importance: Importance) -> str:
    """Which dimension mattered, and how the trials went from rung to rung."""
    return markup.section(
        "why",
        "What mattered, and when it showed",
        markup.two(_importance(record, importance), _curves(record)),
    )


def cost(record: SweepRecord) -> str:
    """Recall against cost, what the pretext classifier mixes up, and where the hours went."""
    pictures = markup.two(_cost(record), _confusion(record))
    return markup.section(
        "cost",
        "Cost, waste, and what the classifier mixes up",
        pictures,
        markup.paragraph(PRETEXT_NOTE),
        _spending(record),
    )


def trials(record: SweepRecord) -> str:
    """Every trial with what it sampled, how it ended and why."""
    varied = record.varied
    order = {TrialState.FINISHED: 0, TrialState.PRUNED: 1, TrialState.RUNNING: 2}
    ranked = sorted(
        record.trials, key=lambda trial: (order.get(trial.state, 3), -_score(trial), trial.number)
    )
    best = record.taken.number if record.taken else None
    used = {trial.number: findings.cost_of(record, trial) for trial in record.trials}
    factor, unit = readable_unit(
        _unit(record), max((cost.amount for cost in used.values()), default=0.0)
    )
    money = ["$"] if any(cost.usd is not None for cost in used.values()) else []
    head = (
        "trial",
        "ended",
        "epochs",
        metric_title(record.objective),
        *(short_name(path) for path in varied),
        unit,
        *money,
        "why pruned",
    )
    rows = [
        (
            _row_class(trial, best),
            (
                *_trial_cells(record, trial, varied),
                *_cost_cells(used[trial.number], factor, bool(money)),
                _verdict(trial),
            ),
        )
        for trial in ranked
    ]
    first = 4 + len(varied)
    return markup.section(
        "trials",
        "All trials",
        markup.table(head, rows, numbers=(0, 2, 3, first, *([first + 1] if money else []))),
    )


def _row_class(trial: TrialRecord, best: int | None) -> str:
    if trial.number == best:
        return "best"
    return "" if trial.state == TrialState.FINISHED else "soft"


def failures(record: SweepRecord) -> str:
    """What failed and what was never run, by reason."""
    failed = findings.reasons(
        (f"trial {trial.number}", trial.reason or "no reason was recorded")
        for trial in record.trials
        if trial.state == TrialState.FAILED
    )
    unfit = findings.reasons(
        (", ".join(f"{_short(value)}" for value in values.values()), reason)
        for values, reason in record.unfit
    )
    rows = [("", ("failed", ", ".join(who), reason)) for reason, who in failed.items()]
    rows += [
        ("", ("never run", f"{len(who)} drawn, for example {who[0]}", reason))
        for reason, who in unfit.items()
    ]
    if not rows:
        return markup.section(
            "failures",
            "Failures",
            markup.paragraph(
                "No trial failed, and every combination that was drawn could be trained."
            ),
        )
    return markup.section(
        "failures",
        "Failures and combinations that were never run",
        markup.table(("what", "which", "why"), rows),
    )


def data_and_protocol(record: SweepRecord) -> str:
    """The videos, and how the figures were measured."""
    data = record.data
    config = record.config
    quarantined = ", ".join(f"{count} {reason}" for reason, count in data.quarantined.items())
    counts = findings.counters(record)
    shares = [
        trial.metrics["time/data_wait_share"]
        for trial in record.trials
        if "time/data_wait_share" in trial.metrics
    ]
    seen = {
        "videos": f"{data.num_train} train, {data.num_val} validation, {data.num_test} test, "
        f"{data.num_classes} classes",
        "quarantined": quarantined or "none",
        "waiting for videos": (
            f"{sum(shares) / len(shares):.1%} of a trial's time (mean of {len(shares)} trials)"
        )
        if shares
        else "",
        "loader": ", ".join(
            f"{value:,.0f} {name.removeprefix('data/').replace('_', ' ')}"
            for name, value in counts.items()
            if value
        ),
    }
    best = record.best
    views = config.evaluation.views
    low, high = (
        best.metrics.get(f"{record.objective}_{end}") if best else None for end in ("low", "high")
    )
    protocol = {
        "protocol": record.tags.get("prp.protocol_hash", "unknown")
        + ": figures compare only where it is equal",
        "objective": f"{record.objective}: cosine neighbours of {data.num_val} validation videos "
        f"among {data.num_train} training videos",
        "views": f"{views.num_clips} clips of {views.clip_length} frames a video, centre crop "
        f"{config.clip.crop}; k {config.evaluation.retrieval.ks}",
        "intervals": "95 %: Wilson over videos, taken as independent; Student's t over trials",
        "over groups": ""
        if low is None or high is None
        else (
            f"best trial [{low:.3f}, {high:.3f}], bootstrap over {data.num_val_groups} "
            "groups of videos"
        ),
        "guessing": f"{data.chance:.3f}",
    }
    return markup.section(
        "data", "Data and protocol", markup.two(markup.facts(seen), markup.facts(protocol))
    )


def reproduce(record: SweepRecord) -> str:
    """What to type to have it again, and what it stands on."""
    tags = record.tags
    best = record.taken
    shown = [
        f"trial {trial.number} ({trial.run_id})"
        for trial in record.trials
        if trial.number in record.showcases
    ]
    commit = tags.get("prp.git_commit", "unknown")
    lines = (
        [f"git checkout {commit.removesuffix('-dirty')} && uv sync"]
        if commit != "unknown"
        else ["uv sync"]
    )
    if best is not None and best.run_id:
        lines.append(
            f"uv run prp reproduce {best.run_id} --mlflow {record.spec.tracking_uri}    "
            "# the best trial, checked against its run"
        )
    lines += [
        f"uv run prp report {record.spec.sweep_id}",
        f"{ui_command(record.spec.tracking_uri)}    # run {record.parent_run_id}",
    ]
    stands = {
        "commit": commit
        + (
            " (with uncommitted changes: it cannot be had again exactly)"
            if commit.endswith("-dirty")
            else ""
        ),
        "uv.lock": tags.get("prp.lock_sha256", "unknown"),
        "manifest": f"{record.spec.manifest_uri} (content {record.data.content_hash})",
        "checkpoints": record.spec.folder_uri,
        "config": tags.get("prp.config_digest", ""),
        "showcases": (
            f"{SHOWCASE_FILE} in the runs of {joined(shown)}: frames of what they retrieve "
            "and reconstruct"
        )
        if shown
        else "",
    }
    return markup.section(
        "reproduce", "To have it again", markup.commands(lines), markup.facts(stands)
    )


def _rate_sets_title(record: SweepRecord) -> str:
    verdict = findings.leaderboard_answer(record).verdict
    best = next((row.rates for row in findings.rate_sets(record) if row.best is not None), "")
    titles = {
        "winner": f"{best} is ahead of every other rate set",
        "tie": "The leading rate sets cannot be told apart",
        "alone": f"Only {best} has a finished trial",
        "none": "No trial has finished yet",
    }
    return titles.get(verdict, "Rate sets and their trials")


def _baselines(record: SweepRecord) -> list[tuple[str, str]]:
    named = (
        (title, record.baselines.get(f"{BASELINE_PREFIX}{name}/{record.objective}"))
        for name, title in BASELINE_TITLES.items()
    )
    measured = [
        (title, interval_text(video_interval(record, value)))
        for title, value in named
        if value is not None
    ]
    return [*measured, ("guessing", f"{record.data.chance:.3f}")]


def _counts(row: findings.RateSetRow) -> str:
    parts = [
        f"{row.count(state)} {state}" for state in (*ENDED, TrialState.RUNNING) if row.count(state)
    ]
    return ", ".join(parts)


def _importance(record: SweepRecord, importance: Importance) -> str:
    from orchestrator.report.figures import draw_importance

    if importance.missing:
        return markup.instead(
            "Which dimension mattered is not known",
            importance.missing[:1].upper() + importance.missing[1:] + ".",
        )
    names = {path: short_name(path) for path in importance.shares}
    shown = [path for path in importance.shares if importance.shares[path] > importance.noise[path]]
    first = max(shown, key=lambda path: importance.shares[path], default="")
    title = (
        f"{names[first][:1].upper()}{names[first][1:]} mattered most"
        if shown
        else "No dimension stands out from luck"
    )
    alternative = "; ".join(
        f"{names[path]} {share:.0%} (by luck up to {importance.noise[path]:.0%})"
        for path, share in importance.shares.items()
    )
    note = (
        f"Conditional PED-ANOVA of being in the best quarter after {importance.epoch} "
        f"epochs, {importance.num_trials} trials; "
        "empty bars are within what luck gives."
    )
    return markup.figure(
        draw_importance(importance, names),
        title,
        f"Importance of each dimension: {alternative}",
        note,
    )


def _curves(record: SweepRecord) -> str:
    from orchestrator.report.figures import draw_curves

    judged = [trial for trial in record.trials if trial.rungs]
    if not judged:
        return markup.instead(
            "No trial has reached a rung", "Learning curves appear after the first evaluation."
        )
    best = record.best
    rung = findings.first_rung(record)
    pruned = [trial for trial in judged if trial.state == TrialState.PRUNED]
    title = f"{len(pruned)} of {len(judged)} trials were pruned"
    if best is not None and rung in best.rungs:
        early = [trial.rungs[rung] for trial in judged if rung in trial.rungs]
        place = 1 + sum(value > best.rungs[rung] for value in early)
        title += f"; the best was {_ordinal(place)} of {len(early)} at epoch {rung}"
    at = Counter(trial.epoch for trial in pruned)
    note = (
        (
            "Pruned at "
            + ", ".join(f"epoch {epoch}: {count}" for epoch, count in sorted(at.items()))
            + "; why, in the table of trials."
        )
        if at
        else ""
    )
    alternative = "; ".join(
        f"trial {trial.number} {trial.state} after {trial.epoch} epochs with {trial.objective:.3f}"
        for trial in judged
    )
    svg = draw_curves(
        judged, best.number if best else None, record.objective, {"guessing": record.data.chance}
    )
    return markup.figure(
        svg, title, f"{metric_title(record.objective)} by epoch: {alternative}", note
    )


def _cost(record: SweepRecord) -> str:
    from orchestrator.report.figures import draw_cost

    points = findings.cost_points(record)
    if not points:
        return markup.instead(
            "What the trials cost is not known", "No trial that was measured has ended."
        )
    factor, unit = readable_unit(_unit(record), max(point.cost for point in points))
    points = [replace(point, cost=point.cost * factor) for point in points]
    front = findings.pareto_front(points)
    total, lost = (
        sum(point.cost for point in points if point.trial.state in states)
        for states in (ENDED, (TrialState.PRUNED,))
    )
    title = (
        f"{total:.3g} {unit} in all, {lost / total:.0%} of it in pruned trials"
        if total
        else f"Recall against {unit}"
    )
    source = (
        "By the ledger."
        if record.ledger is not None
        else "No ledger: a trial's cost is its duration times its resources, waiting included."
    )
    alternative = "Pareto front: " + "; ".join(
        f"trial {point.trial.number}, {point.cost:.3g} {unit}, {point.recall:.3f}"
        for point in front
    )
    return markup.figure(
        draw_cost(points, front, unit, record.objective),
        title,
        alternative,
        f"{source} Numbers name the trials on the Pareto front.",
    )


def _confusion(record: SweepRecord) -> str:
    from orchestrator.report.figures import draw_confusion

    best = record.taken
    confusion = findings.confusion_of(best) if best else {}
    if best is None or not confusion:
        return markup.instead(
            "How rates are mixed up is not known",
            "No finished trial's run holds rate_confusion/ metrics.",
        )
    mistake = findings.most_confused(confusion)
    title = (
        f"{mistake[0]}x is taken for {mistake[1]}x in {mistake[2]:.0%} of its clips"
        if mistake
        else "Every rate is named right"
    )
    alternative = "; ".join(
        f"{true}x named {named}x: {share:.0%}" for (true, named), share in sorted(confusion.items())
    )
    note = f"Trial {best.number}, training clips of its last epoch; rows add up to 100 %."
    return markup.figure(
        draw_confusion(confusion),
        title,
        f"Rate confusion of trial {best.number}: {alternative}",
        note,
    )


def _trial_cells(record: SweepRecord, trial: TrialRecord, varied: list[str]) -> tuple[str, ...]:
    score = (
        interval_text(video_interval(record, trial.objective))
        if trial.state == TrialState.FINISHED
        else _number(trial.objective)
    )
    values = (_short(trial.values[path]) if path in trial.values else "" for path in varied)
    return (str(trial.number), trial.state, f"{trial.epoch}/{trial.num_epochs}", score, *values)


def _cost_cells(cost: findings.Cost, factor: float, with_money: bool) -> list[str]:
    cells = [f"{cost.amount * factor:.3g}" if cost.amount else ""]
    return [*cells, "" if cost.usd is None else f"{cost.usd:.2f}"] if with_money else cells


def _unit(record: SweepRecord) -> str:
    return "GPU h" if any(trial.gpus for trial in record.trials) else "CPU h"


def _verdict(trial: TrialRecord) -> str:
    """Why it ended as it did; nothing for a trial that went all the way, and a failure's reason
    stands in its own table.
    """
    return (
        trial.reason.replace("the bar for the ", "")
        if trial.state == TrialState.PRUNED
        else "see below"
        if trial.state == TrialState.FAILED
        else ""
    )


def _spending(record: SweepRecord) -> str:
    rows = spendings(record.ledger or ())
    if not rows:
        return markup.paragraph("No ledger was written: what the hours went to is not known.")
    head, lines = table_of(rows, is_on_gpu(record.ledger or ()))
    point = price_of_a_point(record)
    said = "Where the hours went; what was lost, as a share of its row." + (
        f" A point cost {point}." if point else ""
    )
    return markup.table(head, lines, numbers=range(1, len(head)), caption=said)


def _score(trial: TrialRecord) -> float:
    return trial.objective if math.isfinite(trial.objective) else -1.0


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _ordinal(number: int) -> str:
    ending = (
        "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    )
    return f"{number}{ending}"
