"""What runs on a training worker: the config becomes a tree again, the videos are opened, and
`prp_core` trains.

Every rank calls `train_worker`; the first one speaks to the coordinator. A failure that would
happen again (a loss that is not a number, data that cannot be trained on) is returned as an
outcome, so that Ray Train does not repeat it; anything else is raised, and Ray Train starts the
workers again from the newest checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import ray
import ray.train.torch

from orchestrator.config.run_config import RunConfig, parse_config
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.data.open_data import open_data
from orchestrator.storage.open_store import open_store
from orchestrator.trial.messages import TrialOutcome
from orchestrator.trial_state import TrialState
from prp_core.agreement import first_alone
from prp_core.data.object_store import ObjectStore
from prp_core.errors import DivergedError, UserError
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.loop import pretrain
from prp_core.training.memory import is_out_of_memory
from prp_core.training.rung_weights import StoredRung, list_rungs, remove_rungs, write_rung
from prp_core.world import World, use_threads


class CoordinatorReporter:
    """Tells the sweep's coordinator; metrics without waiting, rungs with."""

    def __init__(self, coordinator: Any, number: int) -> None:
        self._coordinator = coordinator
        self._number = number

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Send `metrics` and go on."""
        self._coordinator.log.remote(self._number, dict(metrics), step)

    def at_rung(self, *, epoch: int, step: int, metrics: Mapping[str, float]) -> bool:
        """The coordinator's verdict."""
        return ray.get(self._coordinator.at_rung.remote(self._number, epoch, step, dict(metrics)))


class RungSubmitter:
    """Stores a rung's weights and submits it; asks whether to stop without waiting, one question
    under way at a time.

    What an earlier process of this trial stored is submitted again: its message to the coordinator
    may have been lost with it.
    """

    def __init__(self, coordinator: Any, number: int, store: ObjectStore, folder: str) -> None:
        self._coordinator = coordinator
        self._number = number
        self._store = store
        self._folder = folder
        self._answer: Any = None

    def submit_rung(self, *, epoch: int, step: int, weights: Mapping[str, Any]) -> None:
        """Store and tell."""
        self._tell(write_rung(self._store, self._folder, epoch=epoch, step=step, weights=weights))

    def submit_again(self) -> None:
        """Tell of everything that is stored."""
        for rung in list_rungs(self._store, self._folder):
            self._tell(rung)

    def should_stop(self) -> bool:
        """The answer to the question asked the last time, if it is there; then the next
        question.
        """
        said = False
        if self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            said = ray.get(self._answer)
            self._answer = None
        if self._answer is None:
            self._answer = self._coordinator.should_stop.remote(self._number)
        return said

    def _tell(self, rung: StoredRung) -> None:
        self._coordinator.submit_rung.remote(self._number, rung.epoch, rung.step, rung.key)


def train_worker(task: Mapping[str, Any]) -> dict[str, Any]:
    """Train one trial on this worker; the outcome as a plain dict (`TrialOutcome`), the same on
    every rank.

    `task` holds ``spec`` (`SweepSpec`), ``number``, ``config`` (the trial's tree), ``coordinator``
    (the actor's handle) and ``evaluator``, who evaluates the rungs (``worker`` or ``task``).
    """
    spec = task["spec"]
    number = task["number"]
    config = parse_config(task["config"])
    use_threads(int(config.resources.cpus_per_worker))
    world = World.of_process_group(ray.train.torch.get_device())
    checkpoints = checkpoint_folder(spec, config, number)
    if world.is_first:
        task["coordinator"].workers_started.remote(number)
    try:
        with open_data(spec, config, world) as data:
            reporter = CoordinatorReporter(task["coordinator"], number)
            evaluator = rung_submitter(task, config, world)
            outcome = pretrain(
                config, data, world, checkpoints=checkpoints, reporter=reporter, evaluator=evaluator
            )
    except Exception as error:
        reason = permanent_failure(error, config)
        if reason is None:
            raise
        return asdict(TrialOutcome(TrialState.FAILED, reason))
    state = TrialState.PRUNED if outcome.stopped_early else TrialState.FINISHED
    return asdict(TrialOutcome(state, "", dict(outcome.metrics)))


def rung_submitter(
    task: Mapping[str, Any], config: RunConfig, world: World
) -> RungSubmitter | None:
    """Who takes this trial's rungs while it trains on; None when its workers evaluate them
    themselves.
    """
    if task["evaluator"] == "worker":
        return None
    spec: SweepSpec = task["spec"]
    submitter = RungSubmitter(
        task["coordinator"],
        task["number"],
        open_store(spec.folder_uri, config.store, check=False),
        rungs_folder(spec, task["number"]),
    )
    first_alone(world, "looking for rungs", lambda: submitter.submit_again())
    return submitter


def rungs_folder(spec: SweepSpec, number: int) -> str:
    """Where trial `number` keeps the weights of rungs that are evaluated elsewhere, in the sweep's
    folder.
    """
    return f"{spec.trial_folder(number)}/rungs"


def forget_rungs(spec: SweepSpec, config: RunConfig, number: int) -> None:
    """Remove them: trial `number` has ended."""
    remove_rungs(open_store(spec.folder_uri, config.store, check=False), rungs_folder(spec, number))


def permanent_failure(error: Exception, config: RunConfig) -> str | None:
    """Why `error` would come again however often the workers start, in one line; None for what a
    restart may mend.

    Diverged, refused input, out of memory: the trial fails. Anything else (a worker that died, a
    store that was away) is Ray Train's to retry.
    """
    if isinstance(error, DivergedError | UserError):
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


def checkpoint_folder(spec: SweepSpec, config: RunConfig, number: int) -> CheckpointFolder:
    """Where trial `number` keeps its checkpoints."""
    store = open_store(spec.folder_uri, config.store, check=False)
    return CheckpointFolder(
        store,
        f"{spec.trial_folder(number)}/checkpoints",
        num_kept=config.training.num_checkpoints_kept,
    )
