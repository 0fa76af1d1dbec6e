"""The descriptions of a sweep for MLflow, in Markdown: parent run, trials, encoder.

Each begins with the sentence that `answer.py` gives.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.report.answer import Answer
from orchestrator.report.findings import (
    baseline_interval,
    intervals_words,
    rate_sets,
    trial_interval,
)
from orchestrator.report.formatting import (
    joined,
    metric_title,
    number_text,
    share_text,
    short_name,
    value_text,
)
from orchestrator.report.record import (
    BASELINE_PREFIX,
    BASELINE_TITLES,
    SweepRecord,
    TrialRecord,
)

NUM_RATE_SETS = 6
PROBE = "linear_probe/accuracy"


def sweep_description(record: SweepRecord, found: Answer) -> str:
    """The parent run's: the answer, the best rate sets beside the baselines, where more is."""
    return "\n\n".join(
        [f"**{found.headline}**", *found.notes, _table(record), *_places(record)],
    )


def _table(record: SweepRecord) -> str:
    metric = metric_title(record.objective)
    lines = [f"| rates | best {metric} [95 %] | trial |", "|---|---|---|"]
    rows = rate_sets(record)
    for row in rows[:NUM_RATE_SETS]:
        trial = "" if row.best_trial is None else str(row.best_trial)
        best = share_text(row.best, row.interval) or "none finished"
        lines.append(f"| {row.rates} | {best} | {trial} |")
    if len(rows) > NUM_RATE_SETS:
        lines.append(f"| {len(rows) - NUM_RATE_SETS} more, in the report | | |")
    for name, title in BASELINE_TITLES.items():
        value = record.baselines.get(f"{BASELINE_PREFIX}{name}/{record.objective}")
        if value is not None:
            text = share_text(value, baseline_interval(record, name))
            lines.append(f"| {title} | {text} | |")
    lines.append(f"| chance | {record.data.chance:.3f} | |")
    return "\n".join(lines)


def _places(record: SweepRecord) -> Iterator[str]:
    data = record.data
    yield (
        f"{data.num_train} training, {data.num_val} validation and {data.num_test} test videos of "
        f"{_corpora(record)}; data set {data.content_hash}, protocol "
        f"{record.tags.get('prp.protocol_hash', 'unknown')}."
    )
    yield (
        "The report with every figure: `report.html` in this run's artifacts, or "
        f"`prp report {record.spec.sweep_id}`."
    )


def _corpora(record: SweepRecord) -> str:
    spec = record.spec
    if not spec.eval_data_uri:
        return spec.data_uri
    return f"{spec.data_uri} (training) and {spec.eval_data_uri} (all else: {spec.judged_words})"


def model_card(record: SweepRecord, found: Answer) -> str:
    """The card of the encoder that the sweep took: what it is, its figures, how they were measured,
    and what they do not show. Empty where no trial has finished.
    """
    taken = record.taken
    if taken is None:
        return ""
    sections = [
        f"# Encoder of trial {taken.number}, sweep {record.spec.sweep_id}",
        found.text,
        _how_made(record, taken),
        "## Figures",
        _figures(record, taken),
        "## Protocol",
        _protocol(record),
        "## Limits",
        _limits(record),
    ]
    return "\n\n".join(sections)


def _how_made(record: SweepRecord, trial: TrialRecord) -> str:
    values = [f"{short_name(path)} {value_text(value)}" for path, value in trial.values.items()]
    sampled = f", with {joined(values)}" if values else ""
    return (
        f"{record.config.encoder.name}, pretrained without labels by playback rate perception for "
        f"{trial.epoch} epochs on {record.data.num_train} videos{sampled}."
    )


def _figures(record: SweepRecord, trial: TrialRecord) -> str:
    objective = record.objective
    lines = [
        f"| on {record.data.num_val} validation videos | {metric_title(objective)} [95 %] "
        "| linear probe |",
        "|---|---|---|",
        f"| this encoder | {share_text(trial.objective, trial_interval(record, trial))} "
        f"| {number_text(trial.metrics.get(PROBE))} |",
    ]
    for name, title in BASELINE_TITLES.items():
        value = record.baselines.get(f"{BASELINE_PREFIX}{name}/{objective}")
        if value is not None:
            probe = number_text(record.baselines.get(f"{BASELINE_PREFIX}{name}/{PROBE}"))
            text = share_text(value, baseline_interval(record, name))
            lines.append(f"| {title} | {text} | {probe} |")
    return "\n".join(lines)


def _protocol(record: SweepRecord) -> str:
    tags = record.tags
    asked = "each validation video asks for its nearest videos"
    if record.config.sweep.is_label_free:
        asked = "the first third of each validation video asks for its own last third"
    return (
        f"{record.objective}: {asked} "
        f"among {record.data.num_gallery} training videos"
        f"{f' of {record.spec.eval_data_uri}' if record.spec.eval_data_uri else ''}. "
        f"Protocol {tags.get('prp.protocol_hash', 'unknown')}, data set "
        f"{record.data.content_hash}, commit {tags.get('prp.git_commit', 'unknown')}. Figures of "
        "two protocols cannot be compared."
    )


def _limits(record: SweepRecord) -> str:
    lines = [
        f"- {record.data.num_val} validation videos of {record.data.num_val_groups} groups, "
        f"{record.data.num_classes} classes; {intervals_words(record)}.",
        f"- Clips of {record.config.clip.length} frames, {record.config.clip.crop} x "
        f"{record.config.clip.crop} pixels; other sizes were not measured.",
    ]
    if record.confirmation is None:
        lines.append("- One seed, selected on the videos that it is measured on.")
    return "\n".join(lines)
