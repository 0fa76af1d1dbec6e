"""A sweep from its first word to its leaderboard: plan, cluster, coordinator, trials, winner.

`main(space)` is what a study under ``sweeps/`` calls. Exit codes: 0 the sweep ended with a winner,
1 it ended without one, 2 the input was wrong, 130 it was interrupted (and resumes with
``--resume``).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import ray

from orchestrator.config.run_config import to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.confirmation import ConfirmationOutcome, best_trials
from orchestrator.coordinator.coordinator import CoordinatorHandle, start_coordinator
from orchestrator.coordinator.sweep_state import CoordinatorSetup
from orchestrator.cost.budget import GO_ON, Gate
from orchestrator.cost.pricing import find_price, money_line
from orchestrator.ray_cluster.concurrency import (
    ConcurrencyLimit,
    plan_concurrency,
)
from orchestrator.ray_cluster.connect import ray_cluster
from orchestrator.search.space import Space, apply_space
from orchestrator.sweep.confirm_run import confirm
from orchestrator.sweep.final_evaluation import (
    book,
    measure_baselines,
    measure_test,
    measure_winner,
)
from orchestrator.sweep.leaderboard import Ending, ending_lines
from orchestrator.sweep.live_screen import Progress
from orchestrator.sweep.plan import Plan, make_plan, warm_start_of
from orchestrator.sweep.showcase_run import keep_showcases
from orchestrator.trial.driver import DRIVER_DIED
from orchestrator.trial.messages import TrialOutcome, TrialView
from orchestrator.trial.run_trials import run_trials
from orchestrator.trial_state import TrialState
from prp_core.errors import UserError

INTERRUPTED = 130


def drive(arguments: argparse.Namespace, space: Space) -> int:
    """Run the sweep of `space` that `arguments` describe; the exit code."""
    signal.signal(
        signal.SIGTERM, _interrupt
    )  # `ray job stop` and a scheduler end a sweep as Ctrl-C does
    plan = make_plan(arguments, space, say)
    say(plan_line(plan))
    with only_driver(plan), ray_cluster(arguments.address, verbose=arguments.verbose):
        concurrency = plan_concurrency(plan.config)
        say(f"{concurrency.capacity.reason}; {concurrency.evaluation.reason}")
        price = find_price(plan.config)
        say(money_line(plan.config, price))
        warm = warm_start_of(plan, arguments.warm_start, say)
        if arguments.dry_run:
            if not plan.is_resumed:  # nothing of it will ever be resumed
                shutil.rmtree(plan.spec.state_dir)
            return 0
        limit = ConcurrencyLimit(plan.config, concurrency)
        setup = coordinator_setup(plan, evaluation=concurrency.evaluation, warm=warm, price=price)
        return run_sweep(plan, setup, limit, verbose=arguments.verbose)


def run_sweep(
    plan: Plan, setup: CoordinatorSetup, limit: Callable[[], int], *, verbose: bool = False
) -> int:
    """Run the trials that are left, at most `limit()` at once, confirm and measure the best; the
    exit code. An interrupt closes every MLflow run before it leaves.
    """
    coordinator = start_coordinator(setup)
    try:
        _run_trials(plan, coordinator, limit, verbose)
        ending = finish(plan, coordinator, limit())
    except KeyboardInterrupt:
        _close_interrupted(plan, coordinator)
        return INTERRUPTED
    except BaseException as error:
        ray.get(coordinator.recorder.close.remote("failed", f"{type(error).__name__}: {error}"))
        raise
    for line in ending_lines(plan, ending):
        say(line)
    return 0 if ending.winner is not None else 1


def coordinator_setup(plan: Plan, **choices: Any) -> CoordinatorSetup:
    """What the coordinator of `plan` needs; `choices` are further fields of `CoordinatorSetup`."""
    return CoordinatorSetup(spec=plan.spec, space=plan.space, limits=plan.limits, **choices)


def _run_trials(
    plan: Plan, coordinator: CoordinatorHandle, limit: Callable[[], int], verbose: bool
) -> None:
    sweep = plan.config.sweep
    num_left = ray.get(coordinator.trials.num_left.remote())
    with Progress(
        lambda: ray.get(coordinator.screen.views.remote(), timeout=10),
        title=plan.spec.sweep_id,
        num_trials=sweep.num_trials,
        objective=sweep.objective,
        clock=time.monotonic,
        get_cost=lambda: ray.get(coordinator.screen.cost_line.remote(), timeout=10),
    ):
        if num_left and ray.get(coordinator.trials.gate.remote()).word != "stop":
            run_trials(
                plan.spec,
                coordinator.trials,
                num_trials=num_left,
                limit=limit,
                verbose=verbose,
            )
    stopped = (
        ray.get(coordinator.trials.gate.remote())
        if ray.get(coordinator.trials.num_left.remote())
        else Gate("start")
    )
    if stopped.word != "start":
        say(f"no more trials: {stopped.reason}; {GO_ON}")
    for view in ray.get(coordinator.screen.views.remote()):
        if view.state == TrialState.RUNNING:
            ray.get(coordinator.trials.tell.remote(view.number, left_over(stopped)))


def left_over(stopped: Gate) -> TrialOutcome:
    """What becomes of a trial that is not told when all have ended: the budget kept an interrupted
    one from going on, or its driver died.
    """
    if stopped.word != "start":
        return TrialOutcome(TrialState.PRUNED, stopped.reason)
    return DRIVER_DIED


def finish(plan: Plan, coordinator: CoordinatorHandle, max_concurrent: int = 1) -> Ending:
    """Confirm the best, measure the baselines and the one that is taken, register its encoder,
    write showcases and report, close the parent run.
    """
    views: Sequence[TrialView] = ray.get(coordinator.screen.views.remote())
    scores = {view.number: view.objective for view in views if view.state == TrialState.FINISHED}
    rates = {
        view.number: apply_space(plan.config, view.values).pretext.playback_rate.rates
        for view in views
    }
    confirmation = confirm(plan, coordinator, scores, rates, max_concurrent, say)
    taken = confirmation.taken if confirmation else next(iter(best_trials(scores, 1)), None)
    winner = next((view for view in views if view.number == taken), None)
    baselines, model_uri = measure_end(plan, coordinator, winner)
    test = touch_test(plan, coordinator, winner) if winner is not None and confirmation else ""
    showcases = keep_showcases(plan, coordinator, views, taken, say)
    ending = Ending(
        list(views),
        winner,
        baselines,
        model_uri,
        ray.get(coordinator.recorder.sweep_run_id.remote()),
        confirmation=confirmation.text if confirmation else "",
        is_tie=confirmation is not None and confirmation.outcome == ConfirmationOutcome.TIE,
        test=test,
        cost=ray.get(coordinator.screen.cost_line.remote(is_over=True)),
        showcases=tuple(showcases),
    )
    keep_report(plan.spec, coordinator)
    ray.get(coordinator.recorder.close.remote("finished"))
    return ending


def measure_end(
    plan: Plan, coordinator: CoordinatorHandle, winner: TrialView | None
) -> tuple[dict[str, float], str]:
    """The baselines' figures and, of `winner`, recognition on the validation part; its encoder's
    URI once it is registered.
    """
    say(
        "measuring baselines on the same split"
        + ("" if winner is None else f", fine-tuning trial {winner.number} for recognition")
    )
    pending = [measure_baselines(plan.spec)]
    if winner is not None:
        pending.append(
            measure_winner(
                plan.spec, winner.number, to_tree(apply_space(plan.config, winner.values))
            )
        )
    baselines, *winners = ray.get(pending)
    book(plan.config, coordinator, "baseline", -1, baselines)
    ray.get(coordinator.recorder.log_sweep.remote(baselines.metrics))
    if winner is None:
        return baselines.metrics, ""
    book(plan.config, coordinator, "recognition", winner.number, winners[0])
    winner.metrics.update(winners[0].metrics)
    ray.get(coordinator.recorder.log_trial.remote(winner.number, winners[0].metrics))
    return baselines.metrics, ray.get(
        coordinator.recorder.register_winner.remote(winner.number, winners[0].files)
    )


def touch_test(plan: Plan, coordinator: CoordinatorHandle, winner: TrialView) -> str:
    """Measure the test part for `winner`, once in the life of the sweep; a sentence with the
    figures. Asked again, what is stored is shown.

    Kept as the sweep's note ``test`` (and within ``confirmation``), with the time, which is also
    the tag ``prp.test_touched``.
    """
    stored = ray.get(coordinator.recorder.note.remote("test"))
    if stored is None:
        if not plan.parts.test:
            return "Test part:   empty, nothing was measured on it"
        say(f"measuring trial {winner.number} on the test part, once")
        found = ray.get(
            measure_test(plan.spec, winner.number, to_tree(apply_space(plan.config, winner.values)))
        )
        book(plan.config, coordinator, "test", winner.number, found)
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(found.ended))
        stored = json.dumps({"trial": winner.number, "time": when, "metrics": found.metrics})
        ray.get(coordinator.recorder.note.remote("test", stored))
        ray.get(coordinator.recorder.log_trial.remote(winner.number, found.metrics))
        ray.get(coordinator.recorder.log_sweep.remote(found.metrics))
    test = json.loads(stored)
    confirmation = json.loads(ray.get(coordinator.recorder.note.remote("confirmation")) or "{}")
    ray.get(
        coordinator.recorder.note.remote(
            "confirmation", json.dumps({**confirmation, "test": test["metrics"]})
        )
    )
    ray.get(
        coordinator.recorder.tag_sweep.remote(
            {"prp.test_touched": f"{test['time']}, trial {test['trial']}"}
        )
    )
    return line_of_test_part(test, winner.number, plan.config.sweep.objective)


def line_of_test_part(test: dict[str, Any], winner: int, objective: str) -> str:
    """The stored figures of the test part in one sentence; says so when they are another trial's
    than the `winner` of now.
    """
    metrics = test["metrics"]
    names = {
        "": objective,
        "random initialisation ": f"baseline/random_init/{objective}",
        "fine-tuned recognition ": "recognition/accuracy",
    }
    figures = [
        f"{title}{metrics[f'test/{name}']:.3f}"
        for title, name in names.items()
        if f"test/{name}" in metrics
    ]
    other = (
        ""
        if test["trial"] == winner
        else f"; they are not trial {winner}'s: the test part is measured once"
    )
    return (
        f"Test part:   trial {test['trial']}, {objective} {', '.join(figures)} (measured "
        f"once, {test['time']}{other})"
    )


def keep_report(spec: SweepSpec, coordinator: CoordinatorHandle) -> None:
    """The sweep's page into the parent run; a sweep whose page cannot be written is no worse for
    it, and says how to have it later.
    """
    from orchestrator.report.page import (
        sweep_page,
    )  # matplotlib and MLflow, which the sweep's start need not wait for

    try:
        ray.get(coordinator.recorder.flush.remote())
        ray.get(coordinator.recorder.log_sweep_text.remote("report.html", sweep_page(spec)))
    # hours of training end well whatever a picture runs into; the person is told
    except Exception as error:  # noqa: BLE001
        say(
            f"the report was not written ({' '.join(str(error).split())[:300]}); have "
            f"it with: uv run prp report {spec.sweep_id}"
        )


def _close_interrupted(plan: Plan, coordinator: CoordinatorHandle) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a second Ctrl-C must not cut the closing of the runs short
    say("interrupted: closing the runs")
    with contextlib.suppress(ray.exceptions.RayError):
        ray.get(coordinator.recorder.close.remote("killed", "interrupted"), timeout=30)
    say(f"resume with: {command()} --resume {plan.spec.sweep_id}")


@contextlib.contextmanager
def only_driver(plan: Plan) -> Iterator[None]:
    """Hold the sweep's lock. Raises `UserError` when another process drives this sweep."""
    path = Path(plan.spec.state_dir) / "driver.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UserError(
                f"Sweep {plan.spec.sweep_id} is being driven by process "
                f"{lock.read().strip()}; stop that one first"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


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


def command() -> str:
    """The command that this process was started with, as far as its script."""
    return f"uv run python {sys.argv[0]}"


def say(line: str) -> None:
    """One line for the person at the terminal."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
