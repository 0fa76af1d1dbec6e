"""What a fast rung has to keep: equal losses, no waits, bit-equal resumes, a busy device."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.training.ladder_steps import PAPERS_WAY, Measured, Rung, Size
from prp_core.data.shards.jpeg_codec import decode_jpegs
from prp_core.data.spans import SpanBatch
from prp_core.training.checkpoint import from_bytes, to_bytes
from prp_core.training.memory import network_memory

NOT_HERE = "not measured: no GPU"
LARGEST_SHARE = 0.01
NUM_KERNELS = 20


class _Reads(TorchDispatchMode):
    """Counts the reads of single values, each of which waits for its device."""

    number = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        self.number += function.overloadpacket.__name__ == "_local_scalar_dense"
        return function(*arguments, **(named or {}))


def waits(rung: Rung, size: Size, device: torch.device) -> str:
    """Reads of values in three steps between windows; on a GPU any wait at all is an error."""
    measured = Measured(rung, size, device)
    batch = measured._pack(measured.spans[0]).to(device)
    measured.step(batch).read()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(3):
                measured.step(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return "0 (an error otherwise)"
    with _Reads() as reads:
        for _ in range(3):
            measured.step(batch)
    return f"{reads.number}"


def equal_losses(
    rung: Rung, size: Size, device: torch.device, *, num_steps: int, seeds: tuple[int, ...]
) -> str:
    """The mean loss of the last fifth of the steps, as written and on `rung`, over `seeds`."""
    means: dict[str, list[float]] = {"written": [], "fast": []}
    for seed in seeds:
        for name, one in (("written", PAPERS_WAY), ("fast", rung)):
            measured = Measured(one, size, device, seed=seed)
            numbers = list(measured.steps(num_steps))[-max(1, num_steps // 5) :]
            means[name].append(statistics.fmean(step.read()["train/loss"] for step in numbers))
    differences = [fast - written for written, fast in zip(*means.values(), strict=True)]
    difference = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(seeds)) if len(seeds) > 1 else 0.0
    loss = statistics.fmean(means["written"])
    fits = abs(difference) <= max(2 * error, LARGEST_SHARE * loss)
    return (
        f"{'equal' if fits else 'NOT EQUAL'}: {loss:.5f} as written, {difference:+.2e} "
        f"(standard error {error:.1e}), {num_steps} steps, {len(seeds)} seeds"
    )


def resume_equality(rung: Rung, size: Size, device: torch.device) -> str:
    """Whether a learner that was brought back mid-way ends with the same bits (deterministic)."""
    weights = []
    for interrupted in (False, True):
        measured = Measured(rung, size, device, deterministic=True)
        batches = [measured._pack(spans).to(device) for spans in measured.spans]
        for place, batch in enumerate(batches):
            if interrupted and place == 1:
                state = to_bytes(measured.learner.state())
                own = to_bytes(measured.learner.own_state())
                measured = Measured(rung, size, device, deterministic=True)
                measured.learner.load_state(from_bytes(state))
                measured.learner.load_own_state(from_bytes(own))
            measured.step(batch).read()
        weights.append(
            {name: tensor.cpu() for name, tensor in measured.learner.network.state_dict().items()}
        )
    different = [name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])]
    return f"{len(different)} of {len(weights[0])} tensors differ {different[:3]}"


def peak_memory(rung: Rung, size: Size, device: torch.device) -> str:
    """The peak of three steps, MiB a clip, beside the estimate that refuses configs."""
    estimate = network_memory(size.encoder).worker_bytes(
        num_clips=size.batch_size, length=size.length, crop=size.crop, upsampling=2
    )
    said = f"estimated at least {estimate / 2**20 / size.batch_size:.0f} MiB a clip"
    if device.type != "cuda":
        return f"{said}; {NOT_HERE}"
    measured = Measured(rung, size, device)
    torch.cuda.reset_peak_memory_stats(device)
    for numbers in measured.steps(3):
        numbers.read()
    peak = torch.cuda.max_memory_allocated(device) / 2**20 / size.batch_size
    return f"{said}, measured {peak:.0f}"


def busy_share(
    rung: Rung, size: Size, device: torch.device, num_steps: int = 20
) -> tuple[str, str]:
    """(the share of the time in which some kernel runs, the largest kernels as text)."""
    is_gpu = device.type == "cuda"
    measured = Measured(rung, size, device)
    measured.seconds_per_step(warm_up=3, timed=1)
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu else [])]
    with profile(activities=kinds) as recorded:
        seconds = measured.seconds_per_step(warm_up=1, timed=num_steps) * num_steps
    order = "self_cuda_time_total" if is_gpu else "self_cpu_time_total"
    table = recorded.key_averages().table(sort_by=order, row_limit=NUM_KERNELS)
    if not is_gpu:
        return NOT_HERE, table
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in recorded.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    busy = 0.0
    until = 0.0
    for start, end in spans:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return f"{busy / 1e6 / seconds * num_steps / (num_steps + 1):.1%}", table


def jpegs_on_device(rung: Rung, size: Size, device: torch.device) -> str:
    """A step on frames that the GPU has decoded, as ``loader.decode_jpegs_on = "device"`` does."""
    if device.type != "cuda":
        return NOT_HERE
    from torchvision.io import encode_jpeg  # on a GPU box it is there; this file imports without

    measured = Measured(rung, size, device)
    samples = []
    for sample in measured.spans[0].samples:
        assert isinstance(sample.frames_NHWC, torch.Tensor)
        pictures = list(sample.frames_NHWC.permute(0, 3, 1, 2).contiguous())
        jpegs = [bytes(jpeg.numpy()) for jpeg in encode_jpeg(pictures, quality=90)]
        decoded = decode_jpegs(jpegs, size.height, size.width, device)
        samples.append(replace(sample, frames_NHWC=decoded))
    packed = measured._pack(SpanBatch(tuple(samples))).to(device)
    loss = measured.step(packed).read()["train/loss"]
    return f"a step with loss {loss:.4f}, {packed.frames.packed.numel()} bytes of pixels copied"
