"""The Ray Train backend that joins workers to torch's process group, and needs no torch itself.

Ray's own `TorchConfig` imports torch in the process that starts a training, which never computes:
some 300 MB and four CPU-seconds. This one does the same with Ray's own
functions, which it imports on the workers alone.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

import ray
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.util import TrainingFramework

SHUTDOWN_SECONDS = 5.0  # a worker that hangs is killed then


@dataclass
class ProcessGroupConfig(BackendConfig):
    """`backend` is torch's, ``nccl`` or ``gloo``; a collective call fails after `timeout_s`."""

    backend: str
    timeout_s: int = 1800

    @property
    def backend_cls(self) -> type[Backend]:
        """What starts and ends the process group."""
        return ProcessGroupBackend

    @property
    def train_func_context(self) -> type[AbstractContextManager[None]]:
        """The context in which a worker's function runs."""
        return OnItsDevice

    @property
    def framework(self) -> TrainingFramework:
        """What Ray shows of the run."""
        return TrainingFramework.TORCH

    def to_dict(self) -> dict[str, Any]:
        """What Ray exports of the run."""
        return asdict(self)


class ProcessGroupBackend(Backend):
    """Joins the workers of a group to one process group before they train."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: ProcessGroupConfig) -> None:
        """Called in the controller; returns when every worker has joined."""
        address, port = worker_group.execute_single(0, get_address_and_port)
        worker_group.execute(_set_environment, address, port)
        joins = [
            worker_group.execute_single_async(
                rank,
                _join,
                backend=backend_config.backend,
                world_rank=rank,
                world_size=len(worker_group),
                init_method="env://",
                timeout_s=backend_config.timeout_s,
            )
            for rank in range(len(worker_group))
        ]
        ray.get(joins)

    def on_shutdown(self, worker_group: Any, backend_config: ProcessGroupConfig) -> None:
        """Called in the controller, before it ends the workers' processes. One that does not answer
        within `SHUTDOWN_SECONDS` is not waited for; one alone has nobody to take leave of.
        """
        if len(worker_group) < 2:
            return
        leaves = worker_group.execute_async(_leave)
        ray.wait(leaves, num_returns=len(leaves), timeout=SHUTDOWN_SECONDS)


class OnItsDevice(AbstractContextManager[None]):
    """A worker's function runs with its own GPU as the current one, if it has any."""

    def __enter__(self) -> None:
        from ray.train.torch.config import TorchConfigContextManager

        TorchConfigContextManager().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing to undo."""


# What follows runs on the workers.


def _set_environment(address: str, port: int) -> None:
    from ray.train.torch.config import _set_torch_distributed_env_vars

    os.environ["MASTER_ADDR"] = address
    os.environ["MASTER_PORT"] = str(port)
    _set_torch_distributed_env_vars()


def _join(**options: Any) -> None:
    from ray.train.torch.config import _setup_torch_process_group

    _setup_torch_process_group(**options)


def _leave() -> None:
    from ray.train.torch.config import _shutdown_torch

    _shutdown_torch(destroy_process_group=True)
