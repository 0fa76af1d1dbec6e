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
from orchestrator.coordinator.attempts import failed_too_often
from orchestrator.coordinator.recorder import CONFIRM_NOTE
from orchestrator.coordinator.run_starts import confirm_config
from orchestrator.coordinator.sweep_state import SweepState
from orchestrator.cost.account import Owner
from orchestrator.search.hand_out import NOT_HANDED_OUT, HandOut
from orchestrator.tracking.record_log import PointsHeld
from orchestrator.tracking.run_names import confirm_run
from orchestrator.trial.messages import Answer, ConfirmAttempt, ConfirmSender, Failure
from orchestrator.trial_state import TrialState
from prp_core.reporting import Points

RUNNING = "confirming/"  # + TRIAL/SEED: the note of the sweep with the run's `HandOut`
DRIVEN = "driven"  # the slot of a run that has a driver
Pair = tuple[int, int]  # a trial's number and a seed


@dataclass(frozen=True)
class ConfirmTask:
    """What the driver of a confirming run needs; crosses processes. `epoch` and `attempt` are those
    of the hand-out.
    """

    number: int
    seed: int
    config: dict[str, Any]
    epoch: int = 0
    attempt: int = 0

    @property
    def sender(self) -> ConfirmSender:
        """What the driver's messages carry until its first workers start."""
        return ConfirmSender(self.number, self.seed, self.epoch, self.attempt)


