"""The confirming runs on the cluster: nested Ray Train runs, then the comparison of all of them.

Each run is driven by a small task that only waits (as a trial's driver does); its workers train,
and evaluate once, at the end. The coordinator notes each result before the next step, so that an
interrupted confirmation continues where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import ray

from orchestrator.comparison import Assessment, assess
from orchestrator.config.run_config import parse_config
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.confirmation import (
    Confirmation,
    ConfirmedRun,
    Rules,
    candidates_of,
    looks_of,
)
from orchestrator.coordinator.confirm_desk import ConfirmTask, Pair
from orchestrator.coordinator.coordinator import CoordinatorHandle
from orchestrator.cost.budget import GO_ON
from orchestrator.ray_cluster.composed_actor import PartHandle
from orchestrator.ray_cluster.driver_placement import driver_labels
from orchestrator.ray_cluster.worker_failures import failure_reason, is_nodes_failure
from orchestrator.ray_cluster.worker_group import fit_workers
from orchestrator.storage.open_store import open_store
from orchestrator.sweep.plan import Plan
from orchestrator.trial.driver import DRIVER_RESOURCES, TOLD_TO_LEAVE
from orchestrator.trial.messages import Answer, ConfirmAttempt, Failure
from prp_core.training.checkpoint_record import newest_step

Say = Callable[[str], None]
OTHER_DRIVER = "it has ended, or another driver has it"


def confirm(
    plan: Plan,
    coordinator: CoordinatorHandle,
    scores: Mapping[int, float],
    rates: Mapping[int, str],
    max_concurrent: int,
    say: Say,
) -> Confirmation | None:
    """Train the best trials again and compare them; None where nothing is confirmed, said so.

    `scores` is finished trial -> objective, `rates` trial -> rate set. The result is kept as
    the sweep's note ``confirmation``.
    """
    config = plan.config.confirm
    if not config.num_candidates or not scores:
        return None
    affordable = ray.get(coordinator.confirming.affordable_candidates.remote())
    if affordable < config.num_candidates:
        rest = f"the best {affordable} are confirmed" if affordable else "nothing is confirmed"
        say(
            f"the budget does not cover {config.num_candidates} candidates with "
            f"{config.num_seeds} seeds each: {rest}; {GO_ON}"
        )
    if not affordable:
        return None
    trials = candidates_of(scores, affordable, rates)
    if len(trials) < 2:
        say(
            f"nothing to confirm: {len(scores)} finished "
            f"trial{'s' if len(scores) != 1 else ''}, comparing needs 2"
        )
        return None
    named = ", ".join(f"{trial} ({rates[trial]})" for trial in trials)
    say(f"confirming trials {named} at full length with new seeds")
    ran = _run_until_decided(plan, coordinator, trials, len(rates), max_concurrent, say)
    compared = {one.trial for one in ran.confirmation.candidates} if ran.confirmation else set()
    for (trial, seed), reason in ran.failed.items():
        if trial in trials:
            what = "its other runs count" if trial in compared else "it is no candidate any more"
            say(f"trial {trial} with seed {seed} failed, so that {what}: {reason}")
    if ran.confirmation is None:
        say("nothing is confirmed: fewer than two candidates finished all their runs")
        return None
    lost = set(trials) - compared
    no_candidates = max(0, min(config.num_candidates, len(scores)) - affordable)
    note = ran.confirmation.as_json() | {
        "lost": {trial: why for (trial, _), why in ran.failed.items() if trial in lost},
        "num_uncovered": ran.num_uncovered + no_candidates * config.num_seeds,
    }
    ray.get(coordinator.recorder.note.remote("confirmation", json.dumps(note)))
    say(ran.confirmation.text)
    return ran.confirmation


@dataclass(frozen=True)
class _Ran:
    """What the confirming runs show (None: too few have ended), why others failed, and how many
    more the rules asked for that the budget did not cover.
    """

    confirmation: Confirmation | None
    failed: Mapping[Pair, str]
    num_uncovered: int = 0


def _run_until_decided(
    plan: Plan,
    coordinator: CoordinatorHandle,
    trials: Sequence[int],
    num_measured: int,
    max_concurrent: int,
    say: Say,
) -> _Ran:
    """Run what the rules ask for of `trials` and the budget covers. `num_measured` trials were
    measured on the validation videos.
    """
    config = plan.config.confirm
    confirming = coordinator.confirming
    rules = Rules(
        looks=looks_of(config.num_seeds, config.max_seeds),
        margin=config.margin,
        num_measured=num_measured,
    )
    tried: set[Pair] = set()
    while True:
        runs, failed = ray.get(confirming.results.remote())
        done = {(run.trial, run.seed) for run in runs}
        not_now = dict.fromkeys(tried - done, "it did not end")  # a resume tries it again
        found: Assessment = assess(
            trials,
            plan.config.seed,
            runs,
            {**not_now, **failed},
            rules,
            group_of={record.key: record.group or record.key for record in plan.parts.val},
            costs=ray.get(confirming.training_costs.remote()),
        )
        if not found.wanted:
            return _Ran(found.confirmation, {**not_now, **failed})
        if found.confirmation is not None:
            say(found.confirmation.text)
            if not ray.get(confirming.affords_runs.remote(len(found.wanted))):
                say(f"the budget does not cover {len(found.wanted)} more confirming runs; {GO_ON}")
                return _Ran(found.confirmation, {**not_now, **failed}, len(found.wanted))
        seeds = sorted({seed for _, seed in found.wanted})
        again = sorted({trial for trial, _ in found.wanted}, key=list(trials).index)
        say(f"training trials {', '.join(map(str, again))} with seeds {', '.join(map(str, seeds))}")
        run_missing(plan.spec, confirming, found.wanted, max_concurrent, say)
        tried |= set(found.wanted)


def run_missing(
    spec: SweepSpec,
    confirming: PartHandle,
    wanted: Sequence[Pair],
    max_concurrent: int,
    say: Say,
) -> None:
    """Run each (trial, seed) that is `wanted`, `max_concurrent` at once.

    A failure is noted, or tried again by a resume, never raised.
    """
    waiting = list(wanted)
    drive = ray.remote(_drive).options(num_cpus=0, memory=DRIVER_RESOURCES["memory"], max_retries=2)
    running: dict[Any, tuple[int, int]] = {}
    while waiting or running:
        while waiting and len(running) < max_concurrent:
            number, seed = waiting.pop(0)
            task = ray.get(confirming.start.remote(number, seed))
            labels = driver_labels(DRIVER_RESOURCES["memory"])
            placed = drive.options(label_selector=labels) if labels else drive
            running[placed.remote(task, spec, confirming)] = (number, seed)
        (ready,), _ = ray.wait(list(running), num_returns=1)
        number, seed = running.pop(ready)
        try:
            line = ray.get(ready)
        except ray.exceptions.RayError as error:
            line = failure_reason(error)
            ray.get(confirming.driver_died.remote(number, seed, line))
        say(f"trial {number} with seed {seed}: {line}")


def _drive(task: ConfirmTask, spec: SweepSpec, confirming: PartHandle) -> str:
    """Run one confirming run and tell the coordinator its result; the result in a few words."""
    driver = ConfirmDriver(task, spec, confirming)
    # one run's failure ends neither the others nor the sweep; the reason is told
    try:
        return driver.run()
    except Exception as error:  # noqa: BLE001
        return driver.end(None, failure_reason(error), is_final=False)


class ConfirmDriver:
    """Drives the confirming run of `task`, attempt after attempt. Told to leave, because another
    driver has the run, it changes nothing any more.
    """

    def __init__(self, task: ConfirmTask, spec: SweepSpec, confirming: PartHandle) -> None:
        self._task = task
        self._spec = spec
        self._confirming = confirming
        self._config = parse_config(task.config)
        self._sender = task.sender

    def run(self) -> str:
        """Train until an attempt has a result or there is no other attempt; the result in a few
        words.
        """
        store = open_store(self._spec.folder_uri, self._config.store, check=False)
        folder = checkpoints_folder(self._spec, self._task)
        while True:
            attempt: ConfirmAttempt = ray.get(
                self._confirming.begin_attempt.remote(self._sender, newest_step(store, folder))
            )
            if attempt.sender is None and not attempt.failure:
                return OTHER_DRIVER
            if attempt.sender is None:
                return self.end(None, attempt.failure, is_final=False)
            self._sender = attempt.sender
            found = self._attempt()
            if isinstance(found, Failure):
                ray.get(self._confirming.attempt_failed.remote(self._sender, found))
            elif "failed" in found:
                return self.end(None, found["failed"])
            else:
                return self.end(ConfirmedRun(**found))

    def end(self, run: ConfirmedRun | None, reason: str = "", *, is_final: bool = True) -> str:
        """Tell the coordinator how the run ended; what became of it, in a few words."""
        end = self._confirming.end.remote(self._sender, run, reason, is_final=is_final)
        if ray.get(end) == Answer.LEAVE:
            return OTHER_DRIVER
        recall = self._config.sweep.recall_at_1
        return reason if run is None else f"{recall} {run.recall_at_1:.3f}"

    def _attempt(self) -> dict[str, Any] | Failure:
        """The answer of `confirm_on_worker`, or why there is none."""
        work = {
            "spec": self._spec,
            "task": asdict(self._task),
            "sender": self._sender,
            "folder": checkpoints_folder(self._spec, self._task),
            "confirming": self._confirming,
        }
        try:
            found = fit_workers(
                confirm_on_worker,
                work,
                self._config,
                state_dir=self._spec.state_dir,
                name=f"{self._spec.sweep_id}-confirm-{self._task.number:04d}-{self._task.seed}",
                max_failures=0,
            )
        # whatever it was, the coordinator decides whether to try again
        except Exception as error:  # noqa: BLE001
            return Failure(failure_reason(error), is_nodes=is_nodes_failure(error))
        return found or Failure(TOLD_TO_LEAVE)


def confirm_on_worker(work: Mapping[str, Any]) -> dict[str, Any] | None:
    """As `confirm_worker`, whose torch is imported where it runs: the driver does without."""
    from orchestrator.sweep.confirm_worker import confirm_worker

    return confirm_worker(work)


def checkpoints_folder(spec: SweepSpec, task: ConfirmTask) -> str:
    """The folder of the run's checkpoints, below the sweep's."""
    return f"{spec.confirm_folder(task.number, task.seed)}/checkpoints"
