"""The trials of earlier sweeps in MLflow, as a warm start needs them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.tracking.mlflow_client import connect, limit_requests, retry
from orchestrator.tracking.tags import (
    CONTINUES_TAG,
    PROTOCOL_TAG,
    ROLE_TAG,
    SAMPLED_TAG,
    STATE_TAG,
    SWEEP_TAG,
    TRIAL_TAG,
    VIDEOS_TAG,
    whole_config,
)
from orchestrator.trial_state import TrialState
from prp_core.errors import UserError

MAX_RUNS = 500
TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True)
class PastTrial:
    """A finished or pruned trial of an earlier sweep.

    `params` are all its config values by path, as text; `sampled` the values that its space
    sampled, by name; `rungs` its objective by epoch; `videos_hash` that of the videos that it
    learnt from.
    """

    sweep_id: str
    number: int
    state: TrialState
    protocol_hash: str
    params: Mapping[str, str]
    sampled: Mapping[str, Any]
    rungs: Mapping[int, float] = field(default_factory=dict)
    videos_hash: str = ""

    @property
    def name(self) -> str:
        """``sweep/number``."""
        return f"{self.sweep_id}/{self.number}"


def read_past_trials(
    tracking_uri: str, experiment: str, objective: str, *, sweep_id: str = "", but_not: str = ""
) -> list[PastTrial]:
    """The finished and pruned trials of `experiment`, newest first, at most `MAX_RUNS`.

    They are of the sweep `sweep_id`, or of all sweeps except `but_not`. Raises `UserError` when
    `sweep_id` is given and has no such trial, `TrackerUnavailable` when MLflow does not answer.
    """
    limit_requests()
    client = connect(tracking_uri)

    def ask() -> list[Any]:
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return []
        condition = f"tags.`{ROLE_TAG}` = 'trial' and attributes.status = 'FINISHED'"
        condition += f" and tags.`{SWEEP_TAG}` = '{sweep_id}'" if sweep_id else ""
        return list(
            client.search_runs(
                [found.experiment_id],
                condition,
                max_results=MAX_RUNS,
                order_by=["attributes.start_time DESC"],
            )
        )

    if "'" in sweep_id or '"' in sweep_id:
        raise UserError(f"--warm-start {sweep_id!r}: a sweep's name has no quotes")
    runs = [
        run
        for run in retry(ask, tracking_uri, TIMEOUT_SECONDS)
        if run.data.tags.get(SWEEP_TAG) != but_not
    ]
    records = [
        _record(client, tracking_uri, run, objective)
        for run in runs
        if run.data.tags.get(STATE_TAG) in (TrialState.FINISHED, TrialState.PRUNED)
        and CONTINUES_TAG not in run.data.tags  # trained for longer: it compares with no other
    ]
    if sweep_id and not records:
        raise UserError(
            f"--warm-start {sweep_id}: MLflow at {tracking_uri} has no ended trial of "
            f"that sweep in experiment {experiment!r}"
        )
    return records


def _record(client: Any, tracking_uri: str, run: Any, objective: str) -> PastTrial:
    tags = run.data.tags

    def series(name: str) -> dict[int, float]:
        points = retry(
            lambda: client.get_metric_history(run.info.run_id, name), tracking_uri, TIMEOUT_SECONDS
        )
        return {point.step: point.value for point in points if math.isfinite(point.value)}

    epochs = series("epoch") if math.isfinite(run.data.metrics.get(objective, math.nan)) else {}
    scores = series(objective) if epochs else {}
    rungs = {int(epochs[step]): score for step, score in scores.items() if step in epochs}
    return PastTrial(
        sweep_id=tags[SWEEP_TAG],
        number=int(tags[TRIAL_TAG]),
        state=TrialState(tags[STATE_TAG]),
        protocol_hash=tags.get(PROTOCOL_TAG, ""),
        videos_hash=tags.get(VIDEOS_TAG, ""),
        params=whole_config(run.data.params, run.data.tags),
        sampled=json.loads(tags.get(SAMPLED_TAG, "{}")),
        rungs=dict(sorted(rungs.items())),
    )
