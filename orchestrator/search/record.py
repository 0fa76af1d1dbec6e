"""A sweep's study read back: every trial as plain values, and the importance of each dimension."""

from __future__ import annotations

import json
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.journal.object_journal import JournalReader
from orchestrator.journal.stored_sweep import read_journal
from orchestrator.search.database import open_database
from orchestrator.search.decided_trials import DECISION
from orchestrator.search.dimensions import config_values
from orchestrator.search.extension import EXTENSION, Extension, extension_of
from orchestrator.search.journal_backend import open_study_storage
from orchestrator.trial_state import TrialState

SQLITE = "sqlite:///"
STATES = {
    "COMPLETE": TrialState.FINISHED,
    "PRUNED": TrialState.PRUNED,
    "FAIL": TrialState.FAILED,
}

# Which trials count as good, and how many of those PED-ANOVA needs before what it says is about the
# space and not about chance.
TARGET_QUANTILE = 0.25
MIN_TRIALS_FOR_IMPORTANCE = 12
NUM_SHUFFLES = 100


@dataclass(frozen=True)
class StudyTrial:
    """A trial as the study has it.

    `unfit` is why it could not be trained on these videos ("" where it could). `rungs` is epoch ->
    objective, `decisions` epoch -> the reason of the pruning decision. Times are seconds since
    1970, 0 where there is none. `is_drawn`: all its values were drawn. `extension`: how it
    continues another trial, `sampled` are the `values` without its larger number of epochs.
    """

    number: int
    values: Mapping[str, Any]
    state: TrialState
    reason: str = ""
    unfit: str = ""
    value: float | None = None
    rungs: Mapping[int, float] = field(default_factory=dict)
    decisions: Mapping[int, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    started: float = 0.0
    ended: float = 0.0
    is_drawn: bool = True
    extension: Extension | None = None
    sampled: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyRecord:
    """A study: its trials by number (the unfit ones too) and the notes kept with the sweep."""

    trials: tuple[StudyTrial, ...]
    notes: Mapping[str, str]


@dataclass(frozen=True)
class Importance:
    """The importance of each dimension for being good at the rung after `epoch` epochs.

    The sum of `shares` is 1. `noise` is the most that `NUM_SHUFFLES` shuffles of the same scores
    gave a dimension. `missing` says why there is nothing (then `shares` is empty).
    """

    epoch: int = 0
    num_trials: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)
    missing: str = ""


def read_study(spec: SweepSpec, journal: JournalReader | None = None) -> StudyRecord:
    """The study of the sweep of `spec`; empty where no trial was ever asked for.

    It is read from the sweep's `journal` (None: opened now), or from the database that `spec`
    names. Raises `UserError` when that cannot be opened.
    """
    study = load_study(spec, journal)
    if study is None:
        return StudyRecord((), {})
    notes = {name: value for name, value in study.user_attrs.items() if isinstance(value, str)}
    own = (
        trial for trial in study.get_trials(deepcopy=False) if "warm" not in trial.user_attrs
    )  # not those that an earlier sweep ran
    return StudyRecord(tuple(study_trial(trial) for trial in own), notes)


