"""The fused decoder against the written one, in CPU-seconds of forward and backward on one thread.

    uv run python -m benchmarks.training.fused_decoder [--batch 4]

Each pair of the published decoder at 112 x 112 by itself, then the whole network, then the small
one of the demo. The better of two rounds (of 15 for the small one), interleaved.
"""

from __future__ import annotations

import argparse
import time

import torch

from prp_core.pretext.fused_upsampling import upsample_and_convolve
from prp_core.pretext.heads import Decoder
from prp_core.pretext.network import PrpNetwork

CHANNELS = 512
FEATURES = (2, 7, 7)


def main() -> None:
    """Measure and print a row for each pair and network."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=4, help="clips of the published size")
    num_clips = parser.parse_args().batch
    torch.set_num_threads(1)
    for name in ("up1", "up2", "up3", "up4"):
        print_row(f"{name}, {num_clips} clips", measure_pair(name, num_clips))
    print_row(f"r3d, {num_clips} clips", measure_network("r3d", (num_clips, 3, 16, 112, 112), 2))
    print_row("r3d_small, 8 clips", measure_network("r3d_small", (8, 3, 8, 32, 32), 15))


def print_row(name: str, seconds: dict[str, float]) -> None:
    """One line: both times, and how many times as fast the fused form is."""
    written = seconds["written"]
    fused = seconds["fused"]
    print(f"{name}: written {written:.3f} s, fused {fused:.3f} s, {written / fused:.2f} x")


def measure_pair(name: str, num_clips: int) -> dict[str, float]:
    """CPU-seconds of the pair called `name`, in both forms."""
    decoder = Decoder(CHANNELS, 2)
    decoder.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    place = ("up1", "up2", "up3", "up4").index(name)
    stage = getattr(decoder, name)
    up, conv = (stage, decoder.out[0]) if name == "up4" else (stage.up, stage.conv[0])
    size = [length * 2**place for length in FEATURES]
    hidden = torch.rand(num_clips, up.in_channels, *size)
    hidden = hidden.to(memory_format=torch.channels_last_3d).requires_grad_()
    seconds = {"written": float("inf"), "fused": float("inf")}
    for _ in range(2):
        for form in seconds:
            started = time.process_time()
            output = upsample_and_convolve(hidden, up, conv, fused=form == "fused")
            output.backward(torch.ones_like(output))  # type: ignore[no-untyped-call]
            seconds[form] = min(seconds[form], time.process_time() - started)
    return seconds


def measure_network(
    encoder: str, size: tuple[int, int, int, int, int], num_rounds: int
) -> dict[str, float]:
    """CPU-seconds of a whole network, written and with the stages that counting chooses."""
    network = PrpNetwork(encoder)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    clip_BCTHW = torch.rand(size)
    seconds = {"written": float("inf"), "fused": float("inf")}
    for _ in range(num_rounds):
        for form in seconds:
            network.fuse_decoders(False if form == "written" else None)
            network.zero_grad()
            started = time.process_time()
            output = network(clip_BCTHW)
            loss = output["playback_rate"].logsumexp(1).mean() + output["slow_motion"].mean()
            loss.backward()
            seconds[form] = min(seconds[form], time.process_time() - started)
    return seconds


if __name__ == "__main__":
    main()
