"""A canary for bfloat16: the network's own shapes in bfloat16 against float32, before a run begins.

Convolutions over three axes are the worst kept corner of low precision: some versions of cuDNN
return wrong values, oneDNN (torch 2.15 on a CPU) wrong weight gradients. A step that learns from
them diverges late or never; here it is refused at once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import nn
from torch.profiler import profile

from prp_core.errors import UserError
from prp_core.training.profiling import longest_kernels, profiled_activities

log = logging.getLogger(__name__)

NUM_KERNELS = 8

LARGEST_OUTPUT_ERROR = 0.1
SMALLEST_COSINE = 0.9
"""bfloat16's 8 bits leave an output within a few per cent, a gradient's direction within 0.99."""


@dataclass(frozen=True)
class PrecisionReport:
    """How far bfloat16 is from float32: the outputs' relative error, the worst gradient's cosine.

    `parameter` names that gradient, `kernels` the kernels that took longest in bfloat16, the
    longest first (on a CPU torch's operators).
    """

    output_error: float
    cosine: float
    parameter: str
    kernels: tuple[str, ...] = ()

    @property
    def is_fit(self) -> bool:
        """Whether a run may compute so."""
        return self.output_error <= LARGEST_OUTPUT_ERROR and self.cosine >= SMALLEST_COSINE


def compare_precisions(network: nn.Module, clip_BCTHW: torch.Tensor) -> PrecisionReport:
    """One forward and backward pass of `network` in bfloat16 and in float32; gradients are freed.

    The network has to be in evaluation mode, so that its statistics stay.
    """
    assert not network.training
    device_type = clip_BCTHW.device.type
    results = []
    profiler = profile(activities=profiled_activities(clip_BCTHW.device))
    for enabled in (False, True):
        if enabled:
            profiler.start()
        network.zero_grad(set_to_none=True)
        with torch.autocast(device_type, dtype=torch.bfloat16, enabled=enabled):
            outputs = network(clip_BCTHW)
        outputs = {name: output.float() for name, output in outputs.items()}
        sum(output.square().mean() for output in outputs.values()).backward()
        gradients = {
            name: parameter.grad.flatten().double()
            for name, parameter in network.named_parameters()
            if parameter.grad is not None
        }
        results.append(({n: out.detach() for n, out in outputs.items()}, gradients))
    if clip_BCTHW.is_cuda:
        torch.cuda.synchronize()
    profiler.stop()
    network.zero_grad(set_to_none=True)
    (exact, exact_gradients), (rounded, rounded_gradients) = results
    error = max(_relative_error(exact[name], rounded[name]) for name in exact)
    cosines = {
        name: _cosine(gradient, rounded_gradients[name])
        for name, gradient in exact_gradients.items()
        if gradient.numel() > 1
    }
    worst = min(cosines, key=lambda name: cosines[name])
    return PrecisionReport(error, cosines[worst], worst, longest_kernels(profiler, NUM_KERNELS))


def _relative_error(exact: torch.Tensor, rounded: torch.Tensor) -> float:
    error = float((rounded - exact).norm() / exact.norm().clamp_min(1e-12))
    return error if error == error else float("inf")


def _cosine(exact: torch.Tensor, rounded: torch.Tensor) -> float:
    """1 where the two point the same way; -1 for values that are not finite."""
    if not bool(rounded.isfinite().all()):
        return -1.0
    norms = exact.norm() * rounded.norm()
    return float(exact @ rounded / norms) if float(norms) > 0 else 1.0


def check_bfloat16(network: nn.Module, clip_BCTHW: torch.Tensor) -> None:
    """Raise `UserError` where `network` cannot be trusted in bfloat16 on clips of this shape."""
    report = compare_precisions(network, clip_BCTHW)
    log.info("bfloat16 is computed by %s", ", ".join(report.kernels))
    if not report.is_fit:
        raise UserError(
            "training.precision = 'bfloat16': this machine computes it wrongly (outputs are off by "
            f"{report.output_error:.2g} of their size, the gradient of {report.parameter} has "
            f"a cosine of {report.cosine:.2f} with float32's; its longest kernels are "
            f"{', '.join(report.kernels[:3])}); use 'tf32' or 'float32', or another "
            f"version of cuDNN than {torch.backends.cudnn.version()}"
        )
