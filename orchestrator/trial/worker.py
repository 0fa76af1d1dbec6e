"""The training worker of a trial: the function that Ray Train calls on every rank.

Every rank calls `train_worker`; the first one calls the coordinator. A failure that would happen
again (a loss that is not a number, data that cannot be trained on) is returned as an outcome, so
that it is not repeated; anything else is raised, and the trial's driver starts the workers again
from the newest checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import ray
import ray.train.torch

from orchestrator.config.run_config import RunConfig, parse_config
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.data.open_data import open_data
from orchestrator.ray_cluster.composed_actor import PartHandle
from orchestrator.ray_cluster.preemption import is_preempted
from orchestrator.storage.open_store import open_store
from orchestrator.trial.evaluate_rung import hits_of
from orchestrator.trial.messages import Answer, Sender, TrialOutcome
from orchestrator.trial.pending_points import PointsReporter
from orchestrator.trial_state import TrialState
from prp_core.agreement import first_alone
from prp_core.data.object_store import ObjectStore
from prp_core.errors import DivergedError, FeaturesNotFinite, UserError
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.checkpoint_keys import ONLY_ATTEMPT, RunAttempt
from prp_core.training.checkpoint_record import Superseded
from prp_core.training.loop import pretrain
from prp_core.training.memory import is_out_of_memory
from prp_core.training.rung_weights import StoredRung, list_rungs, write_rung
from prp_core.training.watchdog import Signals, Watchdog
from prp_core.world import World, use_threads

STOP_QUESTION_SECONDS = 2.0  # between two questions whether a person has stopped the trial


class CoordinatorReporter(PointsReporter):
    """The `Reporter` of a trial: sends metrics without waiting, and waits for an answer at rungs.

    `trials` is the coordinator's trial desk, `sender` this attempt. `has_left`: the coordinator
    said that another attempt has the trial.
    """

    def __init__(self, trials: PartHandle, sender: Sender) -> None:
        super().__init__(trials, sender)
        self._trials = trials
        self._sender = sender
        self.has_left = False

    def at_rung(
        self, *, epoch: int, step: int, metrics: Mapping[str, float], hits: Mapping[str, bool]
    ) -> bool:
        """Whether the trial goes on, by the coordinator's pruning decision."""
        self.log({"epoch": epoch}, step=step)
        message = (self._sender, epoch, step, dict(metrics), dict(hits))
        answer = ray.get(self._trials.at_rung.remote(*message))
        self.has_left = answer == Answer.LEAVE
        return answer == Answer.GO_ON


