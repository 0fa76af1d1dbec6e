"""The driver of a sweep: plan, cluster, coordinator, trials, and what comes after the last one.

Exit codes: 0 the sweep ended with a winner, 1 it ended without one, 2 the input was wrong, 130 it
was interrupted (and resumes with ``--resume``).
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import ray

from orchestrator.coordinator.coordinator import CoordinatorHandle, start_coordinator
from orchestrator.coordinator.sweep_state import CoordinatorSetup
from orchestrator.cost.budget import GO_ON, Gate
from orchestrator.cost.pricing import find_price, money_line
from orchestrator.ray_cluster.concurrency import ConcurrencyLimit, plan_concurrency
from orchestrator.ray_cluster.connect import ray_cluster
from orchestrator.search.space import Space
from orchestrator.sweep.finish import finish
from orchestrator.sweep.leaderboard import ending_lines
from orchestrator.sweep.live_screen import Progress
from orchestrator.sweep.lock import driver_lock
from orchestrator.sweep.plan import Plan, make_plan, warm_start_of
from orchestrator.trial.driver import DRIVER_DIED
from orchestrator.trial.messages import TrialOutcome
from orchestrator.trial.run_trials import run_trials
from orchestrator.trial_state import TrialState

if TYPE_CHECKING:
    from orchestrator.search.samplers import GivenSampler

INTERRUPTED = 130


def drive(arguments: argparse.Namespace, space: Space, sampler: GivenSampler | None = None) -> int:
    """Run the sweep that `arguments` describe over `space`; the exit code.

    `sampler` draws the values instead of the one that the config names.
    """
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C; `ray job stop` and schedulers send it
    plan = make_plan(arguments, space, say, sampler=sampler)
    say(plan_line(plan))
    with driver_lock(plan.spec), ray_cluster(arguments.address, verbose=arguments.verbose):
        concurrency = plan_concurrency(plan.config)
        say(f"{concurrency.capacity.reason}; {concurrency.evaluation.reason}")
        price = find_price(plan.config)
        say(money_line(plan.config, price))
        warm = warm_start_of(plan, arguments.warm_start, say)
        if arguments.dry_run:
            if not plan.is_resumed:  # nothing of it will ever be resumed
                shutil.rmtree(plan.spec.state_dir)
            return 0
        setup = coordinator_setup(plan, evaluation=concurrency.evaluation, warm=warm, price=price)
        limit = ConcurrencyLimit(plan.config, concurrency)
        return run_sweep(plan, setup, limit, verbose=arguments.verbose)


def coordinator_setup(plan: Plan, **choices: Any) -> CoordinatorSetup:
    """What the coordinator of `plan` needs; `choices` are further fields of `CoordinatorSetup`."""
    return CoordinatorSetup(
        spec=plan.spec, space=plan.space, limits=plan.limits, sampler=plan.sampler, **choices
    )


def run_sweep(
    plan: Plan, setup: CoordinatorSetup, limit: Callable[[], int], *, verbose: bool = False
) -> int:
    """Run the trials that are left, at most `limit()` at once, then `finish`; the exit code.

    An interrupt closes every MLflow run before it leaves.
    """
    coordinator = start_coordinator(setup)
    try:
        _run_trials(plan, coordinator, limit, verbose)
        ending = finish(plan, coordinator, limit(), say)
    except KeyboardInterrupt:
        _close_interrupted(plan, coordinator)
        return INTERRUPTED
    except BaseException as error:
        ray.get(coordinator.recorder.close.remote("failed", f"{type(error).__name__}: {error}"))
        raise
    for line in ending_lines(plan, ending):
        say(line)
    return 0 if ending.winner is not None else 1


def _run_trials(
    plan: Plan, coordinator: CoordinatorHandle, limit: Callable[[], int], verbose: bool
) -> None:
    sweep = plan.config.sweep
    trials = coordinator.trials
    num_left = ray.get(trials.num_left.remote())
    with Progress(
        lambda: ray.get(coordinator.screen.views.remote(), timeout=10),
        title=plan.spec.sweep_id,
        num_trials=sweep.num_trials,
        objective=sweep.objective,
        clock=time.monotonic,
        get_cost=lambda: ray.get(coordinator.screen.cost_line.remote(), timeout=10),
    ):
        if num_left and ray.get(trials.gate.remote()).word != "stop":
            run_trials(plan.spec, trials, num_trials=num_left, limit=limit, verbose=verbose)
    gate = ray.get(trials.gate.remote()) if ray.get(trials.num_left.remote()) else Gate("start")
    if gate.word != "start":
        say(f"no more trials: {gate.reason}; {GO_ON}")
    for view in ray.get(coordinator.screen.views.remote()):
        if view.state == TrialState.RUNNING:
            ray.get(trials.tell.remote(view.number, outcome_of_left_over(gate)))


def outcome_of_left_over(gate: Gate) -> TrialOutcome:
    """The outcome of a trial that has none when all have ended: its driver died, unless `gate`
    shows that the budget kept it from being resumed.
    """
    if gate.word != "start":
        return TrialOutcome(TrialState.PRUNED, gate.reason)
    return DRIVER_DIED


def _close_interrupted(plan: Plan, coordinator: CoordinatorHandle) -> None:
    # a second Ctrl-C must not cut the closing of the runs short
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    say("interrupted: closing the runs")
    with contextlib.suppress(ray.exceptions.RayError):
        ray.get(coordinator.recorder.close.remote("killed", "interrupted"), timeout=30)
    say(f"resume with: uv run python {sys.argv[0]} --resume {plan.spec.sweep_id}")


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
    return f"{word} {plan.spec.sweep_id}: {sweep.num_trials} trials for {sweep.objective}; {videos}"


def say(line: str) -> None:
    """Print `line` for the person at the terminal, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
