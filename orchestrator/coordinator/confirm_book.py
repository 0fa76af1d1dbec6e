"""The confirming runs within the coordinator: their MLflow runs, their costs, and their results
as notes of the study.

They are no trials: Optuna's sampler never hears of them. A result that is noted is never computed
again, whatever dies in between.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.config.run_config import RunConfig, to_tree, with_values
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.confirmation import ConfirmedRun
from orchestrator.cost.account import SweepAccount
from orchestrator.search.study import SweepStudy
from orchestrator.tracking.mlflow_tracker import MlflowTracker
from orchestrator.trial_state import TrialState

NOTE = "confirm/"
Pair = tuple[int, int]


@dataclass(frozen=True)
class ConfirmTask:
    """What the driver of a confirming run needs; crosses processes."""

    number: int
    seed: int
    run_id: str
    config: dict[str, Any]


class ConfirmBook:
    """Used by the coordinator alone, as the study and the tracker are."""

    def __init__(
        self,
        study: SweepStudy,
        tracker: MlflowTracker,
        account: SweepAccount,
        spec: SweepSpec,
        sweep_run_id: str,
        as_params: Callable[[RunConfig], dict[str, str]],
    ) -> None:
        self._study = study
        self._tracker = tracker
        self._account = account
        self._spec = spec
        self._sweep_run_id = sweep_run_id
        self._as_params = as_params
        self._open: dict[Pair, str] = {}

    def start(self, number: int, seed: int, config: RunConfig) -> ConfirmTask:
        """The run of trial `number`'s `config` with `seed`: full length, looked at only at its
        end.
        """
        config = with_values(
            config, {"seed": seed, "training.first_rung_epochs": config.training.num_epochs}
        )
        folder = f"{self._spec.folder_uri}/{self._spec.confirm_folder(number, seed)}"
        tags = {**self._spec.tags, "prp.checkpoints_uri": folder}
        run_id = self._tracker.start_confirm(
            self._sweep_run_id, number, seed, params=self._as_params(config), tags=tags
        )
        self._open[number, seed] = run_id
        self._account.on_requested(self._owner(number, seed), config)
        return ConfirmTask(number, seed, run_id, to_tree(config))

    def started(self, number: int, seed: int) -> None:
        """The workers' first word."""
        if (number, seed) in self._open:
            self._account.on_started(self._owner(number, seed))

    def log(self, number: int, seed: int, metrics: Mapping[str, float], step: int) -> None:
        """What the workers logged; what comes after the end is not the run's any more."""
        if (number, seed) in self._open:
            self._account.on_progress(self._owner(number, seed), step, metrics)
            self._tracker.log(self._open[number, seed], metrics, step)

    def end(
        self, number: int, seed: int, run: ConfirmedRun | None, reason: str, *, is_final: bool
    ) -> None:
        """Note what came of it and close its MLflow run; told twice, the first word stands."""
        name = f"{NOTE}{number}/{seed}"
        if (run is not None or is_final) and self._study.sweep_note(name) is None:
            self._study.set_sweep_note(
                name, json.dumps({"failed": reason} if run is None else asdict(run))
            )
        run_id = self._open.pop((number, seed), None)
        if run_id is not None:
            self._account.on_ended(self._owner(number, seed))
            state = TrialState.FAILED if run is None else TrialState.FINISHED
            self._tracker.finish(run_id, state, reason)

    def done(self) -> tuple[list[ConfirmedRun], dict[Pair, str]]:
        """The results that are noted, and why runs failed for good."""
        runs = []
        failed = {}
        for name, value in self._study.sweep_notes(NOTE).items():
            number, seed = (int(part) for part in name.removeprefix(NOTE).split("/"))
            found = json.loads(value)
            if "failed" in found:
                failed[number, seed] = found["failed"]
            else:
                runs.append(ConfirmedRun(**found))
        return sorted(runs, key=lambda run: (run.trial, run.seed)), failed

    def close(self, end: str, reason: str) -> None:
        """Close the MLflow runs that are still open."""
        for run_id in self._open.values():
            self._tracker.finish(run_id, end, reason)

    @staticmethod
    def _owner(number: int, seed: int) -> tuple[str, int, int | None]:
        return "confirm", number, seed
