"""A profile of a run's steps: a trace for a viewer, and its largest kernels as text."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

SKIPPED_STEPS = 3
"""The first steps of a process choose kernels, compile and fill caches."""

NUM_ROWS = 20


def profiled_activities(device: torch.device) -> list[ProfilerActivity]:
    """What a profile of work on `device` records."""
    is_gpu = device.type == "cuda"
    return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu else [])]


def longest_kernels(profiled: profile, number: int) -> tuple[str, ...]:
    """The names of the `number` kernels that took longest, without their arguments' types.

    Where nothing ran on a GPU, torch's operators.
    """
    events = profiled.key_averages()
    on_gpu = [one for one in events if one.device_type == DeviceType.CUDA]
    longest = sorted(
        on_gpu or events,
        key=lambda one: one.self_device_time_total if on_gpu else one.self_cpu_time_total,
        reverse=True,
    )
    return tuple(one.key.partition("(")[0][:80] for one in longest[:number])


class StepProfiler:
    """Profiles `num_steps` steps (0: none) of this process, after the first `SKIPPED_STEPS`."""

    def __init__(self, num_steps: int, device: torch.device) -> None:
        self._left = SKIPPED_STEPS + num_steps if num_steps else 0
        self._num_steps = num_steps
        self._device = device
        self._is_gpu = device.type == "cuda"
        self._profile: profile | None = None

    def step(self) -> dict[str, bytes]:
        """A step is over; the files of the profile by name after the last one, else nothing."""
        if not self._left:
            return {}
        self._left -= 1
        if self._left == self._num_steps:
            self._profile = profile(activities=profiled_activities(self._device))
            self._profile.start()
        return self._files() if self._left == 0 and self._profile is not None else {}

    def _files(self) -> dict[str, bytes]:
        assert self._profile is not None
        if self._is_gpu:
            torch.cuda.synchronize()
        self._profile.stop()
        order = "self_cuda_time_total" if self._is_gpu else "self_cpu_time_total"
        table = self._profile.key_averages().table(sort_by=order, row_limit=NUM_ROWS)
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder) / "trace.json.gz"
            self._profile.export_chrome_trace(str(trace))
            return {
                "profile/trace.json.gz": trace.read_bytes(),
                "profile/kernels.txt": table.encode(),
            }
