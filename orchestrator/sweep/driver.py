"""The driver of a sweep: plan, cluster, coordinator, trials, and what comes after the last one.

Exit codes: 0 the sweep ended with a winner, 1 it ended without one, trials are missing or another
driver took it over, 2 the input was wrong, 3 another driver runs it, 130 it was interrupted (and
resumes with ``--resume``).
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import ray

from orchestrator.config.redaction import redacted
from orchestrator.config.typed_command import prp, start_command
from orchestrator.coordinator.coordinator import CoordinatorHandle, start_coordinator
from orchestrator.coordinator.sweep_state import CoordinatorSetup
from orchestrator.cost.budget import GO_ON, Admission, Gate
from orchestrator.cost.pricing import find_price, money_line
from orchestrator.journal.lease import LeaseLost
from orchestrator.ray_cluster.concurrency import ConcurrencyLimit, plan_concurrency
from orchestrator.ray_cluster.connect import ray_cluster
from orchestrator.ray_cluster.head_watch import HeadWatch
from orchestrator.ray_cluster.worker_failures import failure_reason
from orchestrator.search.space import Space
from orchestrator.sweep.claim import Claim
from orchestrator.sweep.early_baselines import EarlyBaselines
from orchestrator.sweep.end_parts import EndParts
from orchestrator.sweep.finish import finish
from orchestrator.sweep.gpu_shares import check_shares
from orchestrator.sweep.kept import kept_lines
from orchestrator.sweep.leaderboard import Ending, ending_lines
from orchestrator.sweep.live_screen import Progress
from orchestrator.sweep.notification import Event, Notify, hook_url, notifications
from orchestrator.sweep.plan import Plan, make_plan, warm_start_of
from orchestrator.sweep.rounds import run_rounds
from orchestrator.sweep.steering_loop import SteeringLoop
from orchestrator.trial.messages import TrialOutcome
from orchestrator.trial.run_trials import run_trials
from orchestrator.trial_state import TrialState
from prp_core.errors import PrpError

if TYPE_CHECKING:
    from orchestrator.search.samplers import GivenSampler

INTERRUPTED = 130
CLOSE_SECONDS = 40.0  # for which a driver that ends waits until the coordinator has closed the runs


class CoordinatorLost(PrpError):
    """The coordinator of a running sweep has ended for good, alone or with the cluster."""


def drive(
    claim: Claim,
    arguments: argparse.Namespace,
    space: Space,
    sampler: GivenSampler | None = None,
) -> int:
    """Run the sweep of `claim`, which `arguments` describe, over `space`; the exit code.

    `sampler` draws the values instead of the one that the config names.
    """
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C; `ray job stop` and schedulers send it
    plan = make_plan(claim, arguments, space, say, sampler=sampler)
    say(plan_line(plan))
    if claim.spec is not None:
        for line in kept_lines(claim.spec, claim.kept):
            say(line)
    with ray_cluster(arguments.address, verbose=arguments.verbose):
        concurrency = plan_concurrency(plan.config)
        say(f"{concurrency.capacity.reason}; {concurrency.evaluation.reason}")
        for line in check_shares(plan.config):
            say(line)
        price = find_price(plan.config)
        say(money_line(plan.config, price))
        warm = warm_start_of(plan, plan.spec.options.get("warm_start", "none"), say)
        if arguments.dry_run:
            return 0
        claim.keep(plan.spec)
        setup = coordinator_setup(plan, evaluation=concurrency.evaluation, warm=warm, price=price)
        limit = ConcurrencyLimit(plan.config, concurrency)
        head = ray.get_runtime_context().gcs_address
        advice = f"On a cluster that answers, go on with: {resume_command(plan)}"
        with (
            HeadWatch(head, say, advice),
            notifications(hook_url(arguments.notify), plan.spec.sweep_id) as notify,
        ):
            return run_sweep(
                plan, setup, limit, claim.loss, verbose=arguments.verbose, notify=notify
            )


def coordinator_setup(plan: Plan, **choices: Any) -> CoordinatorSetup:
    """What the coordinator of `plan` needs; `choices` are further fields of `CoordinatorSetup`."""
    return CoordinatorSetup(
        spec=plan.spec,
        space=plan.space,
        limits=plan.limits,
        sampler=plan.sampler,
        queries=plan.queries,
        **choices,
    )


def run_sweep(
    plan: Plan,
    setup: CoordinatorSetup,
    limit: Callable[[], int],
    get_loss: Callable[[], LeaseLost | None] = lambda: None,
    *,
    verbose: bool = False,
    notify: Notify = lambda *_, **__: None,
) -> int:
    """Run the trials that are left, at most `limit()` at once, then `finish`; the exit code.

    An interrupt closes every MLflow run before it leaves; a sweep that was lost to another driver,
    by `get_loss`, is left as it is. `notify` is told how it ended.
    """
    coordinator = start_coordinator(setup)
    coordinator.dead_sweeps.close.remote()
    steering = SteeringLoop(coordinator)
    parts = EndParts(coordinator.recorder, say)
    early = EarlyBaselines(plan.spec, parts)
    try:
        with steering:
            num_missing = _run_trials(plan, coordinator, limit, early.begin, verbose, notify)
            ending = finish(plan, coordinator, limit(), parts, early, say)
    except BaseException as error:
        if (loss := get_loss()) is not None:
            ray.kill(coordinator.actor)
            raise loss from None
        if isinstance(error, KeyboardInterrupt):
            _close_interrupted(plan, coordinator, steering.stopped_by)
            notify(Event.STOPPED, f"resume with: {resume_command(plan)}")
            return INTERRUPTED
        notify(Event.FAILED, f"{type(error).__name__}: {error}")
        close_failed(plan, coordinator, error)
        raise
    for line in map(redacted, ending_lines(plan, ending)):
        say(line)
    if num_missing:
        say(missing_line(plan, num_missing))
        notify(Event.FAILED, missing_line(plan, num_missing))
    else:
        notify(Event.ENDED, _ending_text(plan, ending), cost=ending.cost.removeprefix("cost "))
    return 0 if ending.winner is not None and not num_missing else 1


def _ending_text(plan: Plan, ending: Ending) -> str:
    """The answer of a sweep that ended, and how to look at it."""
    answer = ending.answer.headline if ending.answer else "no trial finished"
    return f"{answer} {prp(f'report {plan.spec.sweep_id}')} writes its page."


def _run_trials(
    plan: Plan,
    coordinator: CoordinatorHandle,
    limit: Callable[[], int],
    when_idle: Callable[[], None],
    verbose: bool,
    notify: Notify,
) -> int:
    """Run trials until none is left, the budget lets no other start, or no other ends; how many are
    missing for no reason that is known. `when_idle`: see `run_trials`.
    """
    sweep = plan.config.sweep
    trials = coordinator.trials
    ray.get(coordinator.steering.take_up.remote())
    num_left, num_over = ray.get([trials.num_left.remote(), trials.num_over.remote()])
    with Progress(
        lambda: ray.get(coordinator.screen.views.remote(), timeout=10),
        title=plan.spec.title,
        num_trials=num_left + num_over,  # extensions are more than the sweep's own
        objective=sweep.objective,
        clock=time.monotonic,
        get_cost=lambda: ray.get(coordinator.screen.status_line.remote(), timeout=10),
    ):
        num_left, gate = run_rounds(
            CoordinatorCounts(coordinator),
            lambda: run_trials(
                plan.spec, trials, limit=limit, when_idle=when_idle, verbose=verbose
            ),
        )
    if num_left and gate.admission == Admission.START:
        return num_left
    gate = gate if num_left else Gate(Admission.START)
    if num_left:
        say(f"no more trials: {gate.reason}; {GO_ON}")
        notify(Event.BUDGET, f"no more trials: {gate.reason}; {GO_ON}")
    ray.get(trials.end_left_over.remote(outcome_of_left_over(gate, sweep.num_trials)))
    return 0


class CoordinatorCounts:
    """The `TrialCounts` of the coordinator, in its process."""

    def __init__(self, coordinator: CoordinatorHandle) -> None:
        self._coordinator = coordinator

    def num_over(self) -> int:
        """See `TrialCounts`."""
        return int(ray.get(self._coordinator.trials.num_over.remote()))

    def gate(self) -> Gate:
        """See `TrialCounts`."""
        gate: Gate = ray.get(self._coordinator.trials.gate.remote())
        return gate

    def release_all(self) -> None:
        """See `TrialCounts`."""
        ray.get(self._coordinator.trials.release_all.remote())

    def close_trials(self, *, is_forced: bool) -> int:
        """See `TrialCounts`."""
        return int(ray.get(self._coordinator.steering.close_trials.remote(is_forced=is_forced)))


def outcome_of_left_over(gate: Gate, num_trials: int) -> TrialOutcome:
    """The outcome of a trial that was interrupted and is not taken up again: `gate` shows that the
    budget forbids it, or else the `num_trials` of the sweep, which were more once, have ended.
    """
    reason = gate.reason or f"sweep.num_trials = {num_trials} have ended"
    return TrialOutcome(TrialState.PRUNED, reason)


def missing_line(plan: Plan, num_missing: int) -> str:
    """That trials are missing at the end of a sweep, and how to have them."""
    return (
        f"{num_missing} of {plan.config.sweep.num_trials} trials are missing: they did not end, "
        f"see Ray's logs; go on with: {resume_command(plan)}"
    )


def resume_command(plan: Plan) -> str:
    """The command that goes on with the sweep of `plan`."""
    return f"{start_command(sys.argv[0])} --resume {plan.spec.sweep_id}"


def _close_interrupted(plan: Plan, coordinator: CoordinatorHandle, stopped_by: str) -> None:
    # a second Ctrl-C must not cut the closing of the runs short
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reason = f"stopped by {stopped_by}" if stopped_by else "interrupted"
    say(f"{reason}: closing the runs")
    with contextlib.suppress(ray.exceptions.RayError):
        waiting = ray.get(
            coordinator.recorder.close.remote("killed", reason), timeout=CLOSE_SECONDS
        )
        if waiting:
            say(waiting)
    say(f"resume with: {resume_command(plan)}")


def close_failed(plan: Plan, coordinator: CoordinatorHandle, error: BaseException) -> None:
    """Close the runs of a sweep that `error` ends. Raises `CoordinatorLost` where the coordinator,
    or its cluster, has ended as well or does not answer for `CLOSE_SECONDS`.
    """
    reason = f"{type(error).__name__}: {error}"
    try:
        ray.get(coordinator.recorder.close.remote("failed", reason), timeout=CLOSE_SECONDS)
    except ray.exceptions.RayTaskError:  # it answers
        raise
    except ray.exceptions.RayError as loss:
        raise CoordinatorLost(
            f"The sweep's coordinator has ended or does not answer, or Ray's head node is gone "
            f"({failure_reason(loss)}). Nothing that it acknowledged is lost; "
            f"go on with: {resume_command(plan)}"
        ) from error


def plan_line(plan: Plan) -> str:
    """What is about to happen, in one line."""
    split = plan.parts
    sweep = plan.config.sweep
    word = "resuming" if plan.is_resumed else "starting"
    quarantined = len(plan.manifest.quarantined())
    videos = (
        f"{len(split.train)} training, {len(split.val)} validation, {len(split.test)} test "
        f"videos, {quarantined} quarantined"
    )
    if plan.spec.judged_words:
        videos = (
            f"{plan.spec.judged_words}: {len(split.train)} training videos ({quarantined} "
            f"quarantined); a gallery of {len(split.gallery)}, {len(split.val)} validation, "
            f"{len(split.test)} test videos ({plan.judged.quarantined_in_words})"
        )
    return f"{word} {plan.spec.sweep_id}: {sweep.num_trials} trials for {sweep.objective}; {videos}"


def say(line: str) -> None:
    """Print `line` for the person at the terminal, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
