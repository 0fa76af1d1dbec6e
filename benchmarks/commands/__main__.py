"""CPU-seconds per command: ``uv run python -m benchmarks.commands [--rounds N]``.

Each row is a process of its own, in interleaved rounds; the figures are medians of its user and
system time, and the same less the row that it is compared with: an empty program, or a program that
only reads the records that ``prp status`` and ``prp report`` show. Those are of a sweep of 24
trials that was never trained (`tests/recorded_sweep.py`).
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from prp_core.errors import UserError
from tests.recorded_sweep import build_sweep

REPOSITORY = Path(__file__).resolve().parents[2]
PRP = ["-c", "import sys; from orchestrator.commands.prp import main; sys.exit(main())"]
EMPTY = "python -c pass"
READ_STATUS = """
import sys
from orchestrator.journal.stored_sweep import load_sweep
from orchestrator.search.record import read_study
from orchestrator.tracking.reading import read_sweep_runs
spec = load_sweep(sys.argv[1]).spec
read_study(spec)
read_sweep_runs(spec.tracking_uri, spec.config["sweep"]["name"], spec.sweep_id)
"""
READ_REPORT = """
import sys
from orchestrator.journal.stored_sweep import load_sweep
from orchestrator.report.record import load_record
load_record(load_sweep(sys.argv[1]).spec)
"""


@dataclass(frozen=True)
class Row:
    """A command: the words after ``python``, the exit code it must have, what it is less."""

    name: str
    words: list[str]
    exit_code: int = 0
    beside: str = EMPTY


def rows(sweep_id: str) -> list[Row]:
    """What is measured; `sweep_id` is a sweep under ``$PRP_HOME``."""
    study = "sweeps/rate_search.py"
    status = f"reading for status: {sweep_id}"
    report = f"reading for report: {sweep_id}"
    return [
        Row(EMPTY, ["-c", "pass"]),
        Row("prp --help", [*PRP, "--help"]),
        Row("prp --version", [*PRP, "--version"]),
        Row("prp statsu", [*PRP, "statsu"], 2),
        Row("prp data prepare --help", [*PRP, "data", "prepare", "--help"]),
        Row(f"{study} --help", [study, "--help"]),
        Row(f"{study} --trails 3", [study, "--trails", "3"], 2),
        Row(f"{study} --set clip.lenght=8", [study, "--set", "clip.lenght=8"], 2),
        Row(status, ["-c", READ_STATUS, sweep_id]),
        Row("prp status", [*PRP, "status"], beside=status),
        Row("prp status SWEEP", [*PRP, "status", sweep_id, "--once"], beside=status),
        Row(report, ["-c", READ_REPORT, sweep_id]),
        Row("prp report SWEEP", [*PRP, "report", sweep_id], beside=report),
    ]


def cpu_seconds(row: Row, home: Path) -> float:
    """User and system time of one run of `row`. Raises `UserError` for another exit code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *row.words],
        cwd=REPOSITORY,
        env={**os.environ, "PRP_HOME": str(home), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != row.exit_code:
        raise UserError(f"{row.name} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(argv: list[str] | None = None) -> None:
    """Measure every row in each round and print the medians."""
    parser = argparse.ArgumentParser(description="CPU-seconds of each command.")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    num_rounds = parser.parse_args(argv).rounds
    with tempfile.TemporaryDirectory(prefix="benchmark-commands-") as folder:
        home = Path(folder)
        table = rows(build_sweep(home, ledger=True).sweep_id)
        seconds: dict[str, list[float]] = {row.name: [] for row in table}
        for row in table:
            cpu_seconds(row, home)  # fills the disk's cache and writes the byte code
        for _ in range(num_rounds):
            for row in table:
                seconds[row.name].append(cpu_seconds(row, home))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    width = max(len(row.name) for row in table)
    print(f"{'command':<{width}}  CPU-seconds  (least, most)   beside its row")
    for row in table:
        least, most = min(seconds[row.name]), max(seconds[row.name])
        more = medians[row.name] - medians[row.beside]
        print(
            f"{row.name:<{width}}  {medians[row.name]:11.2f}  "
            f"({least:5.2f}, {most:5.2f})  {more:+15.2f}"
        )


if __name__ == "__main__":
    main()
