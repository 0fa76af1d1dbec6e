"""How the search of a sweep runs: trials, objective, sampler, pruner, evaluator."""

from __future__ import annotations

import re
from dataclasses import dataclass

from prp_core.checks import check, check_choice

STUDY_PLACE = "{study}"  # in `sweep.name`: the name of the study's file
LONGEST_NAME = 120  # a sweep's id, which a time follows, names a folder
SWEEP_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}")
LABEL_FREE = "label_free/"
LABEL_FREE_OBJECTIVE = "label_free/recall_at_1"
EVALUATORS = ("auto", "task", "worker")


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """How many trials a sweep has, what draws them, what ends them early, what they maximise.

    The objective is a downstream metric because losses and pretext accuracies of trials with other
    rate sets are not comparable.
    """

    name: str = STUDY_PLACE
    """Names the MLflow experiment, the registered encoder and the ids of its sweeps; ``{study}`` is
    replaced by the study's file (``rate-search`` for ``sweeps/rate_search.py``)."""
    num_trials: int = 20
    """How many trials are run in all; ``--trials`` sets it, also of a resumed sweep."""
    max_concurrent_trials: int = 0
    """How many trials run at once at most; 0: as many as the cluster has room for."""
    objective: str = "retrieval/recall_at_1"
    """The metric that is maximised, measured on the validation part: a ``retrieval/`` one; where no
    video has a class, a sweep takes ``label_free/recall_at_1``."""
    sampler: str = "gp"
    """What proposes values: ``gp`` (a Gaussian process over the scores of all rungs), ``tpe``
    (Optuna's), or ``random``."""
    pruner: str = "asha"
    """What ends trials at rungs: ``asha`` (asynchronous successive halving), ``paired`` (the same,
    but a trial below the bar goes on unless it is told worse query by query), ``median``, or
    ``none``."""
    pruner_min_trials: int = 1
    """How many other trials must have a value at a rung before a trial is pruned there (Optuna's
    ``n_min_trials``)."""
    paired_standard_errors: float = 1.0
    """By how many standard errors of the paired differences a trial has to lie below the trial at
    the bar for ``paired`` to prune it; 0: as ``asha``."""
    evaluator: str = "auto"
    """Where rungs are evaluated: by the ``worker`` that trains, by a ``task`` beside it while
    training goes on, or ``auto``: a task where the cluster has room for one."""
    num_startup_trials: int = 0
    """How many trials cover the space evenly before the sampler models it; 0: an eighth of the
    trials (``tpe``: a quarter), but 4 to 16."""
    min_eligible_fraction: float = 0.5
    """The share of training videos, 0 to 1, that must be long enough for each rate of a trial."""

    def __post_init__(self) -> None:
        rule = (
            f"letters, digits, '.', '-' and '_', a letter or digit first, at most {LONGEST_NAME}; "
            f"{STUDY_PLACE} stands for the study's file"
        )
        check(
            SWEEP_NAME.fullmatch(self.name.replace(STUDY_PLACE, "study")) is not None,
            "sweep.name",
            self.name,
            rule,
        )
        check(self.num_trials >= 1, "sweep.num_trials", self.num_trials, "must be at least 1")
        check(
            self.max_concurrent_trials >= 0,
            "sweep.max_concurrent_trials",
            self.max_concurrent_trials,
            "must not be negative",
        )
        check(
            self.num_startup_trials >= 0,
            "sweep.num_startup_trials",
            self.num_startup_trials,
            "must not be negative (0: as many as suit)",
        )
        check(
            self.pruner_min_trials >= 1,
            "sweep.pruner_min_trials",
            self.pruner_min_trials,
            "must be at least 1",
        )
        check(
            self.paired_standard_errors >= 0,
            "sweep.paired_standard_errors",
            self.paired_standard_errors,
            "must not be negative",
        )
        check_choice("sweep.evaluator", self.evaluator, EVALUATORS)
        rule = (
            "must be a retrieval metric such as 'retrieval/recall_at_1': a pretext loss or "
            "accuracy is not comparable across rate sets"
        )
        is_known = self.objective.startswith(("retrieval/recall_at_", f"{LABEL_FREE}recall_at_"))
        check(is_known, "sweep.objective", self.objective, rule)
        check(
            0 <= self.min_eligible_fraction <= 1,
            "sweep.min_eligible_fraction",
            self.min_eligible_fraction,
            "must lie in 0 to 1",
        )

    @property
    def is_label_free(self) -> bool:
        """Whether the objective needs no class."""
        return self.objective.startswith(LABEL_FREE)

    @property
    def recall_at_1(self) -> str:
        """The recall at 1 of the objective's kind, which confirmation and test compare."""
        return LABEL_FREE_OBJECTIVE if self.is_label_free else "retrieval/recall_at_1"
