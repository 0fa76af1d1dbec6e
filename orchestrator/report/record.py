"""The record of a sweep, read from its spec, its journal (study and ledger) and MLflow.

Reading changes nothing there and needs no driver.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.config.run_config import RunConfig, parse_config
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.confirmation import (
    BaselineVerdict,
    Candidate,
    ConfirmationOutcome,
    read_verdicts,
)
from orchestrator.cost.ledger import LedgerEntry, read_ledger
from orchestrator.data.sweep_videos import SweepVideos, read_sweep_videos
from orchestrator.journal.object_journal import JournalReader
from orchestrator.journal.stored_sweep import read_journal
from orchestrator.search.record import StudyRecord, StudyTrial, read_study
from orchestrator.search.space import apply_space
from orchestrator.tracking.mlflow_client import TrackerUnavailable
from orchestrator.tracking.reading import RunFacts, SweepRead, read_sweep_runs
from orchestrator.tracking.tags import KEY_TAG
from orchestrator.trial_state import TrialState
from prp_core.data.manifest import Parts, VideoRecord
from prp_core.evaluation.sentinels import leakage

BASELINE_PREFIX = "baseline/"
BASELINE_TITLES = {
    "random_init": "random initialisation",
    "mean_frame": "pixels: mean frame",
    "mean_absolute_difference": "pixels: mean absolute frame difference",
}


@dataclass(frozen=True)
class ConfirmationRecord:
    """The result of training the best trials again with new seeds; `candidates` are best first.

    `outcome` is a winner or a tie of the trials in `tied`, `text` its reason in one sentence.
    `test` holds the metrics of the trial that was `taken`, and of the baselines, on the test part;
    names start with ``test/``. `verdicts` compare it with the baselines, over the runs with new
    seeds: on the test part where `is_on_test`, else on the validation part.

    Of what was to be compared, `lost` are the candidates of which a run failed, with the reason,
    `num_unread` the validation videos that not every run could read, and `num_uncovered` the runs
    that the budget did not cover.
    """

    candidates: tuple[Candidate, ...]
    outcome: ConfirmationOutcome
    taken: int
    tied: tuple[int, ...]
    text: str
    test: Mapping[str, float]
    verdicts: tuple[BaselineVerdict, ...] = ()
    is_on_test: bool = False
    lost: Mapping[int, str] = field(default_factory=dict)
    num_unread: int = 0
    num_uncovered: int = 0


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """A trial that was feasible on the corpus, joined from Optuna and MLflow.

    `objective` is its final value, or that of its last rung after `epoch` epochs; nan: none.
    `continues` is the number of the trial that it trained on, for more epochs than the others.
    """

    number: int
    values: Mapping[str, Any]
    state: TrialState
    reason: str
    rungs: Mapping[int, float]
    epoch: int
    num_epochs: int
    objective: float
    metrics: Mapping[str, float]
    started: float
    ended: float
    run_id: str
    rates: str
    gpus: float
    cpus: float
    continues: int | None = None

    @property
    def seconds(self) -> float:
        """Its duration; 0 while it runs."""
        return max(0.0, self.ended - self.started) if self.ended else 0.0


@dataclass(frozen=True)
class DataFacts:
    """The videos of a sweep by part, quarantined ones by reason, and the chance level.

    `num_gallery` videos are what queries are measured against. Classes, groups, validation and test
    are those of the corpus that is judged on. `leakage` is what its parts share that makes figures
    too high (empty: nothing).
    """

    content_hash: str
    num_train: int
    num_val: int
    num_test: int
    num_classes: int
    num_val_groups: int
    quarantined: Mapping[str, int]
    chance: float
    num_gallery: int = 0
    leakage: str = ""


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """A sweep with its trials, baselines, costs and confirmation.

    `unfit` are (values, reason) of configurations that were infeasible on these videos; `ledger` is
    None where none was written; `showcases` are the trials whose runs hold one. `warning` says what
    could not be read (empty: nothing); `experiment_id` is MLflow's, of all runs (empty: unknown).
    """

    spec: SweepSpec
    config: RunConfig
    trials: tuple[TrialRecord, ...]
    unfit: tuple[tuple[Mapping[str, Any], str], ...]
    baselines: Mapping[str, float]
    parent_run_id: str
    parent_state: str
    tags: Mapping[str, str]
    data: DataFacts
    ledger: tuple[LedgerEntry, ...] | None
    confirmation: ConfirmationRecord | None
    showcases: tuple[int, ...] = ()
    warning: str = ""
    experiment_id: str = ""

    @property
    def objective(self) -> str:
        """The name of the metric that the sweep maximises."""
        return self.config.sweep.objective

    @property
    def finished(self) -> list[TrialRecord]:
        """The trials that reached their last epoch, best first."""
        done = [
            trial
            for trial in self.trials
            if trial.state == TrialState.FINISHED and math.isfinite(trial.objective)
        ]
        return sorted(done, key=lambda trial: (-trial.objective, trial.number))

    @property
    def best(self) -> TrialRecord | None:
        """The best finished trial."""
        return self.finished[0] if self.finished else None

    @property
    def taken(self) -> TrialRecord | None:
        """The trial that the sweep's encoder comes from.

        It is the one that a confirmation took, else the best finished one.
        """
        number = self.confirmation.taken if self.confirmation is not None else None
        return next((trial for trial in self.trials if trial.number == number), self.best)

    @property
    def varied(self) -> list[str]:
        """The config paths that any trial sampled, in the order of their first appearance."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.values))


