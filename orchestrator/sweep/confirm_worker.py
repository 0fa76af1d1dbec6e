"""The training worker of a confirming run: the function that Ray Train calls on every rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import ray
import ray.train.torch

from orchestrator.config.run_config import parse_config
from orchestrator.confirmation import ConfirmedRun
from orchestrator.coordinator.confirm_desk import ConfirmTask
from orchestrator.ray_cluster.composed_actor import PartHandle
from orchestrator.run_model import BROKEN
from orchestrator.storage.open_store import open_store
from orchestrator.trial.messages import ConfirmSender
from orchestrator.trial.pending_points import PointsReporter
from orchestrator.trial.worker import open_data, permanent_failure
from prp_core.data.manifest import VideoRecord
from prp_core.evaluation.baselines import ENCODER, hits_beside_baselines
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.checkpoint_keys import RunAttempt
from prp_core.training.checkpoint_record import Superseded
from prp_core.training.encoder_export import checkpoint_encoder_weights, rebuild_encoder
from prp_core.training.loop import pretrain
from prp_core.world import World, use_threads


class ConfirmReporter(PointsReporter):
    """The `Reporter` of a confirming run: sends what it logs; such a run is never stopped."""

    def __init__(self, confirming: PartHandle, sender: ConfirmSender) -> None:
        super().__init__(confirming, sender)

    def at_rung(
        self, *, epoch: int, step: int, metrics: Mapping[str, float], hits: Mapping[str, bool]
    ) -> bool:
        """The one rung is the end."""
        self.log({**metrics, "epoch": epoch}, step=step)
        return True


def confirm_worker(work: Mapping[str, Any]) -> dict[str, Any] | None:
    """Train one confirming run on this worker; a `ConfirmedRun` as a plain dict, or ``{"failed":
    why}`` where it would fail again; None where another attempt has the run.
    """
    spec = work["spec"]
    task = ConfirmTask(**work["task"])
    confirming = work["confirming"]
    config = parse_config(task.config)
    use_threads(int(config.resources.cpus_per_worker))
    world = World.of_process_group(ray.train.torch.get_device())
    sender: ConfirmSender = work["sender"]
    if world.is_first:
        confirming.workers_started.remote(sender)
    store = open_store(spec.folder_uri, config.store, check=False)
    attempt = RunAttempt(sender.epoch, sender.attempt)
    folder = CheckpointFolder(store, work["folder"], num_kept=1, attempt=attempt)
    try:
        folder.begin(world)
        with open_data(spec, config) as data:
            reporter = ConfirmReporter(confirming, sender)
            outcome = pretrain(config, data, world, checkpoints=folder, reporter=reporter)
            reporter.flush()
            checkpoint = folder.latest_committed(world)
            assert checkpoint is not None, "training ended without a checkpoint"
            encoder = rebuild_encoder(
                config.encoder.name, checkpoint_encoder_weights(folder, checkpoint)
            ).to(world.device)
            part = data.parts
            hits = hits_beside_baselines(
                encoder,
                config,
                data.validation,
                world,
                is_label_free=config.sweep.is_label_free,
            )
    except Superseded:
        return None
    except Exception as error:
        reason = permanent_failure(error, config)
        if reason is None:
            raise
        return {"failed": reason}
    marks = marks_of(hits, part.val)
    recall = float(outcome.metrics[config.sweep.recall_at_1])
    trained = marks.pop(ENCODER)
    return asdict(
        ConfirmedRun(
            trial=task.number, seed=task.seed, recall_at_1=recall, hits=trained, baselines=marks
        )
    )


def marks_of(
    hits: Mapping[str, Mapping[str, bool]], queries: Sequence[VideoRecord]
) -> dict[str, str]:
    """For each name of `hits` (of a query's key) its marks, as `ConfirmedRun.hits` has them."""
    keys = query_keys(queries)
    return {
        name: "".join(str(int(found[key])) if key in found else BROKEN for key in keys)
        for name, found in hits.items()
    }


def query_keys(queries: Sequence[VideoRecord]) -> list[str]:
    """The keys of the queries in the order in which `ConfirmedRun.hits` has them."""
    return sorted(record.key for record in queries)
