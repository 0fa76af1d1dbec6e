"""Read-only access to the runs of a sweep in MLflow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.config.typed_command import prp
from orchestrator.tracking.local_files import sqlite_file
from orchestrator.tracking.mlflow_client import (
    connect,
    first_line,
    is_temporary,
    limit_requests,
    retry,
)
from orchestrator.tracking.run_names import tags_of_sweep
from orchestrator.tracking.runs import RUNNING, find_runs
from orchestrator.tracking.tags import (
    BASELINE_TAG,
    CONFIRM_TAG,
    STATE_TAG,
    SWEEP_TAG,
    TRIAL_TAG,
    whole_config,
)
from orchestrator.tracking.tracking_uri import check_usable
from prp_core.errors import UserError

TIMEOUT_SECONDS = 15.0
MAX_RUNNING = 1000


@dataclass(frozen=True)
class RunFacts:
    """A run as MLflow has it, with the last value of each metric.

    `params` is its whole config by path. `state` is ours (running, finished, pruned, failed,
    killed). `started` and `ended` are seconds since 1970; `ended` is 0 for a run that has not
    ended.
    """

    run_id: str
    experiment: str
    state: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    started: float
    ended: float
    experiment_id: str = ""


@dataclass(frozen=True)
class SweepRead:
    """The runs of a sweep: the parent's (None: none yet) and each trial's by its number."""

    parent: RunFacts | None
    trials: Mapping[int, RunFacts]


def read_sweep_runs(
    tracking_uri: str, experiment_name: str, sweep_id: str, sweep_key: str = ""
) -> SweepRead:
    """The runs of `sweep_id` with that key; empty where there are none yet. Raises
    `TrackerUnavailable`.
    """
    client = open_existing(tracking_uri)
    if client is None:
        return SweepRead(None, {})
    experiment = retry(
        lambda: client.get_experiment_by_name(experiment_name), tracking_uri, TIMEOUT_SECONDS
    )
    if experiment is None:
        return SweepRead(None, {})
    every = retry(
        lambda: find_runs(client, experiment.experiment_id, tags_of_sweep(sweep_id, sweep_key)),
        tracking_uri,
        TIMEOUT_SECONDS,
    )
    found = [
        run
        for run in reversed(every)
        if CONFIRM_TAG not in run.data.tags and BASELINE_TAG not in run.data.tags
    ]
    runs = [(run.data.tags.get(TRIAL_TAG), _facts(run, experiment_name)) for run in found]
    parents = [facts for trial, facts in runs if trial is None]
    return SweepRead(
        parents[-1] if parents else None,
        {int(trial): facts for trial, facts in runs if trial is not None},
    )


def read_running_sweeps(tracking_uri: str) -> set[str]:
    """The ids of the sweeps of which any run is RUNNING. Raises `TrackerUnavailable`."""
    client = open_existing(tracking_uri)
    if client is None:
        return set()

    found = retry(
        lambda: running_runs(client, f"tags.`{SWEEP_TAG}` LIKE '%'"), tracking_uri, TIMEOUT_SECONDS
    )
    return {run.data.tags[SWEEP_TAG] for run in found}


def running_runs(client: Any, condition: str) -> list[Any]:
    """The runs of every experiment that are RUNNING and meet `condition`, as many as MLflow gives
    at once. One attempt.
    """
    experiments = [one.experiment_id for one in client.search_experiments(max_results=1000)]
    condition = f"attributes.status = '{RUNNING}' and {condition}"
    return list(client.search_runs(experiments, condition, max_results=MAX_RUNNING))


def read_run(tracking_uri: str, run_id: str) -> RunFacts:
    """The run `run_id`. Raises `UserError` when there is none, `TrackerUnavailable`."""
    client = open_existing(tracking_uri)
    if client is None:
        raise UserError(
            f"There is no MLflow database at {tracking_uri}; name the one that holds "
            "the run with --mlflow URI"
        )
    try:
        run = retry(lambda: client.get_run(run_id), tracking_uri, TIMEOUT_SECONDS)
        experiment = retry(
            lambda: client.get_experiment(run.info.experiment_id), tracking_uri, TIMEOUT_SECONDS
        )
    except Exception as error:
        if is_temporary(error):
            raise
        raise UserError(
            f"MLflow at {tracking_uri} has no run {run_id!r} ({first_line(error)}); "
            f"`{prp('report SWEEP')}` lists a sweep's runs"
        ) from error
    return _facts(run, experiment.name)


def read_history(tracking_uri: str, run_id: str, metric: str) -> dict[int, float]:
    """The history of one metric of a run: its value by step."""
    client = open_existing(tracking_uri)
    assert client is not None, tracking_uri
    points = retry(lambda: client.get_metric_history(run_id, metric), tracking_uri, TIMEOUT_SECONDS)
    return {int(point.step): float(point.value) for point in points if not math.isnan(point.value)}


def open_existing(tracking_uri: str) -> Any:
    """A client; None where the sqlite file is missing, which connecting would create."""
    check_usable(tracking_uri)
    database = sqlite_file(tracking_uri)
    if database is not None and not database.exists():
        return None
    limit_requests()
    return connect(tracking_uri)


def _facts(run: Any, experiment_name: str) -> RunFacts:
    status = str(run.info.status).lower()
    return RunFacts(
        run_id=run.info.run_id,
        experiment=experiment_name,
        state=run.data.tags.get(STATE_TAG, status),
        params=whole_config(run.data.params, run.data.tags),
        metrics={
            name: float(value)
            for name, value in run.data.metrics.items()
            if not math.isnan(value)  # of a metric that has no value yet
        },
        tags=dict(run.data.tags),
        started=(run.info.start_time or 0) / 1000,
        ended=(run.info.end_time or 0) / 1000,
        experiment_id=str(run.info.experiment_id),
    )