def load_record(spec: SweepSpec, journal: JournalReader | None = None) -> SweepRecord:
    """The record of the sweep of `spec`, whose journal is `journal` (None: opened now).

    Where MLflow does not answer, what the sweep keeps itself is all there is, and `warning` says
    so. Raises `UserError` when the manifest or the study cannot be read.
    """
    journal = journal or read_journal(spec)
    config = parse_config(spec.config)
    study = read_study(spec, journal)
    runs = SweepRead(None, {})
    warning = ""
    try:
        key = spec.tags.get(KEY_TAG, "")
        runs = read_sweep_runs(spec.tracking_uri, config.sweep.name, spec.sweep_id, key)
    except TrackerUnavailable as error:
        warning = f"{error}; what only it knows (the ids of runs) is missing here"
    facts = data_facts(config, read_sweep_videos(spec, config))
    return joined_record(spec, config, study, runs, facts, journal, warning)


def joined_record(
    spec: SweepSpec,
    config: RunConfig,
    study: StudyRecord,
    runs: SweepRead,
    data: DataFacts,
    journal: JournalReader,
    warning: str = "",
) -> SweepRecord:
    """The record of the sweep of `spec` from what was read of it."""
    parent = runs.parent
    return SweepRecord(
        spec=spec,
        config=config,
        trials=trial_records(config, study, runs),
        unfit=tuple((trial.values, trial.unfit) for trial in study.trials if trial.unfit),
        baselines=baselines_of(study, parent),
        parent_run_id=parent.run_id if parent else "",
        parent_state=parent.state if parent else "",
        tags=spec.tags,
        data=data,
        ledger=tuple(read_ledger(journal)) or None,
        confirmation=read_confirmation(study.notes.get("confirmation")),
        showcases=tuple(json.loads(study.notes.get("showcases") or "[]")),
        warning=warning,
        experiment_id=parent.experiment_id if parent else "",
    )


def baselines_of(study: StudyRecord, parent: RunFacts | None) -> dict[str, float]:
    """The baselines' metrics: the sweep's own note of them, else those of its `parent` run."""
    noted = study.notes.get("end/baselines")
    if noted is not None:
        return dict(json.loads(noted))
    metrics = parent.metrics if parent else {}
    return {name: value for name, value in metrics.items() if name.startswith(BASELINE_PREFIX)}


def trial_records(
    config: RunConfig, study: StudyRecord, runs: SweepRead | None = None
) -> tuple[TrialRecord, ...]:
    """The feasible trials of `study`, joined with their MLflow `runs` where these are given."""
    known = runs.trials if runs else {}
    return tuple(
        _trial(config, trial, known.get(trial.number))
        for trial in study.trials
        if not trial.unfit and trial.values
    )


