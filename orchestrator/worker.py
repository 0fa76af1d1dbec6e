"""What runs on a training worker: the config becomes a tree again, the videos are opened, and `prp_core` trains.

Every rank calls `train_worker`; the first one speaks to the sweep's server. A failure that would happen again (a loss that is not a
number, data that cannot be trained on) is returned as an outcome, so that Ray Train does not repeat it; anything else is raised, and
Ray Train starts the workers again from the newest checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import ray.train.torch

from orchestrator.run_config import RunConfig, parse_config
from orchestrator.storage.manifest_file import read_manifest
from orchestrator.storage.open_store import open_store
from orchestrator.sweep_server import TrialOutcome
from orchestrator.sweep_spec import SweepSpec
from prp_core.data.manifest import parts
from prp_core.data.node_cache import NodeCache
from prp_core.data.video_source import VideoSource
from prp_core.errors import DivergedError, UserError
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.loop import PretrainData, pretrain
from prp_core.training.memory import is_out_of_memory
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
    if world.is_first:
        task["server"].workers_started.remote(number)
    try:
        with open_data(spec, config) as data:
            outcome = pretrain(config, data, world, checkpoints=checkpoints, reporter=ServerReporter(task["server"], number))
    except Exception as error:
        reason = lasting_failure(error, config)
        if reason is None:
            raise
        return asdict(TrialOutcome("failed", reason))
    state = "pruned" if outcome.stopped_early else "finished"
    return asdict(TrialOutcome(state, "", dict(outcome.metrics)))


def lasting_failure(error: Exception, config: RunConfig) -> str | None:
    """Why `error` would come again however often the workers start, in one line; None for what a restart may mend.

    Diverged, refused input, out of memory: the trial fails. Anything else (a worker that died, a store that was away) is Ray Train's to retry.
    """
    if isinstance(error, DivergedError | UserError):
        return f"{type(error).__name__}: {error}"
    if is_out_of_memory(error):
        clips = config.training.batch_size // config.resources.num_workers
        first_line = (str(error).splitlines() or [type(error).__name__])[0][:150]
        return (
            f"OutOfMemory: {clips} clips of {config.clip.length} frames on each worker are too many ({first_line}); "
            "lower training.batch_size or clip.length, or raise resources.num_workers"
        )
    return None


def checkpoint_folder(spec: SweepSpec, config: RunConfig, number: int) -> CheckpointFolder:
    """Where trial `number` keeps its checkpoints."""
    store = open_store(spec.folder_uri, config.store, check=False)
    return CheckpointFolder(store, f"{spec.trial_folder(number)}/checkpoints", num_kept=config.training.num_checkpoints_kept)


@contextmanager
def open_data(spec: SweepSpec, config: RunConfig) -> Iterator[PretrainData]:
    """The sweep's videos, split into parts by the sweep's seed (whatever a run's own is), read through this node's cache.

    Closed with its decoders at the end.
    """
    manifest = read_manifest(spec.manifest_uri, config.store)
    store = open_store(spec.data_uri, config.store, check=False)
    cache = NodeCache(cache_dir(config), config.cache.capacity_bytes, store)
    with VideoSource(store, cache, config.loader) as source:
        yield PretrainData(source, parts(manifest, val_fraction=config.source.val_fraction, seed=spec.seed))


def cache_dir(config: RunConfig) -> Path:
    """The node's cache folder."""
    return Path(config.cache.dir).expanduser() if config.cache.dir else Path.home() / ".cache" / "prp"
