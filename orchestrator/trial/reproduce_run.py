"""Training a recorded trial again, by the code that trains every trial and on as many workers.

Nothing is told to a study or to MLflow: the figures are returned.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.config.run_config import RunConfig, parse_config, to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.ray_cluster.worker_failures import failure_reason
from orchestrator.ray_cluster.worker_group import fit_workers
from orchestrator.trial.worker import checkpoint_folder, open_data
from prp_core.errors import DivergedError, UserError
from prp_core.reporting import Points
from prp_core.training.loop import pretrain
from prp_core.world import World, use_threads


@dataclass
class HistoryReporter:
    """A `Reporter` that keeps every value by metric and step, and stops at the rung after
    `last_epoch` epochs.
    """

    last_epoch: int
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    last_step: int = 0

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Keep `metrics`; a value that is logged again at the same step changes nothing."""
        for name, value in metrics.items():
            self.values.setdefault(name, {}).setdefault(step, float(value))

    def unconfirmed(self) -> Points:
        """Nothing: what is here is kept."""
        return []

    def log_again(self, points: Points) -> None:
        """Keep `points`."""
        for step, metrics in points:
            self.log(metrics, step=step)

    def at_rung(
        self, *, epoch: int, step: int, metrics: Mapping[str, float], hits: Mapping[str, bool]
    ) -> bool:
        """Keep `metrics`; whether there is a rung to come."""
        self.log({**metrics, "epoch": float(epoch)}, step=step)
        self.last_step = step
        return epoch < self.last_epoch


@dataclass(frozen=True)
class Repeated:
    """The result of training again: metric -> step -> value, up to `last_step`; `failure` is why it
    ended before ("" where it did not).
    """

    values: Mapping[str, Mapping[int, float]]
    last_step: int
    failure: str


@dataclass(frozen=True, kw_only=True)
class VideoPlaces:
    """Where the videos and their manifest are now; and those of another corpus that the trial was
    judged on, empty where there is none.
    """

    data_uri: str
    manifest_uri: str
    eval_data_uri: str = ""
    eval_manifest_uri: str = ""


def train_again(
    config: RunConfig,
    last_epoch: int,
    places: VideoPlaces,
    *,
    storage: Path,
    address: str = "",
) -> Repeated:
    """Train with `config` to the rung after `last_epoch` epochs; checkpoints go below `storage`, a
    folder that every node sees.

    One worker needs no cluster: it trains in this process. Several train on the cluster at
    `address`, else on a local one. Raises `UserError` when the cluster cannot hold the trial.
    """
    spec = SweepSpec(
        sweep_id=f"reproduce-{secrets.token_hex(4)}",
        config=to_tree(config),
        storage_uri=str(storage),
        tracking_uri="",
        tags={},
        **asdict(places),
    )
    if config.resources.num_workers == 1 and not address:
        return Repeated(
            **_train(
                spec, last_epoch, World.alone("cuda" if config.resources.gpus_per_worker else "cpu")
            )
        )
    from orchestrator.ray_cluster.concurrency import check_capacity
    from orchestrator.ray_cluster.connect import ray_cluster

    with ray_cluster(address):
        check_capacity(config)
        return train_on_cluster(spec, last_epoch)


def train_on_cluster(spec: SweepSpec, last_epoch: int) -> Repeated:
    """Train the config of `spec` on the Ray cluster that this process is connected to; an error is
    the result's `failure`.
    """
    work = {"spec": spec, "last_epoch": last_epoch}
    try:
        # Not resumed after a loss: the figures from before it would be gone with the worker that
        # kept them.
        answer = fit_workers(
            repeat_worker,
            work,
            parse_config(spec.config),
            state_dir=Path(spec.storage_uri),
            name=spec.sweep_id,
            max_failures=0,
        )
        return Repeated(**answer)
    # whatever broke is the answer to whether the trial comes out the same
    except Exception as error:  # noqa: BLE001
        return Repeated({}, 0, failure_reason(error))


def repeat_worker(task: Mapping[str, Any]) -> dict[str, Any]:
    """Train on this worker; the fields of `Repeated`, filled on the first one. `task` holds
    ``spec`` and ``last_epoch``.
    """
    import ray.train.torch

    return _train(
        task["spec"], task["last_epoch"], World.of_process_group(ray.train.torch.get_device())
    )


def _train(spec: SweepSpec, last_epoch: int, world: World) -> dict[str, Any]:
    config = parse_config(spec.config)
    use_threads(int(config.resources.cpus_per_worker))
    reporter = HistoryReporter(last_epoch)
    failure = ""
    try:
        with open_data(spec, config) as data:
            pretrain(
                config,
                data,
                world,
                checkpoints=checkpoint_folder(spec, config, 0),
                reporter=reporter,
            )
    except (DivergedError, UserError) as error:
        failure = f"{type(error).__name__}: {error}"
    return {"values": reporter.values, "last_step": reporter.last_step, "failure": failure}
