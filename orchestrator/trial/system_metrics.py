"""The load of a worker's node as metrics: CPU, memory, network and GPUs, by MLflow's own names.

MLflow's page shows metrics that begin with ``system/`` on a tab of their own. They travel with the
run's points; what a machine does not tell (no `/proc`, no NVIDIA driver) is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PREFIX = "system/"
SECONDS_BETWEEN = 10.0
MEGABYTE = 1e6
KIBIBYTE = 1024
PROC = Path("/proc")


class SystemMetrics:
    """Looks at this node now and then; the first look only begins to measure."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        proc: Path = PROC,
        seconds_between: float = SECONDS_BETWEEN,
    ) -> None:
        """`clock` is in seconds, `proc` is where Linux shows its counters."""
        self._clock = clock
        self._proc = proc
        self._seconds_between = seconds_between
        self._looked_at = clock()
        self._cpu = self._cpu_ticks()
        self._network = self._network_bytes()
        self._gpus: list[Any] | None = None

    def sample(self) -> dict[str, float]:
        """The load since the last sample; empty where that was less than `seconds_between` ago."""
        now = self._clock()
        if now - self._looked_at < self._seconds_between:
            return {}
        self._looked_at = now
        found = dict([*self._of_cpu(), *self._of_memory(), *self._of_network(), *self._of_gpus()])
        return {f"{PREFIX}{name}": value for name, value in found.items()}

    def _of_cpu(self) -> Iterator[tuple[str, float]]:
        before = self._cpu
        self._cpu = self._cpu_ticks()
        if before is None or self._cpu is None:
            return
        busy, total = (after - first for first, after in zip(before, self._cpu, strict=True))
        if total > 0:
            yield "cpu_utilization_percentage", 100.0 * busy / total

    def _of_memory(self) -> Iterator[tuple[str, float]]:
        rows = {
            name: int(value.split()[0])
            for name, _, value in (line.partition(":") for line in self._lines("meminfo"))
            if value.split()
        }
        total, available = rows.get("MemTotal"), rows.get("MemAvailable")
        if total and available is not None:
            used = total - available
            yield "system_memory_usage_megabytes", used * KIBIBYTE / MEGABYTE
            yield "system_memory_usage_percentage", 100.0 * used / total

    def _of_network(self) -> Iterator[tuple[str, float]]:
        before = self._network
        self._network = self._network_bytes()
        if before is None or self._network is None:
            return
        names = ("network_receive_megabytes", "network_transmit_megabytes")
        for name, first, after in zip(names, before, self._network, strict=True):
            yield name, (after - first) / MEGABYTE

    def _of_gpus(self) -> Iterator[tuple[str, float]]:
        for place, handle in enumerate(self._gpu_handles()):
            import pynvml

            try:
                load = pynvml.nvmlDeviceGetUtilizationRates(handle)
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            except pynvml.NVMLError:  # a card that was taken away, or tells nothing
                continue
            yield f"gpu_{place}_utilization_percentage", float(load.gpu)
            yield f"gpu_{place}_memory_usage_megabytes", memory.used / MEGABYTE
            yield f"gpu_{place}_memory_usage_percentage", 100.0 * memory.used / memory.total

    def _gpu_handles(self) -> list[Any]:
        if self._gpus is None:
            import pynvml

            try:
                pynvml.nvmlInit()
                number = pynvml.nvmlDeviceGetCount()
                self._gpus = [pynvml.nvmlDeviceGetHandleByIndex(one) for one in range(number)]
            except pynvml.NVMLError:  # no driver
                self._gpus = []
        return self._gpus

    def _cpu_ticks(self) -> tuple[int, int] | None:
        """(busy, all) ticks of all CPUs since the start of the machine."""
        for line in self._lines("stat"):
            name, *ticks = line.split()
            if name == "cpu":
                counts = [int(one) for one in ticks[:8]]  # guests are part of user
                return sum(counts) - counts[3] - counts[4], sum(counts)
        return None

    def _network_bytes(self) -> tuple[int, int] | None:
        """(received, sent) bytes of all interfaces but the loopback."""
        rows = [line.partition(":") for line in self._lines("net/dev") if ":" in line]
        counts = [value.split() for name, _, value in rows if name.strip() != "lo"]
        if not rows:
            return None
        return sum(int(one[0]) for one in counts), sum(int(one[8]) for one in counts)

    def _lines(self, name: str) -> list[str]:
        try:
            return (self._proc / name).read_text().splitlines()
        except OSError:  # not Linux
            return []
