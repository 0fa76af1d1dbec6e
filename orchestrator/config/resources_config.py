"""The resources of one trial: its workers, its evaluator, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass

from prp_core.checks import check


@dataclass(frozen=True, kw_only=True)
class ResourcesConfig:
    """The workers of one trial, the evaluator of its rungs, and prices.

    A price of 0 is looked up in the price list (`cluster/prices.toml`).
    """

    num_workers: int = 1
    """How many workers train one trial together, each with a copy of the network."""
    cpus_per_worker: float = 1.0
    """CPUs of each worker; its decoders run on them as well."""
    gpus_per_worker: float = 0.0
    """GPUs of each worker; a share below 1 puts several workers on one GPU."""
    max_failures: int = 3
    """How often in a row a trial is restarted after losing a worker without a new checkpoint in
    between; lost and reclaimed nodes do not count."""
    evaluator_cpus: float = 1.0
    """CPUs of the task that evaluates a rung beside training (``sweep.evaluator``)."""
    evaluator_gpus: float = 0.0
    """GPUs of that task, 0 to 1; a share of one GPU is enough."""
    worker_memory_gib: float = 0.0
    """GiB of GPU memory (without GPUs: of the node) that a worker may fill, so that a trial which
    needs more is refused before it starts; 0: not known, nothing is refused."""
    usd_per_gpu_hour: float = 0.0
    """Your price of one GPU for an hour, in USD; 0: the price list's."""
    usd_per_cpu_hour: float = 0.0
    """Your price of one CPU for an hour, in USD; 0: the price list's."""

    def __post_init__(self) -> None:
        check(
            self.num_workers >= 1, "resources.num_workers", self.num_workers, "must be at least 1"
        )
        check(
            self.cpus_per_worker > 0,
            "resources.cpus_per_worker",
            self.cpus_per_worker,
            "must be positive",
        )
        check(
            self.gpus_per_worker >= 0,
            "resources.gpus_per_worker",
            self.gpus_per_worker,
            "must not be negative",
        )
        check(
            self.gpus_per_worker <= 1 or self.gpus_per_worker % 1 == 0,
            "resources.gpus_per_worker",
            self.gpus_per_worker,
            "must be a share of one GPU, up to 1, or a whole number of them",
        )
        check(
            self.num_workers == 1 or not 0 < self.gpus_per_worker <= 0.5,
            "resources.gpus_per_worker",
            self.gpus_per_worker,
            f"may put two of the {self.num_workers} workers of a trial on one GPU, which NCCL "
            "refuses; choose 1, or resources.num_workers = 1",
        )
        check(
            self.max_failures >= 0,
            "resources.max_failures",
            self.max_failures,
            "must not be negative",
        )
        check(
            self.worker_memory_gib >= 0,
            "resources.worker_memory_gib",
            self.worker_memory_gib,
            "must not be negative",
        )
        check(
            self.evaluator_cpus > 0,
            "resources.evaluator_cpus",
            self.evaluator_cpus,
            "must be positive",
        )
        check(
            0 <= self.evaluator_gpus <= 1,
            "resources.evaluator_gpus",
            self.evaluator_gpus,
            "must lie in 0 to 1: an evaluation runs on one GPU",
        )
        for name in ("usd_per_gpu_hour", "usd_per_cpu_hour"):
            check(
                getattr(self, name) >= 0,
                f"resources.{name}",
                getattr(self, name),
                "must not be negative (0: by the price list)",
            )