class StopQuestion:
    """Asks the coordinator whether a trial is to stop, without waiting: one question under way at a
    time, at most one every `min_seconds`. `has_left`: another attempt has the trial.
    """

    def __init__(
        self,
        trials: PartHandle,
        sender: Sender,
        *,
        min_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trials = trials
        self._sender = sender
        self._min_seconds = min_seconds
        self._clock = clock
        self._asked_at = -math.inf
        self._answer: Any = None
        self.has_left = False

    def __call__(self) -> bool:
        """The answer to the question asked the last time, if it is there; then the next
        question.
        """
        answer = Answer.GO_ON
        if self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            answer = ray.get(self._answer)
            self._answer = None
        if self._answer is None and self._clock() - self._asked_at >= self._min_seconds:
            self._asked_at = self._clock()
            self._answer = self._trials.should_stop.remote(self._sender)
        self.has_left = self.has_left or answer == Answer.LEAVE
        return answer != Answer.GO_ON


class RungSubmitter:
    """The `AsyncEvaluator` of a trial: stores a rung's weights and submits it to the coordinator.

    A thread writes while training goes on; what a write raised is raised by the next `should_stop`
    or by `flush`. What an earlier process of this trial stored is submitted again: its message may
    have been lost with it.
    """

    def __init__(self, trials: PartHandle, sender: Sender, store: ObjectStore, folder: str) -> None:
        self._trials = trials
        self._sender = sender
        self._store = store
        self._folder = folder
        self._question = StopQuestion(trials, sender)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rung-writer")
        self._writes: list[Future[None]] = []

    @property
    def has_left(self) -> bool:
        """Whether another attempt has the trial."""
        return self._question.has_left

    def submit_rung(self, *, epoch: int, step: int, weights: Mapping[str, Any]) -> None:
        """Begin to store the weights; the rung is submitted once they are there."""

        def write() -> None:
            self._submit(
                write_rung(self._store, self._folder, epoch=epoch, step=step, weights=weights)
            )

        self._writes.append(self._thread.submit(write))

    def submit_again(self) -> None:
        """Submit every rung that is stored."""
        for rung in list_rungs(self._store, self._folder):
            self._submit(rung)

    def should_stop(self) -> bool:
        """Whether the coordinator has said stop."""
        while self._writes and self._writes[0].done():
            self._writes.pop(0).result()
        return self._question()

    def flush(self) -> None:
        """Wait until every rung is stored and submitted."""
        while self._writes:
            self._writes.pop(0).result()

    def _submit(self, rung: StoredRung) -> None:
        self._trials.submit_rung.remote(self._sender, rung.epoch, rung.step, rung.key)


def train_worker(task: Mapping[str, Any]) -> dict[str, Any] | None:
    """Train one trial on this worker; the outcome as a plain dict (`TrialOutcome`), the same on
    every rank. None on the first rank when another attempt has the trial.

    `task` holds ``spec`` (`SweepSpec`), ``sender`` (the attempt), ``config`` (the trial's tree),
    ``trials`` (the handle of the coordinator's trial desk), ``evaluator``, who evaluates the
    rungs (``worker`` or ``task``), and ``continues``, the number of the trial that this one
    continues, or None.
    """
    spec = task["spec"]
    sender: Sender = task["sender"]
    config = parse_config(task["config"])
    use_threads(int(config.resources.cpus_per_worker))
    world = World.of_process_group(ray.train.torch.get_device())
    attempt = RunAttempt(sender.epoch, sender.attempt)
    checkpoints = checkpoint_folder(
        spec, config, sender.number, attempt, continues=task["continues"]
    )
    if world.is_first:
        task["trials"].workers_started.remote(sender)
    reporter = CoordinatorReporter(task["trials"], sender)
    question = StopQuestion(task["trials"], sender, min_seconds=STOP_QUESTION_SECONDS)
    try:
        checkpoints.begin(world)
        with (
            Watchdog(config.training.step_timeout_seconds) as watchdog,
            open_data(spec, config, world) as data,
        ):
            evaluator = rung_submitter(task, config, world)
            outcome = pretrain(
                config,
                data,
                world,
                checkpoints=checkpoints,
                reporter=reporter,
                evaluator=evaluator,
                signals=Signals(watchdog, is_preempted, question),
                hits_of=hits_of(spec),
            )
            if evaluator is not None:
                evaluator.flush()
    except Superseded:
        return None
    except Exception as error:
        reason = permanent_failure(error, config)
        if reason is None:
            raise
        reporter.flush()
        return asdict(TrialOutcome(TrialState.FAILED, reason))
    reporter.flush()
    if reporter.has_left or question.has_left or (evaluator is not None and evaluator.has_left):
        return None
    state = TrialState.PRUNED if outcome.stopped_early else TrialState.FINISHED
    return asdict(TrialOutcome(state, "", dict(outcome.metrics)))


def rung_submitter(
    task: Mapping[str, Any], config: RunConfig, world: World
) -> RungSubmitter | None:
    """The evaluator of this trial's rungs beside training; None when its workers evaluate them."""
    if task["evaluator"] == "worker":
        return None
    spec: SweepSpec = task["spec"]
    store = open_store(spec.folder_uri, config.store, check=False)
    sender: Sender = task["sender"]
    folder = spec.rungs_folder(sender.number)
    submitter = RungSubmitter(task["trials"], sender, store, folder)
    first_alone(world, "looking for rungs", lambda: submitter.submit_again())
    return submitter


def permanent_failure(error: Exception, config: RunConfig) -> str | None:
    """The reason, in one line, if `error` is not retryable, else None.

    Diverged, refused input, features that are no numbers, out of memory: the trial fails. Anything
    else (a worker that died, a store that was away) is retried by Ray Train.
    """
    if isinstance(error, DivergedError | FeaturesNotFinite | UserError):
        return f"{type(error).__name__}: {error}"
    if is_out_of_memory(error):
        clips = config.training.batch_size // config.resources.num_workers
        first_line = (str(error).splitlines() or [type(error).__name__])[0][:150]
        return (
            f"OutOfMemory: {clips} clips of {config.clip.length} frames on each worker "
            f"are too many ({first_line}); "
            "lower training.batch_size or clip.length, or raise resources.num_workers"
        )
    return None


def checkpoint_folder(
    spec: SweepSpec,
    config: RunConfig,
    number: int,
    attempt: RunAttempt = ONLY_ATTEMPT,
    *,
    continues: int | None = None,
) -> CheckpointFolder:
    """Where trial `number` keeps its checkpoints, as `attempt` writes them; it starts from those of
    the trial that it `continues`.
    """
    store = open_store(spec.folder_uri, config.store, check=False)
    earlier = None if continues is None else spec.checkpoints_folder(continues)
    return CheckpointFolder(
        store,
        spec.checkpoints_folder(number),
        num_kept=config.training.num_checkpoints_kept,
        attempt=attempt,
        continues=None if earlier is None else CheckpointFolder(store, earlier),
    )
