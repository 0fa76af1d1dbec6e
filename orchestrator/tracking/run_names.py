"""The names of a sweep's runs, by which everybody calls them: MLflow's ids are found from these.

| name | run | its tags beside the sweep's |
|---|---|---|
| ``sweep`` | the parent run | |
| ``trial/7`` | trial 7 | ``prp.trial`` |
| ``baseline/random_init`` | a baseline | ``prp.baseline`` |
| ``confirm/7/633`` | trial 7 with seed 633 | ``prp.confirm_of``, ``prp.seed`` |
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.tracking.tags import (
    BASELINE_TAG,
    CONFIRM_TAG,
    KEY_TAG,
    ROLE_TAG,
    SEED_TAG,
    SWEEP_TAG,
    TRIAL_TAG,
)

SWEEP_RUN = "sweep"


def trial_run(number: int) -> str:
    """The name of trial `number`'s run."""
    return f"trial/{number}"


def baseline_run(name: str) -> str:
    """The name of the run of the baseline called `name`."""
    return f"baseline/{name}"


def confirm_run(number: int, seed: int) -> str:
    """The name of the run that confirms trial `number` with `seed`."""
    return f"confirm/{number}/{seed}"


def tags_of_sweep(sweep_id: str, sweep_key: str) -> dict[str, str]:
    """The tags by which all runs of a sweep are found in MLflow; one that was started by an earlier
    release has no key.
    """
    return {SWEEP_TAG: sweep_id} | ({KEY_TAG: sweep_key} if sweep_key else {})


def identity_of(sweep_id: str, run: str, sweep_key: str = "") -> dict[str, str]:
    """The tags by which `run` of the sweep is found in MLflow."""
    role, *numbers = run.split("/")
    tags = {**tags_of_sweep(sweep_id, sweep_key), ROLE_TAG: role}
    names = {
        "trial": (TRIAL_TAG,),
        "confirm": (CONFIRM_TAG, SEED_TAG),
        "baseline": (BASELINE_TAG,),
    }.get(role, ())
    return tags | dict(zip(names, numbers, strict=True))


def run_of_tags(tags: Mapping[str, str]) -> str:
    """The name of the run with these `tags`."""
    if CONFIRM_TAG in tags:
        return confirm_run(int(tags[CONFIRM_TAG]), int(tags[SEED_TAG]))
    if BASELINE_TAG in tags:
        return baseline_run(tags[BASELINE_TAG])
    return trial_run(int(tags[TRIAL_TAG])) if TRIAL_TAG in tags else SWEEP_RUN


def title_of(sweep_id: str, run: str) -> str:
    """The name of the run that MLflow shows."""
    role, *numbers = run.split("/")
    if role == "sweep":
        return sweep_id
    if role == "baseline":
        return run
    seed = f"-seed-{numbers[1]}" if role == "confirm" else ""
    return f"{role}-{int(numbers[0]):04d}{seed}"