def _trial(base: RunConfig, trial: StudyTrial, run: RunFacts | None) -> TrialRecord:
    config = apply_space(base, trial.values)
    epoch = max(trial.rungs, default=0)
    value = trial.value if trial.value is not None else trial.rungs.get(epoch, math.nan)
    resources = config.resources
    return TrialRecord(
        number=trial.number,
        values=trial.sampled,
        state=trial.state,
        reason=trial.reason or trial.decisions.get(epoch, ""),
        rungs=trial.rungs,
        epoch=epoch,
        num_epochs=config.training.num_epochs,
        objective=value,
        metrics={**trial.metrics, **(run.metrics if run else {})},
        started=trial.started,
        ended=trial.ended,
        run_id=run.run_id if run else "",
        rates=config.pretext.playback_rate.rates,
        gpus=resources.num_workers * resources.gpus_per_worker,
        cpus=resources.num_workers * resources.cpus_per_worker,
        continues=trial.extension.trial if trial.extension else None,
    )


def data_facts(config: RunConfig, videos: SweepVideos) -> DataFacts:
    """The corpus of `videos`, judged by the objective of `config`."""
    manifest = videos.manifest
    split = videos.parts
    return DataFacts(
        content_hash=manifest.content_hash,
        num_train=len(split.train),
        num_gallery=len(split.gallery),
        num_val=len(split.val),
        num_test=len(split.test),
        num_classes=len(videos.judged.labels),
        num_val_groups=len({record.group for record in split.val}),
        quarantined=dict(Counter(record.reason for record in manifest.quarantined()).most_common()),
        chance=chance_level(
            split, _k_of(config.sweep.objective), is_label_free=config.sweep.is_label_free
        ),
        leakage=leakage(split),
    )


def chance_level(split: Parts, k: int, *, is_label_free: bool = False) -> float:
    """The expected recall at `k` of random neighbours.

    `is_label_free`: one of all videos, of gallery and queries, is right. Else, for each query it is
    1 - P(no video of its class among k drawn from the gallery).
    """
    if is_label_free:
        return min(1.0, k / max(1, len(split.gallery) + len(split.val)))
    chances = [_hit_by_luck(query, split.gallery, k) for query in split.val]
    return sum(chances) / max(1, len(chances))


def _hit_by_luck(query: VideoRecord, gallery: Sequence[VideoRecord], k: int) -> float:
    num_same = sum(record.label == query.label for record in gallery)
    k = min(k, len(gallery))
    return 1 - math.comb(len(gallery) - num_same, k) / math.comb(len(gallery), k)


def _k_of(objective: str) -> int:
    text = objective.rsplit("_", 1)[-1]
    return int(text) if text.isdigit() else 1


def read_confirmation(note: str | None) -> ConfirmationRecord | None:
    """The result in the study's note ``confirmation``; None where there is none (yet)."""
    tree = json.loads(note) if note else {}
    if "outcome" not in tree:
        return None
    candidates = tuple(
        Candidate(
            row["trial"],
            tuple(row["seeds"]),
            tuple(row["recall_at_1"]),
            row["low"],
            row["high"],
            row.get("prob_best"),
            row.get("expected_loss"),
        )
        for row in tree.get("candidates", ())
    )
    trials = [one.trial for one in candidates]
    tied = tree.get(
        "tied", trials if tree["outcome"] == "tie" else []
    )  # notes of before it was kept: all that were compared
    return ConfirmationRecord(
        candidates,
        ConfirmationOutcome(tree["outcome"]),
        tree.get("taken", trials[0]),
        tuple(tied),
        tree.get("text", ""),
        tree.get("test") or {},
        read_verdicts(tree.get("test_baselines") or tree.get("baselines") or ()),
        bool(tree.get("test_baselines")),
        {int(trial): reason for trial, reason in tree.get("lost", {}).items()},
        tree.get("num_unread", 0),
        tree.get("num_uncovered", 0),
    )
