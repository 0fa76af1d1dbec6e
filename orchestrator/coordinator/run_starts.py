"""The starts of a sweep's runs: title, parameters, whole config, tags and data sets for MLflow.

A run's parameters are what its sweep varies and what tells sweeps apart; all of its config stands
in one artifact and one tag.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.config.run_config import RunConfig, flatten, with_values
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.tracking.provenance import UNKNOWN
from orchestrator.tracking.run_start import DatasetInput, RunStart
from orchestrator.tracking.tags import (
    CONTINUES_TAG,
    EVAL_VIDEOS_TAG,
    NOTE_TAG,
    SAMPLED_TAG,
    VIDEOS_TAG,
)

# What a resume may change: MLflow's parameters cannot be changed.
NO_PARAMS = ("sweep.num_trials", "budget.", "confirm.", "showcase.")
# What tells the sweeps of one experiment apart, beside what they vary.
ALWAYS_SHOWN = (
    "encoder.name",
    "pretext.playback_rate.rates",
    "clip.length",
    "training.num_epochs",
    "training.batch_size",
    "training.learning_rate",
    "seed",
)
RATES = "pretext.playback_rate.rates"
LONGEST_TITLE = 80


def as_params(config: RunConfig) -> dict[str, str]:
    """The config by path, as text; without what decides nothing that a trial does
    (`NO_PARAMS`).
    """
    return {
        path: str(value)
        for path, value in flatten(config).items()
        if not path.startswith(NO_PARAMS)
    }


def confirm_config(config: RunConfig, seed: int) -> RunConfig:
    """The config that confirms a trial of `config` with `seed`: at full length, evaluated at its
    end only.
    """
    last_rung = {"training.first_rung_epochs": config.training.num_epochs}
    return with_values(config, {"seed": seed, **last_rung})


def sweep_start(spec: SweepSpec, base: RunConfig) -> RunStart:
    """The start of the parent run, whose parameters are the whole config."""
    config = as_params(base)
    return RunStart(
        params=config,
        tags=spec.tags,
        title=spec.sweep_id,
        config=config,
        datasets=datasets_of(spec),
        first_metric=base.sweep.objective,
    )


def trial_start(
    spec: SweepSpec,
    number: int,
    config: RunConfig,
    values: Mapping[str, Any],
    sampled: Mapping[str, Any] | None = None,
    continues: int | None = None,
) -> RunStart:
    """The start of trial `number`, which sampled `values` (`sampled`: as Optuna has them) and
    trains the trial that it `continues` on.
    """
    tags = {**spec.tags, "prp.checkpoints_uri": spec.trial_uri(number)}
    tags[NOTE_TAG] = f"Trial {number}: {words_of(values)}."
    if sampled is not None:
        tags[SAMPLED_TAG] = json.dumps(sampled)
    if continues is not None:
        tags[CONTINUES_TAG] = str(continues)
    title = f"{number:04d} {words_of(values)}"
    return _start(spec, config, values, tags, title)


def confirm_start(
    spec: SweepSpec, number: int, seed: int, config: RunConfig, values: Mapping[str, Any]
) -> RunStart:
    """The start of the run that confirms trial `number` with `seed`; `config` is its own."""
    folder = f"{spec.folder_uri}/{spec.confirm_folder(number, seed)}"
    tags = {**spec.tags, "prp.checkpoints_uri": folder}
    tags[NOTE_TAG] = f"Trial {number} again with seed {seed}: {words_of(values)}."
    return _start(spec, config, values, tags, f"{number:04d} seed {seed}: {words_of(values)}")


def baseline_start(spec: SweepSpec, title: str) -> RunStart:
    """The start of the run of the baseline called `title`, which trains nothing."""
    tags = {**spec.tags, NOTE_TAG: f"{title}: measured as the trials are, without any training."}
    return RunStart(params={}, tags=tags, title=title, datasets=datasets_of(spec))


def _start(
    spec: SweepSpec,
    config: RunConfig,
    values: Mapping[str, Any],
    tags: Mapping[str, str],
    title: str,
) -> RunStart:
    whole = as_params(config)
    shown = {path: whole[path] for path in (*values, *ALWAYS_SHOWN) if path in whole}
    return RunStart(
        params=shown,
        tags=tags,
        title=title if len(title) <= LONGEST_TITLE else f"{title[: LONGEST_TITLE - 3]}...",
        config=whole,
        datasets=datasets_of(spec),
        first_metric=config.sweep.objective,
    )


def words_of(values: Mapping[str, Any]) -> str:
    """``1-2-4, length 16, upsampling 4``: the rate set first, floats with three digits."""
    rates = [str(values[RATES])] if RATES in values else []
    rest = [
        f"{path.rsplit('.', 1)[-1]} {value:.3g}"
        if isinstance(value, float)
        else f"{path.rsplit('.', 1)[-1]} {value}"
        for path, value in values.items()
        if path != RATES
    ]
    return ", ".join([*rates, *rest]) or "nothing varied"


def datasets_of(spec: SweepSpec) -> tuple[DatasetInput, ...]:
    """The videos of the sweep as MLflow's data sets, those that encoders are judged on, too, where
    they are others; the version is a function of their bytes.
    """
    digest = spec.tags.get(VIDEOS_TAG) or spec.tags.get("prp.dataset_hash", "")
    if not digest:
        return ()
    found = [_dataset(spec.data_uri, digest, "training")]
    if spec.eval_data_uri:
        judged = spec.tags.get(EVAL_VIDEOS_TAG) or UNKNOWN
        found.append(_dataset(spec.eval_data_uri, judged, "evaluation"))
    return tuple(found)


def _dataset(uri: str, digest: str, context: str) -> DatasetInput:
    name = uri.rstrip("/").rsplit("/", 1)[-1] or "videos"
    return DatasetInput(name=name, digest=digest, source=uri, context=context)