class ConfirmDesk:
    """Starts, records and ends confirming runs, each named by its trial's number and its seed. A
    message of an outdated attempt is answered with "leave" and changes nothing.
    """

    def __init__(self, state: SweepState) -> None:
        self._study = state.study
        self._table = state.table
        self._account = state.account
        self._recorder = state.recorder
        self._max_failures = state.base.resources.max_failures
        for name in self._study.sweep_notes(RUNNING):
            number, seed = pair_of(name, RUNNING)
            if self._is_open(number, seed):  # it began before Ray restarted the coordinator
                self._recorder.start_confirm_again(number, seed)

    def affordable_candidates(self) -> int:
        """How many candidates the rest of the budget can confirm."""
        runs, _ = self.results()
        return self._account.affordable_candidates(len(runs))

    def affords_runs(self, number: int) -> bool:
        """Whether the rest of the budget covers `number` more confirming runs."""
        return self._account.affords_runs(number)

    def training_costs(self) -> dict[int, float]:
        """GPU-hours (CPU-hours where there is no GPU) that each finished trial took."""
        finished = self._table.in_state(TrialState.FINISHED)
        totals = {view.number: self._account.totals(view.number) for view in finished}
        return {number: one.gpu_hours or one.cpu_hours for number, one in totals.items()}

    # ---- for the sweep's driver, which starts runs

    def start(self, number: int, seed: int) -> ConfirmTask:
        """The run that trains trial `number`'s config with `seed`, at full length and evaluated at
        its end only.
        """
        config = confirm_config(self._table.config_of(number), seed)
        hand_out = self._hand_out(number, seed).to(self._study.epoch, DRIVEN)
        self._keep(number, seed, hand_out)
        self._recorder.start_confirm(number, seed, config)
        self._account.on_requested(owner_of(number, seed), config)
        return ConfirmTask(number, seed, to_tree(config), hand_out.epoch, hand_out.attempt)

    def driver_died(self, number: int, seed: int, reason: str) -> None:
        """The driver of a run has died, more often than Ray starts it again; a resume tries the run
        again.
        """
        if self._is_open(number, seed):
            self._end(number, seed, None, reason, is_final=False)

    # ---- for the run's driver, which starts its workers and ends it

    def begin_attempt(self, sender: ConfirmSender, step: int) -> ConfirmAttempt:
        """The attempt with which a driver starts workers; they continue after `step` steps."""
        number, seed = sender.number, sender.seed
        hand_out = self._hand_out(number, seed)
        is_driver = sender.epoch == hand_out.epoch and sender.attempt >= hand_out.first_attempt
        if not is_driver or not self._is_open(number, seed):
            return ConfirmAttempt(None)
        begun = hand_out.begun(step)
        if begun.num_failures > self._max_failures:
            return ConfirmAttempt(None, failed_too_often(begun.num_failures, begun.cause))
        self._keep(number, seed, begun)
        return ConfirmAttempt(ConfirmSender(number, seed, begun.epoch, begun.attempt))

    def attempt_failed(self, sender: ConfirmSender, failure: Failure) -> Answer:
        """An attempt ended without an outcome. Whether there is another is the answer to
        `begin_attempt`.
        """
        if not self._is_heard(sender):
            return Answer.LEAVE
        hand_out = self._hand_out(sender.number, sender.seed)
        failed = hand_out.failed(failure.cause, is_counted=not failure.is_nodes)
        self._keep(sender.number, sender.seed, failed)
        return Answer.GO_ON

    def end(
        self,
        sender: ConfirmSender,
        run: ConfirmedRun | None,
        reason: str = "",
        *,
        is_final: bool = True,
    ) -> Answer:
        """End a run with its result; told twice, the first result stands. Failed (`run` None), a
        resume tries it again unless `is_final`.
        """
        if not self._is_heard(sender):
            return Answer.LEAVE
        self._end(sender.number, sender.seed, run, reason, is_final=is_final)
        return Answer.GO_ON

    # ---- for the workers, which train

    def workers_started(self, sender: ConfirmSender) -> Answer:
        """The workers of an attempt run."""
        if not self._is_heard(sender):
            return Answer.LEAVE
        if self._is_open(sender.number, sender.seed):
            self._account.on_started(owner_of(sender.number, sender.seed))
        return Answer.GO_ON

    def log(
        self, sender: ConfirmSender, metrics: Mapping[str, float], step: int
    ) -> PointsHeld | Answer:
        """Record a run's metrics after `step` steps; what is held of its points."""
        if not self._is_heard(sender):
            return Answer.LEAVE
        if self._is_open(sender.number, sender.seed):
            self._account.on_progress(owner_of(sender.number, sender.seed), step, metrics)
        return self._recorder.log(confirm_run(sender.number, sender.seed), metrics, step)

    def log_again(self, sender: ConfirmSender, points: Points) -> PointsHeld | Answer:
        """Record points that may be recorded already; what is held of the run's points."""
        if not self._is_heard(sender):
            return Answer.LEAVE
        return self._recorder.log_again(confirm_run(sender.number, sender.seed), points)

    # ----

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

    def _end(
        self, number: int, seed: int, run: ConfirmedRun | None, reason: str, *, is_final: bool
    ) -> None:
        name = f"{CONFIRM_NOTE}{number}/{seed}"
        is_first = self._study.sweep_note(name) is None
        if (run is not None or is_final) and is_first:
            self._study.set_sweep_note(
                name, json.dumps({"failed": reason} if run is None else asdict(run))
            )
        if self._is_open(number, seed):
            self._keep(number, seed, self._hand_out(number, seed).free())
            self._account.on_ended(owner_of(number, seed))
        if is_first:
            state = TrialState.FAILED if run is None else TrialState.FINISHED
            self._recorder.finish(confirm_run(number, seed), state, reason)
        self._recorder.log_costs()

    def _hand_out(self, number: int, seed: int) -> HandOut:
        """Who has the run; where an earlier release kept its epoch alone, nobody."""
        note = self._study.sweep_note(f"{RUNNING}{number}/{seed}") or ""
        return HandOut(**json.loads(note)) if note.startswith("{") else NOT_HANDED_OUT

    def _keep(self, number: int, seed: int, hand_out: HandOut) -> None:
        self._study.set_sweep_note(f"{RUNNING}{number}/{seed}", json.dumps(asdict(hand_out)))

    def _is_open(self, number: int, seed: int) -> bool:
        """Whether the run has a driver and has not ended, also where that began before Ray
        restarted the coordinator.
        """
        hand_out = self._hand_out(number, seed)
        return bool(hand_out.slot) and hand_out.epoch == self._study.epoch

    def _is_heard(self, sender: ConfirmSender) -> bool:
        hand_out = self._hand_out(sender.number, sender.seed)
        newest = self._study.epoch, hand_out.epoch, hand_out.attempt
        return newest == (sender.epoch, sender.epoch, sender.attempt)


def pair_of(name: str, prefix: str) -> Pair:
    """The trial's number and the seed in the name of a note."""
    number, seed = name.removeprefix(prefix).split("/")
    return int(number), int(seed)


def owner_of(number: int, seed: int) -> Owner:
    """The owner of a confirming run's entries in the ledger."""
    return "confirm", number, seed
