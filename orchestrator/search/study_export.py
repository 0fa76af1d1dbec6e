"""The export of a sweep's study to a SQLite file, which Optuna and optuna-dashboard read."""

from __future__ import annotations

import secrets
import warnings
from pathlib import Path

import optuna

from orchestrator.config.run_config import parse_config
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.search.record import load_study
from prp_core.errors import UserError


def export_study(spec: SweepSpec, file: Path, *, replace: bool = False) -> int:
    """Write the study of `spec` as it is now to the SQLite database `file`; how many trials it has.

    The file is complete or not there, and the sweep is only read. Raises `UserError` where the
    study has not begun, or where `file` exists and is not to be replaced.
    """
    if file.exists() and not replace:
        raise UserError(f"{file} exists; name another file, or replace it with --force")
    study = load_study(spec)
    if study is None:
        raise UserError(f"Sweep {spec.sweep_id} has no study yet: its first trial has not started")
    beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        copy = optuna.storages.RDBStorage(f"sqlite:///{beside}")
        optuna.copy_study(
            from_study_name=study.study_name, from_storage=study._storage, to_storage=copy
        )
        copied = optuna.load_study(study_name=study.study_name, storage=copy)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            copied.set_metric_names([parse_config(spec.config).sweep.objective])
        num_trials = len(copied.get_trials(deepcopy=False))
        copy.remove_session()
        copy.engine.dispose()
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    return num_trials