def importance(
    spec: SweepSpec,
    journal: JournalReader | None = None,
    *,
    min_trials: int = MIN_TRIALS_FOR_IMPORTANCE,
) -> Importance:
    """PED-ANOVA over the scores of all trials at the first rung.

    That is the one place where all of them compare: later, only the good ones are left. The good
    ones are the best quarter. Dimensions that exist in some trials only are measured among
    those (conditional PED-ANOVA).
    """
    study = load_study(spec, journal)
    every = study.get_trials(deepcopy=False) if study else []
    trials = [
        trial
        for trial in every
        if trial.intermediate_values and not {"warm", EXTENSION} & trial.user_attrs.keys()
    ]
    epoch = min((min(trial.intermediate_values) for trial in trials), default=0)
    trials = [trial for trial in trials if epoch in trial.intermediate_values]
    if len(trials) < min_trials:
        return Importance(
            epoch,
            len(trials),
            missing=f"{len(trials)} trials reached the first rung; {min_trials} are needed to "
            "tell importance from luck",
        )
    scores = [trial.intermediate_values[epoch] for trial in trials]
    if len(set(scores)) < 2:
        return Importance(
            epoch,
            len(trials),
            missing=f"all {len(trials)} trials scored the same at the first rung",
        )
    shares_of = _shares_by_scores(trials)
    shares = shares_of(scores)
    shuffled = []
    for seed in range(NUM_SHUFFLES):
        drawn = list(scores)
        random.Random(seed).shuffle(drawn)
        shuffled.append(shares_of(drawn))
    noise = {name: max(one.get(name, 0.0) for one in shuffled) for name in shares}
    return Importance(epoch, len(trials), shares, noise)


def _shares_by_scores(
    trials: Sequence[FrozenTrial],
) -> Callable[[Sequence[float]], dict[str, float]]:
    """The share of each dimension as a function of the scores of `trials`, one for each."""
    with _without_scikit_learn():
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = optuna.create_study(direction="maximize")
    for trial in trials:
        study.add_trial(
            optuna.trial.create_trial(
                params=trial.params, distributions=trial.distributions, value=0.0
            )
        )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=TARGET_QUANTILE)

    def shares(scores: Sequence[float]) -> dict[str, float]:
        with warnings.catch_warnings():
            # it warns of branches with one trial, which it leaves out, and that low targets win
            warnings.simplefilter("ignore")
            return dict(
                get_param_importances(
                    study, evaluator=evaluator, target=lambda trial: -scores[trial.number]
                )
            )

    return shares


@contextmanager
def _without_scikit_learn() -> Iterator[None]:
    """Import Optuna's importance evaluators without scikit-learn, which takes a second of CPU.

    Optuna does without it until one of its random forests is asked for; PED-ANOVA has none.
    """
    if "sklearn" in sys.modules or "optuna.importance" in sys.modules:
        yield
        return
    sys.modules["sklearn"] = None  # type: ignore[assignment]  # an import of it is an ImportError
    try:
        yield
    finally:
        del sys.modules["sklearn"]


def load_study(spec: SweepSpec, journal: JournalReader | None = None) -> optuna.Study | None:
    """The study; None where there is none. Never makes a database."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = spec.database_url
    if url.startswith(SQLITE) and not Path(url.removeprefix(SQLITE)).exists():
        return None
    storage = open_database(url) if url else open_study_storage(journal or read_journal(spec))
    try:
        return optuna.load_study(study_name=spec.sweep_id, storage=storage)
    except KeyError:
        return None


def study_trial(trial: FrozenTrial) -> StudyTrial:
    """`trial` of Optuna as plain values."""
    notes = trial.user_attrs
    decisions = {
        int(name.removeprefix(DECISION)): json.loads(text)["reason"]
        for name, text in notes.items()
        if name.startswith(DECISION)
    }
    values = json.loads(notes["values"]) if "values" in notes else dict(trial.params)
    extension = extension_of(trial)
    added = extension.values().keys() - config_values(trial.params).keys() if extension else set()
    return StudyTrial(
        number=trial.number,
        values=values,
        state=STATES.get(trial.state.name, TrialState.RUNNING),
        reason=notes.get("reason", ""),
        unfit=notes.get("unfit", ""),
        value=trial.value,
        rungs=dict(trial.intermediate_values),
        decisions=decisions,
        metrics=json.loads(notes.get("metrics", "{}")),
        started=trial.datetime_start.timestamp() if trial.datetime_start else 0.0,
        ended=trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0,
        is_drawn="values" in notes,
        extension=extension,
        sampled={name: value for name, value in values.items() if name not in added},
    )
