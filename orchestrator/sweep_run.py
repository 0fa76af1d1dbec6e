"""A sweep from its first word to its leaderboard: plan, cluster, server, trials, winner.

`main(space)` is what a study under ``sweeps/`` calls. Exit codes: 0 the sweep ended with a winner, 1 it ended without one, 2 the input was
wrong, 130 it was interrupted (and resumes with ``--resume``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.capacity import Capacity, TrialBundle, plan_capacity, read_cluster
from orchestrator.cli import run_command
from orchestrator.evaluation_run import measure_baselines, measure_winner
from orchestrator.leaderboard import Ending, ending_lines
from orchestrator.progress import Progress
from orchestrator.ray_cluster import ray_cluster
from orchestrator.run_config import RunConfig, to_tree
from orchestrator.search.space import Space, apply_space
from orchestrator.sweep_plan import Plan, frame_counts, make_plan, parse_arguments
from orchestrator.sweep_server import SweepServer, TrialOutcome, TrialView
from orchestrator.sweep_spec import SweepSpec
from orchestrator.trial_run import run_trials
from prp_core.errors import UserError

INTERRUPTED = 130


def main(space: Space, argv: list[str] | None = None, description: str = "Search over the config tree, judged by retrieval.") -> int:
    """Run a study's command line; its exit code."""
    return run_command(lambda: _run(space, argv, description))


def _run(space: Space, argv: list[str] | None, description: str) -> int:
    arguments = parse_arguments(argv, description)
    signal.signal(signal.SIGTERM, _interrupt)  # `ray job stop` and a scheduler end a sweep as Ctrl-C does
    plan = make_plan(arguments, space, say)
    say(plan_line(plan))
    with only_driver(plan), ray_cluster(arguments.address, verbose=arguments.verbose):
        capacity = check_capacity(plan.config)
        say(capacity.reason)
        if arguments.dry_run:
            return 0
        return run_sweep(plan, space, capacity.max_concurrent_trials, verbose=arguments.verbose)


def run_sweep(plan: Plan, space: Space, max_concurrent: int, *, verbose: bool = False) -> int:
    """Run the trials that are left, then measure the winner; the exit code. An interrupt closes every MLflow run before it leaves."""
    server = start_server(plan, space)
    try:
        _run_trials(plan, server, max_concurrent, verbose)
        ending = finish(plan, server)
    except KeyboardInterrupt:
        _close_interrupted(plan, server)
        return INTERRUPTED
    except BaseException as error:
        ray.get(server.close.remote("failed", f"{type(error).__name__}: {error}"))
        raise
    for line in ending_lines(plan, ending):
        say(line)
    return 0 if ending.winner is not None else 1


def start_server(plan: Plan, space: Space) -> Any:
    """The sweep's server, in an actor on this node; it ends with this driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(SweepServer).options(num_cpus=0, scheduling_strategy=here, max_restarts=3, max_task_retries=3)
    server = actor.remote(plan.spec, space, frame_counts(plan.parts))
    try:
        ray.get(server.sweep_run_id.remote())
    except ray.exceptions.RayActorError as error:
        raise UserError(f"The sweep's server did not start: {str(error).strip().splitlines()[-1]}") from None
    return server


def check_capacity(config: RunConfig) -> Capacity:
    """How many trials the cluster holds at once. Raises `UserError` with both numbers when not even one fits."""
    resources = config.resources
    bundle = TrialBundle(resources.num_workers, resources.cpus_per_worker, resources.gpus_per_worker)
    try:
        capacity = plan_capacity(bundle, read_cluster())
    except ValueError as error:
        raise UserError(str(error)) from None
    if capacity.max_concurrent_trials < 1:
        raise UserError(f"The cluster is too small for one trial: {capacity.reason}")
    return capacity


def _run_trials(plan: Plan, server: Any, max_concurrent: int, verbose: bool) -> None:
    sweep = plan.config.sweep
    num_left = ray.get(server.num_left.remote())
    with Progress(
        lambda: ray.get(server.views.remote(), timeout=10),
        title=plan.spec.sweep_id,
        num_trials=sweep.num_trials,
        objective=sweep.objective,
        clock=time.monotonic,
    ):
        if num_left:
            run_trials(
                plan.spec,
                server,
                num_trials=num_left,
                max_concurrent=min(num_left, sweep.max_concurrent_trials or max_concurrent),
                verbose=verbose,
            )
    for view in ray.get(server.views.remote()):
        if view.state == "running":  # its driver's process died more often than Tune restarts it
            ray.get(server.tell.remote(view.number, TrialOutcome("failed", "the process that drove the trial died, see Ray's logs")))


def finish(plan: Plan, server: Any) -> Ending:
    """Measure the baselines and the winner, register the winner's encoder, write the leaderboard, close the parent run."""
    views: Sequence[TrialView] = ray.get(server.views.remote())
    finished = [view for view in views if view.state == "finished"]
    winner = max(finished, key=lambda view: (view.objective, -view.number), default=None)
    say("measuring baselines on the same split" + ("" if winner is None else f", fine-tuning trial {winner.number} for recognition"))
    pending = [measure_baselines(plan.spec)]
    if winner is not None:
        tree = to_tree(apply_space(plan.config, winner.values))
        pending.append(measure_winner(plan.spec, winner.number, tree))
    baselines, *winners = ray.get(pending)
    model_uri = ""
    if winner is not None:
        winner.metrics.update(winners[0].metrics)
        ray.get(server.log.remote(winner.number, winners[0].metrics, winner.step))
        model_uri = ray.get(server.register_winner.remote(winner.number, winners[0].files))
    ending = Ending(list(views), winner, baselines.metrics, model_uri, ray.get(server.sweep_run_id.remote()))
    ray.get(server.log_sweep.remote(baselines.metrics))
    keep_report(plan.spec, server)
    ray.get(server.close.remote("finished"))
    return ending


def keep_report(spec: SweepSpec, server: Any) -> None:
    """The sweep's page into the parent run; a sweep whose page cannot be written is no worse for it, and says how to have it later."""
    from orchestrator.report.page import sweep_page  # matplotlib and MLflow, which the sweep's start need not wait for

    try:
        ray.get(server.flush.remote())
        ray.get(server.log_sweep_text.remote("report.html", sweep_page(spec)))
    except Exception as error:  # noqa: BLE001 - hours of training end well whatever a picture runs into; the person is told
        say(f"the report was not written ({' '.join(str(error).split())[:300]}); have it with: uv run prp report {spec.sweep_id}")


def _close_interrupted(plan: Plan, server: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the closing of the runs short
    say("interrupted: closing the runs")
    with contextlib.suppress(ray.exceptions.RayError):
        ray.get(server.close.remote("killed", "interrupted"), timeout=30)
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
            raise UserError(f"Sweep {plan.spec.sweep_id} is being driven by process {lock.read().strip()}; stop that one first") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def plan_line(plan: Plan) -> str:
    """What is about to happen, in one line."""
    split, sweep = plan.parts, plan.config.sweep
    word = "resuming" if plan.is_resumed else "starting"
    quarantined = len(plan.manifest.quarantined())
    videos = f"{len(split.train)} training, {len(split.val)} validation, {len(split.test)} test videos, {quarantined} quarantined"
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
