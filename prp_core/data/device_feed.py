"""The device feed: batches packed and copied to the device one ahead of the step that needs them.

On a GPU one thread packs into pinned memory and copies on a stream of its own, while the step
before computes; the training thread waits for neither. On a CPU there is nothing to overlap, and
the same function runs where it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch

Item = TypeVar("Item")


class Transferable(Protocol):
    """What the feed copies: something with `to` and the tensors that it consists of."""

    def to(self, device: torch.device) -> Any:
        """The same on `device`."""
        ...

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The tensors that were copied."""
        ...


@dataclass(frozen=True)
class OnTheWay:
    """A batch whose copy has been started, and the event that ends it (None: it is there)."""

    batch: Any
    copied: torch.cuda.Event | None

    def arrived(self) -> Any:
        """The batch, for kernels that are launched from now on; the device waits, not the host."""
        if self.copied is not None:
            stream = torch.cuda.current_stream()
            stream.wait_event(self.copied)
            for tensor in self.batch.tensors:
                tensor.record_stream(stream)
        return self.batch


class DeviceFeed(Generic[Item]):
    """Batches on `device`, packed by `pack`; its thread, where it has one, lives until `close`.

    `threaded` is whether there is one: by default on a GPU alone.
    """

    def __init__(
        self,
        pack: Callable[[Item], Transferable],
        device: torch.device,
        *,
        threaded: bool | None = None,
    ) -> None:
        self._pack = pack
        self._device = device
        is_gpu = device.type == "cuda"
        threaded = is_gpu if threaded is None else threaded
        self._threads = (
            ThreadPoolExecutor(1, thread_name_prefix="device-feed") if threaded else None
        )
        self._stream = torch.cuda.Stream(device) if is_gpu and threaded else None

    def batches(self, items: Iterator[Item]) -> Generator[Any, None, None]:
        """Each of `items` packed and on the device, in order. What `items` raises is raised here.

        Closing it waits until `items` is not running any more.
        """
        if self._threads is None:
            for item in items:
                yield self._send(item).arrived()
            return
        ahead: Future[OnTheWay | None] = self._threads.submit(self._next, items)
        try:
            while (sent := ahead.result()) is not None:
                ahead = self._threads.submit(self._next, items)
                yield sent.arrived()
        finally:
            ahead.cancel()
            if not ahead.cancelled():
                ahead.exception()

    def _next(self, items: Iterator[Item]) -> OnTheWay | None:
        """The next of `items` on its way; None after the last one."""
        for item in items:
            return self._send(item)
        return None

    def _send(self, item: Item) -> OnTheWay:
        packed = self._pack(item)
        if self._stream is None:
            return OnTheWay(packed.to(self._device), None)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            batch = packed.to(self._device)
            return OnTheWay(batch, self._stream.record_event())

    def close(self) -> None:
        """End the thread."""
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
