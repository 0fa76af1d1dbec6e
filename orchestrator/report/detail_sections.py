"""The last sections of the report: all trials, failures, data, protocol and reproduction."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.config.typed_command import prp
from orchestrator.report import findings
from orchestrator.report.content import Facts, Row, Table
from orchestrator.report.formatting import (
    joined,
    metric_title,
    number_text,
    share_text,
    short_name,
    value_text,
)
from orchestrator.report.record import SweepRecord, TrialRecord
from orchestrator.report.showcase_choice import SHOWCASE_FILE
from orchestrator.report.spending import time_unit
from orchestrator.tracking.provenance import OF_SOURCES, UNKNOWN
from orchestrator.tracking.tags import PROTOCOL_TAG
from orchestrator.tracking.tracking_uri import run_page, ui_command
from orchestrator.trial_state import TrialState
from prp_core.evaluation.sentinels import alarms
from prp_core.evaluation.time_panel import SHARE_NEEDING_TIME

ORDER = (TrialState.FINISHED, TrialState.PRUNED, TrialState.RUNNING)


@dataclass(frozen=True)
class DataSection:
    """The videos, and the protocol by which the figures were measured."""

    data: Facts
    protocol: Facts


@dataclass(frozen=True)
class ReproductionSection:
    """The commands that repeat the sweep's results, and the versions that they depend on."""

    commands: tuple[str, ...]
    facts: Facts


def trials_table(record: SweepRecord) -> Table:
    """All trials with their sampled values, how they ended, their cost and the pruning decision.

    With the share of recall that needs time, where it was measured of any.
    """
    best = record.taken.number if record.taken else None
    costs = {trial.number: findings.cost_of(record, trial) for trial in record.trials}
    factor, unit = time_unit(record)
    with_money = any(cost.usd is not None for cost in costs.values())
    with_time = any(SHARE_NEEDING_TIME in trial.metrics for trial in record.trials)
    head = (
        "trial",
        "state",
        "epochs",
        metric_title(record.objective),
        *(["needs time"] if with_time else []),
        *(short_name(path) for path in record.varied),
        unit,
        *(["$"] if with_money else []),
        "pruning decision",
    )
    rows = []
    for trial in sorted(record.trials, key=_rank):
        cost = costs[trial.number]
        money = ["" if cost.usd is None else f"{cost.usd:.2f}"] if with_money else []
        cells = (
            *_cells(record, trial, with_time=with_time),
            f"{cost.amount * factor:.3g}" if cost.amount else "",
            *money,
            _decision(trial),
        )
        rows.append(Row(cells, _emphasis(trial, best), page_of(record, trial.run_id)))
    first = 4 + with_time + len(record.varied)
    numeric = (0, 2, 3, *([4] if with_time else []), *range(first, len(head) - 1))
    return Table(head=head, rows=tuple(rows), numeric=numeric)


def page_of(record: SweepRecord, run_id: str) -> str:
    """The address of a run in MLflow's page: on its server, or on the one that `prp ui` starts;
    empty where it is not known.
    """
    if not run_id or not record.experiment_id:
        return ""
    return run_page(record.spec.tracking_uri, record.experiment_id, run_id)


def failures_table(record: SweepRecord) -> Table | None:
    """The trials that failed and the configurations that were infeasible; None without any."""
    failed = findings.by_reason(
        (f"trial {trial.number}", trial.reason or "no reason was recorded")
        for trial in record.trials
        if trial.state == TrialState.FAILED
    )
    infeasible = findings.by_reason(
        (", ".join(value_text(value) for value in values.values()), reason)
        for values, reason in record.unfit
    )
    rows = [Row(("failed", ", ".join(names), reason)) for reason, names in failed.items()]
    rows += [
        Row(("infeasible", f"{len(names)} sampled, for example {names[0]}", reason))
        for reason, names in infeasible.items()
    ]
    return Table(head=("what", "which", "reason"), rows=tuple(rows)) if rows else None


def data_section(record: SweepRecord) -> DataSection:
    """The corpus and how it was loaded, and the evaluation protocol."""
    return DataSection(_data_facts(record), _protocol_facts(record))


def reproduction_section(record: SweepRecord) -> ReproductionSection:
    """What to type to repeat the results of the sweep."""
    tags, spec, best = record.tags, record.spec, record.taken
    commit = tags.get("prp.git_commit", "unknown")
    commands = ["uv sync"]
    if commit != UNKNOWN and not commit.startswith(OF_SOURCES):
        commands = [f"git checkout {commit.removesuffix('-dirty')} && uv sync"]
    if best is not None and best.run_id:
        commands.append(
            prp(f"reproduce {best.run_id} --mlflow {spec.tracking_uri}")
            + "    # the best trial, compared with its run"
        )
    commands.append(prp(f"report {spec.sweep_id}"))
    commands.append(prp(f"ui {spec.sweep_id}    # its runs, charts and baselines in MLflow"))
    commands.append(
        f"{ui_command(spec.tracking_uri)}    # run {record.parent_run_id or 'not known yet'}"
    )
    dirty = " (with uncommitted changes: not exactly reproducible)"
    showcases = [
        f"trial {trial.number} ({trial.run_id or 'its run is not in MLflow yet'})"
        for trial in record.trials
        if trial.number in record.showcases
    ]
    facts = (
        ("commit", commit + (dirty if commit.endswith("-dirty") else "")),
        ("uv.lock", tags.get("prp.lock_sha256", "unknown")),
        ("manifest", f"{spec.manifest_uri} (content {record.data.content_hash})"),
        ("checkpoints", spec.folder_uri),
        ("config", tags.get("prp.config_digest", "")),
        (
            "showcases",
            f"{SHOWCASE_FILE} in the runs of {joined(showcases)}: nearest neighbours and "
            "reconstructions"
            if showcases
            else "",
        ),
    )
    return ReproductionSection(tuple(commands), facts)


