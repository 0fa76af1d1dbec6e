"""The ladder from the paper's way to the fast one: clips a second, and what each rung has to keep.

    python -m benchmarks.training.gpu_ladder --out DIR            on a GPU: about seven minutes
    python -m benchmarks.training.gpu_ladder --out DIR --toy      whole, in seconds, anywhere
    python -m benchmarks.training.gpu_ladder --out DIR --sizes r3d:8 --steps 1 --warm-up 1

Needs torch, torchvision and numpy; frames are made up. Prints one table and writes it to
``DIR/ladder.md``, beside ``ladder.json`` and ``kernels.txt``. On a CPU the rungs that a CPU has are
compared, in CPU-seconds of one thread, and what a GPU alone has is said not to be measured. A rung
that fails is a row that says why; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.training.ladder_checks import (
    busy_share,
    equal_losses,
    jpegs_on_device,
    peak_memory,
    resume_equality,
    waits,
)
from benchmarks.training.ladder_steps import TOY, Measured, Rung, Size, ladder
from prp_core.world import best_device

GPU_SIZES = ("r3d:8", "r3d:64", "c3d:8", "r2plus1d:8")
CPU_SIZES = ("r3d:8",)
SEEDS = (632, 633, 634)


def main(words: Sequence[str] | None = None) -> int:
    """Climb, check, print; 0 where every rung and check ran."""
    arguments = parse_arguments(words)
    device = torch.device(best_device())
    if device.type == "cpu":
        torch.set_num_threads(1)
    sizes = [TOY] if arguments.toy else [parse_size(text) for text in arguments.sizes or ()]
    if not sizes:
        names = GPU_SIZES if device.type == "cuda" else CPU_SIZES
        sizes = [parse_size(text) for text in names]
    compiles = device.type == "cuda" or arguments.compile
    lines = [*machine_lines(device), "", *header()]
    failures: list[str] = []
    rows = []
    for place, size in enumerate(sizes):
        rungs = ladder(device, compiles=compiles)
        if place > 1 and device.type == "cuda":  # the others: the first two and the last three
            rungs = [*rungs[:2], *rungs[-3:]]
        rows += climb(rungs, size, device, arguments, failures)
    lines += [row_line(row) for row in rows]
    lines += [
        "",
        *check_lines(ladder(device, compiles=compiles)[-1], sizes[0], device, arguments, failures),
    ]
    write(arguments.out, lines, rows)
    print("\n".join(lines))
    return 1 if failures else 0


def parse_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder of the tables")
    parser.add_argument("--toy", action="store_true", help="one small size, a few steps")
    parser.add_argument("--sizes", nargs="+", metavar="ENCODER:BATCH", help="112 x 112 clips")
    parser.add_argument("--steps", type=int, help="timed steps of each rung (30; 2 for --toy)")
    parser.add_argument("--warm-up", type=int, help="steps before them (10; 1 for --toy)")
    parser.add_argument("--loss-steps", type=int, help="steps whose losses are compared (500)")
    parser.add_argument("--compile", action="store_true", help="on a CPU, too, a compiled rung")
    parser.add_argument("--no-checks", action="store_true", help="time the rungs alone")
    arguments = parser.parse_args(words)
    defaults = (1, 1, 2) if arguments.toy else (30, 10, 500)
    for name, value in zip(("steps", "warm_up", "loss_steps"), defaults, strict=True):
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    return arguments


def parse_size(text: str) -> Size:
    """``r3d:8`` as eight clips of R3D at the published size."""
    encoder, _, batch_size = text.partition(":")
    return Size(encoder, int(batch_size))


def climb(
    rungs: list[Rung],
    size: Size,
    device: torch.device,
    arguments: argparse.Namespace,
    failures: list[str],
) -> list[dict[str, object]]:
    """A row for each rung: seconds a step, clips a second, times the first rung's."""
    rows: list[dict[str, object]] = []
    first = 0.0
    for rung in rungs:
        row: dict[str, object] = {"size": asdict(size), "rung": rung.name}
        try:
            seconds = Measured(rung, size, device).seconds_per_step(
                arguments.warm_up, arguments.steps
            )
        except Exception as error:  # noqa: BLE001  a rung that cannot be climbed is a row
            row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
            failures.append(rung.name)
        else:
            first = first or seconds
            row |= {
                "seconds": seconds,
                "clips_per_second": size.batch_size / seconds,
                "times": first / seconds,
            }
        rows.append(row)
    return rows


def check_lines(
    last: Rung,
    size: Size,
    device: torch.device,
    arguments: argparse.Namespace,
    failures: list[str],
) -> list[str]:
    """A line for each thing that the last rung has to keep."""
    if arguments.no_checks:
        return []
    kernels = ""

    def busy() -> str:
        nonlocal kernels
        share, kernels = busy_share(last, size, device, num_steps=min(20, arguments.steps))
        return share

    checks: dict[str, Callable[[], str]] = {
        "waits between two windows": lambda: waits(last, size, device),
        "losses": lambda: equal_losses(
            last,
            size,
            device,
            num_steps=arguments.loss_steps,
            seeds=SEEDS[:1] if arguments.toy else SEEDS,
        ),
        "resumed in deterministic mode": lambda: resume_equality(last, size, device),
        "memory": lambda: peak_memory(last, size, device),
        "share of the time in which the GPU computes": busy,
        "JPEGs decoded on the device": lambda: jpegs_on_device(last, size, device),
    }
    lines = [f"The last rung, {size.encoder}, batch {size.batch_size}:", ""]
    for name, check in checks.items():
        try:
            lines.append(f"- {name}: {check()}")
        except Exception as error:  # noqa: BLE001  the next check may still say something
            lines.append(f"- {name}: FAILED, {type(error).__name__}: {str(error)[:200]}")
            failures.append(name)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "kernels.txt").write_text(kernels)
    return lines


def machine_lines(device: torch.device) -> list[str]:
    """Machine, versions and commit."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU"
    cudnn = torch.backends.cudnn.version() if device.type == "cuda" else "none"
    return [
        f"Machine: {device.type}, {name}, {torch.get_num_threads()} CPU threads, Python "
        f"{platform.python_version()}, torch {torch.__version__}, cuDNN {cudnn}, commit {commit()}."
    ]


def commit() -> str:
    """The commit of this checkout; ``unknown`` outside one."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return done.stdout.strip() or "unknown"


def header() -> list[str]:
    """The table's head."""
    return [
        "| network, batch | rung | ms a step | clips a second | times the first |",
        "|---|---|---|---|---|",
    ]


def row_line(row: dict[str, object]) -> str:
    """One row of the table."""
    size = row["size"]
    assert isinstance(size, dict)
    start = f"| {size['encoder']}, {size['batch_size']} | {row['rung']} |"
    if "error" in row:
        return f"{start} {row['error']} | | |"
    return (
        f"{start} {1e3 * float(str(row['seconds'])):.1f} | "
        f"{float(str(row['clips_per_second'])):.2f} | {float(str(row['times'])):.2f} |"
    )


def write(folder: Path, lines: list[str], rows: list[dict[str, object]]) -> None:
    """The table as text, its rows as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ladder.md").write_text("\n".join(lines) + "\n")
    (folder / "ladder.json").write_text(json.dumps({"machine": lines[0], "rows": rows}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
