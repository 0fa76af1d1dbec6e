"""What runs on a training worker: the config becomes a tree again, the videos are opened, and `prp_core` trains.

Every rank calls `train_worker`; the first one speaks to the sweep's server. A failure that would happen again (a loss that is not a
number, data that cannot be trained on) is returned as an outcome, so that Ray Train does not repeat it; anything else is raised, and
Ray Train starts the workers again from the newest checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import ray
import ray.train.torch

from orchestrator.open_data import open_data
from orchestrator.run_config import RunConfig, parse_config
from orchestrator.storage.open_store import open_store
from orchestrator.sweep_server import TrialOutcome
from orchestrator.sweep_spec import SweepSpec
from prp_core.errors import DivergedError, UserError
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.loop import pretrain
from prp_core.world import World, use_threads


class ServerReporter:
    """Tells the sweep's server; metrics without waiting, rungs with."""

    def __init__(self, server: Any, number: int) -> None:
        self._server, self._number = server, number

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Send `metrics` and go on."""
        self._server.log.remote(self._number, dict(metrics), step)

    def at_rung(self, *, epoch: int, step: int, metrics: Mapping[str, float]) -> bool:
        """The server's verdict."""
        return ray.get(self._server.at_rung.remote(self._number, epoch, step, dict(metrics)))


def train_worker(task: Mapping[str, Any]) -> dict[str, Any]:
    """Train one trial on this worker; the outcome as a plain dict (`TrialOutcome`), the same on every rank.

    `task` holds ``spec`` (`SweepSpec`), ``number``, ``config`` (the trial's tree) and ``server`` (the actor's handle).
    """
    spec, number = task["spec"], task["number"]
    config = parse_config(task["config"])
    use_threads(int(config.resources.cpus_per_worker))
    world = World.of_process_group(ray.train.torch.get_device())
    checkpoints = checkpoint_folder(spec, config, number)
    try:
        with open_data(spec, config, world) as data:
            outcome = pretrain(config, data, world, checkpoints=checkpoints, reporter=ServerReporter(task["server"], number))
    except (DivergedError, UserError) as error:
        return asdict(TrialOutcome("failed", f"{type(error).__name__}: {error}"))
    state = "pruned" if outcome.stopped_early else "finished"
    return asdict(TrialOutcome(state, "", dict(outcome.metrics)))


def checkpoint_folder(spec: SweepSpec, config: RunConfig, number: int) -> CheckpointFolder:
    """Where trial `number` keeps its checkpoints."""
    store = open_store(spec.folder_uri, config.store, check=False)
    return CheckpointFolder(store, f"{spec.trial_folder(number)}/checkpoints", num_kept=config.training.num_checkpoints_kept)