def _rank(trial: TrialRecord) -> tuple[int, float, int]:
    state = ORDER.index(trial.state) if trial.state in ORDER else len(ORDER)
    score = trial.objective if math.isfinite(trial.objective) else -1.0
    return state, -score, trial.number


def _emphasis(trial: TrialRecord, best: int | None) -> str:
    if trial.number == best:
        return "best"
    return "" if trial.state == TrialState.FINISHED else "soft"


def _cells(record: SweepRecord, trial: TrialRecord, *, with_time: bool) -> tuple[str, ...]:
    score = number_text(trial.objective)
    if trial.state == TrialState.FINISHED:
        score = share_text(trial.objective, findings.trial_interval(record, trial))
    values = (
        value_text(trial.values[path]) if path in trial.values else "" for path in record.varied
    )
    progress = f"{trial.epoch}/{trial.num_epochs}"
    time = [number_text(trial.metrics.get(SHARE_NEEDING_TIME))] if with_time else []
    return str(trial.number), trial.state, progress, score, *time, *values


def _decision(trial: TrialRecord) -> str:
    """The pruning decision's reason; a failure's reason stands in its own table."""
    if trial.state == TrialState.PRUNED:
        return trial.reason
    return "see below" if trial.state == TrialState.FAILED else ""


def _data_facts(record: SweepRecord) -> Facts:
    data = record.data
    quarantined = ", ".join(f"{count} {reason}" for reason, count in data.quarantined.items())
    shares = [
        trial.metrics["time/data_wait_share"]
        for trial in record.trials
        if "time/data_wait_share" in trial.metrics
    ]
    waiting = ""
    if shares:
        mean = sum(shares) / len(shares)
        waiting = f"{mean:.1%} of a trial's time (mean of {len(shares)} trials)"
    loader = ", ".join(
        f"{value:,.0f} {name.removeprefix('data/').replace('_', ' ')}"
        for name, value in findings.counters(record).items()
        if value
    )
    return (
        (
            "videos",
            f"{data.num_train} train, {data.num_val} validation, {data.num_test} test, "
            f"{data.num_classes} classes",
        ),
        ("corpora", record.spec.judged_words),
        ("quarantined", quarantined or "none"),
        ("shared between parts", data.leakage or "nothing"),
        ("alarms", _alarms(record) or "none"),
        ("waiting for data", waiting),
        ("data loader", loader),
    )


def _other_protocols(record: SweepRecord) -> str:
    head = f"{PROTOCOL_TAG}."
    return ", ".join(
        f"{name.removeprefix(head).replace('_', ' ').replace('.', ' part, ')} {value}"
        for name, value in sorted(record.tags.items())
        if name.startswith(head)
    )


def _alarms(record: SweepRecord) -> str:
    """What is wrong with the training of which trials, with the likely cause."""
    trials: dict[str, list[str]] = {}
    for trial in record.trials:
        for alarm in alarms(trial.metrics) if trial.state.is_over else ():
            trials.setdefault(alarm, []).append(str(trial.number))
    return "; ".join(f"trials {joined(numbers)}: {alarm}" for alarm, numbers in trials.items())


def _protocol_facts(record: SweepRecord) -> Facts:
    data, config = record.data, record.config
    views = config.evaluation.views
    return (
        (
            "protocol",
            f"{record.tags.get(PROTOCOL_TAG, 'unknown')}: only figures of equal protocols "
            "are comparable",
        ),
        ("protocols of the others", _other_protocols(record)),
        (
            "objective",
            f"{record.objective}: "
            + (
                f"the first thirds of {data.num_val} validation videos among the last thirds of "
                f"{data.num_gallery + data.num_val} training and validation videos, by cosine"
                if config.sweep.is_label_free
                else f"cosine neighbours of {data.num_val} validation videos among "
                f"{data.num_gallery} training videos"
            )
            + (f"; {record.spec.judged_words}" if record.spec.judged_words else ""),
        ),
        (
            "views",
            f"{views.num_clips} clips of {views.clip_length} frames per video, centre crop "
            f"{config.clip.crop}; k {config.evaluation.retrieval.ks}",
        ),
        (
            "intervals",
            f"{findings.intervals_words(record)}: Wilson's, with the effective number of queries "
            "and Student's t; of means of trials, Student's t over trials",
        ),
        ("chance level", f"{data.chance:.3f}"),
    )
