"""The check of a sweep that was disturbed: its records against those of an undisturbed one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mlflow import MlflowClient

from orchestrator.tracking.run_names import SWEEP_RUN, run_of_tags, trial_run
from orchestrator.tracking.tags import SAMPLED_TAG, SWEEP_TAG
from tests.journals import ledger_of, study_of

# What was learnt; times, costs, counters and machines of a disturbed sweep are its own.
NOT_COMPARED = ("time/", "data/", "cost/", "waste/", "tracking/", "system/", "evaluation/lag")
Points = Counter[tuple[str, int, float]]
MLFLOW_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED"}


@dataclass(frozen=True)
class Records:
    """What a sweep left: Optuna's state of each trial, its rungs, and the points of its runs."""

    states: dict[int, str]
    rungs: dict[int, dict[int, float]]
    points: dict[str, Points]
    """By the names of runs: the sweep's, those of trials, confirming runs and baselines."""


def records_of(storage: str, sweep_id: str, tracking_uri: str) -> Records:
    """The records of a sweep, from its storage and from MLflow."""
    trials = [
        trial for trial in study_of(storage, sweep_id).trials if "unfit" not in trial.user_attrs
    ]
    client = MlflowClient(tracking_uri)
    return Records(
        {trial.number: trial.state.name for trial in trials},
        {trial.number: dict(trial.intermediate_values) for trial in trials},
        {run_of_tags(run.data.tags): points_of(client, run) for run in runs_of(client, sweep_id)},
    )


def runs_of(client: MlflowClient, sweep_id: str) -> list[Any]:
    """Every run of a sweep, parent and confirming runs included."""
    experiments = [one.experiment_id for one in client.search_experiments()]
    condition = f"tags.`{SWEEP_TAG}` = '{sweep_id}'"
    return list(client.search_runs(experiments, condition, max_results=1000))


def names_of(runs: Iterable[Any]) -> list[str]:
    """What `runs` are called by what they are: ``trial/7``, ``confirm/7/633`` and so on."""
    return [run_of_tags(run.data.tags) for run in runs]


def points_of(client: MlflowClient, run: Any) -> Points:
    """Each point of a run that says what was learnt, and how often it is there. Of the sweep's own
    run the last value of each metric: its steps count what disturbances add to.
    """
    metrics = [name for name in run.data.metrics if not name.startswith(NOT_COMPARED)]
    if run_of_tags(run.data.tags) == SWEEP_RUN:
        return Counter((name, 0, run.data.metrics[name]) for name in metrics)
    return Counter(
        (name, point.step, point.value)
        for name in metrics
        for point in client.get_metric_history(run.info.run_id, name)
        if not math.isnan(point.value)  # the objective has no value at step 0
    )


def faults_of(
    storage: str,
    sweep_id: str,
    tracking_uri: str,
    *,
    num_trials: int,
    reference: Records,
    may_fail: Iterable[int] = (),
    all_runs: bool = False,
) -> list[str]:
    """What is wrong with an ended sweep, line by line: a trial that is lost, repeated or different
    from the `reference`, a run too many or left RUNNING, a second that is paid for twice.

    A trial of `may_fail` may end as FAIL. `all_runs`: beside the trials' runs the points of the
    sweep's own, of confirming runs and of baselines are compared as well.
    """
    found = records_of(storage, sweep_id, tracking_uri)
    faults = []
    failed = set()
    if sorted(found.states) != list(range(num_trials)):
        faults.append(f"trials {sorted(found.states)}, asked for were {num_trials}")
    for number, state in found.states.items():
        if number in may_fail and state == "FAIL":
            failed.add(trial_run(number))
            continue
        if state != reference.states.get(number):
            faults.append(f"trial {number} is {state}, undisturbed {reference.states.get(number)}")
        if found.rungs[number] != reference.rungs.get(number):
            faults.append(
                f"trial {number} has rungs {found.rungs[number]}, undisturbed "
                f"{reference.rungs.get(number)}"
            )
    names = found.points.keys() | reference.points.keys()
    if not all_runs:
        names = {trial_run(number) for number in found.states}
    for name in sorted(names - failed):
        faults += differing_points(
            name, found.points.get(name, Counter()), reference.points.get(name, Counter())
        )
    faults += faults_of_runs(MlflowClient(tracking_uri), sweep_id, found.states)
    faults += faults_of_ledger(storage, sweep_id, found.states)
    return faults


def differing_points(name: str, found: Points, reference: Points) -> list[str]:
    """The points of the run called `name` that are lost, and those that are new or there twice."""
    lost = reference - found
    added = found - reference
    faults = []
    if lost:
        faults.append(f"{name} lacks {len(lost)} points, for example {min(lost)}")
    if added:
        faults.append(f"{name} has {len(added)} points too many: {min(added)}")
    return faults


def faults_of_runs(client: MlflowClient, sweep_id: str, states: dict[int, str]) -> list[str]:
    """Runs that are missing, too many, without their parameters, or not in the state of their
    trial.
    """
    runs = runs_of(client, sweep_id)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    trials = [run for run in runs if "prp.trial" in run.data.tags]
    faults = [f"run {run.info.run_name} is RUNNING" for run in runs if run.info.status == "RUNNING"]
    if [run.info.status for run in parents] != ["FINISHED"]:
        faults.append(f"parent runs: {[run.info.status for run in parents]}")
    twice = [name for name, times in Counter(names_of(runs)).items() if times > 1]
    faults += [f"{name} has two runs or more" for name in twice]
    counts = Counter(int(run.data.tags["prp.trial"]) for run in trials)
    if counts != Counter(states.keys()):
        faults.append(f"runs by trial: {dict(counts)}")
    for run in trials:
        number = int(run.data.tags["prp.trial"])
        if not run.data.params or SAMPLED_TAG not in run.data.tags:
            faults.append(f"the run of trial {number} lacks what it was started with")
        if run.info.status != MLFLOW_STATUS[states.get(number, "FAIL")]:
            faults.append(f"the run of trial {number}, {states.get(number)}, is {run.info.status}")
    return faults


def faults_of_ledger(storage: str, sweep_id: str, states: dict[int, str]) -> list[str]:
    """Trials that the ledger does not know, and seconds that it counts twice."""
    entries = [one for one in ledger_of(storage, sweep_id) if one.kind in ("train", "confirm")]
    trained = {one.trial for one in entries if one.kind == "train"}
    faults = []
    if trained != set(states):
        faults.append(f"the ledger knows trials {sorted(trained)}")
    for owner in sorted({one.owner for one in entries}, key=str):
        slices = sorted((one.started, one.ended) for one in entries if one.owner == owner)
        if any(one[1] > two[0] for one, two in pairwise(slices)):
            faults.append(f"the ledger counts seconds of {owner} twice")
    return faults
