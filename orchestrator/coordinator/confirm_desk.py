"""The confirm desk: what the confirmation of the best trials calls, for each confirming run.

Confirming runs are no trials: Optuna's sampler does not know of them. Their results are notes of
the study, and a result that is noted is never computed again, whatever dies in between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.config.run_config import to_tree
from orchestrator.confirmation import ConfirmedRun
from orchestrator.coordinator.recorder import CONFIRM_NOTE
from orchestrator.coordinator.run_starts import confirm_config
from orchestrator.coordinator.sweep_state import SweepState
from orchestrator.cost.account import Owner
from orchestrator.tracking.record_log import PointsHeld
from orchestrator.tracking.run_names import confirm_run
from orchestrator.trial_state import TrialState
from prp_core.reporting import Points

RUNNING = "confirming/"  # + TRIAL/SEED: the epoch of the driver that runs it, empty at its end
Pair = tuple[int, int]  # a trial's number and a seed


@dataclass(frozen=True)
class ConfirmTask:
    """What the driver of a confirming run needs, in the epoch `epoch` of the sweep's drivers;
    crosses processes.
    """

    number: int
    seed: int
    config: dict[str, Any]
    epoch: int = 0


class ConfirmDesk:
    """Starts, records and ends confirming runs, each named by its trial's number and its seed."""

    def __init__(self, state: SweepState) -> None:
        self._study = state.study
        self._table = state.table
        self._account = state.account
        self._recorder = state.recorder
        # with those that began before Ray restarted the coordinator
        self._open: set[Pair] = {
            pair_of(name, RUNNING)
            for name, epoch in self._study.sweep_notes(RUNNING).items()
            if epoch == str(self._study.epoch)
        }

    def affordable_candidates(self) -> int:
        """How many candidates the rest of the budget can confirm."""
        runs, _ = self.results()
        return self._account.affordable_candidates(len(runs))

    def training_costs(self) -> dict[int, float]:
        """GPU-hours (CPU-hours where there is no GPU) that each finished trial took."""
        finished = self._table.in_state(TrialState.FINISHED)
        totals = {view.number: self._account.totals(view.number) for view in finished}
        return {number: one.gpu_hours or one.cpu_hours for number, one in totals.items()}

    def start(self, number: int, seed: int) -> ConfirmTask:
        """The run that trains trial `number`'s config with `seed`, at full length and evaluated at
        its end only.
        """
        config = confirm_config(self._table.config_of(number), seed)
        self._study.set_sweep_note(f"{RUNNING}{number}/{seed}", str(self._study.epoch))
        self._recorder.start_confirm(number, seed, config)
        self._open.add((number, seed))
        self._account.on_requested(owner_of(number, seed), config)
        return ConfirmTask(number, seed, to_tree(config), self._study.epoch)

    def workers_started(self, number: int, seed: int) -> None:
        """The workers of a run are running."""
        if (number, seed) in self._open:
            self._account.on_started(owner_of(number, seed))

    def log(self, number: int, seed: int, metrics: Mapping[str, float], step: int) -> PointsHeld:
        """Record a run's metrics after `step` steps; what is held of its points."""
        if (number, seed) in self._open:
            self._account.on_progress(owner_of(number, seed), step, metrics)
        return self._recorder.log(confirm_run(number, seed), metrics, step)

    def log_again(self, number: int, seed: int, points: Points) -> PointsHeld:
        """Record points that may be recorded already; what is held of the run's points."""
        return self._recorder.log_again(confirm_run(number, seed), points)

    def end(
        self,
        number: int,
        seed: int,
        run: ConfirmedRun | None,
        reason: str = "",
        *,
        is_final: bool = True,
    ) -> None:
        """End a run with its result; told twice, the first result stands. Failed (`run` None), a
        resume tries it again unless `is_final`.
        """
        name = f"{CONFIRM_NOTE}{number}/{seed}"
        is_first = self._study.sweep_note(name) is None
        if (run is not None or is_final) and is_first:
            self._study.set_sweep_note(
                name, json.dumps({"failed": reason} if run is None else asdict(run))
            )
        if (number, seed) in self._open:
            self._open.remove((number, seed))
            self._study.set_sweep_note(f"{RUNNING}{number}/{seed}", "")
            self._account.on_ended(owner_of(number, seed))
        if is_first:
            state = TrialState.FAILED if run is None else TrialState.FINISHED
            self._recorder.finish(confirm_run(number, seed), state, reason)
        self._recorder.log_costs()

    def results(self) -> tuple[list[ConfirmedRun], dict[Pair, str]]:
        """The runs that are done, and why others failed for good."""
        runs = []
        failed = {}
        for name, value in self._study.sweep_notes(CONFIRM_NOTE).items():
            number, seed = pair_of(name, CONFIRM_NOTE)
            found = json.loads(value)
            if "failed" in found:
                failed[number, seed] = found["failed"]
            else:
                found.pop("run_id", None)  # a note of an earlier release
                runs.append(ConfirmedRun(**found))
        return sorted(runs, key=lambda run: (run.trial, run.seed)), failed


def pair_of(name: str, prefix: str) -> Pair:
    """The trial's number and the seed in the name of a note."""
    number, seed = name.removeprefix(prefix).split("/")
    return int(number), int(seed)


def owner_of(number: int, seed: int) -> Owner:
    """The owner of a confirming run's entries in the ledger."""
    return "confirm", number, seed
