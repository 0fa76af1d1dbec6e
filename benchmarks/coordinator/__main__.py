"""Prints what the coordinator of a large sweep costs, call by call, beside the goals.

uv run python -m benchmarks.coordinator                     # 1,000 trials, 64 of them running
uv run python -m benchmarks.coordinator --trials 10000      # what breaks first?
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path


def main() -> None:
    """Make the sweep, time the coordinator, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--running", type=int, default=64)
    parser.add_argument("--entries-per-trial", type=int, default=120, help="ledger entries")
    arguments = parser.parse_args()
    # Linear algebra on one thread, as in every process that Ray starts; read at the first import.
    os.environ["OMP_NUM_THREADS"] = "1"
    from benchmarks.coordinator.figures import measure
    from benchmarks.coordinator.large_sweep import make_sweep

    with tempfile.TemporaryDirectory() as folder:
        setup = make_sweep(
            Path(folder) / "sweep",
            num_trials=arguments.trials,
            num_running=arguments.running,
            entries_per_trial=arguments.entries_per_trial,
        )
        print(
            f"{arguments.trials} trials ended, {arguments.running} running, "
            f"{arguments.entries_per_trial} ledger entries each\n"
        )
        print("| CPU of the coordinator's thread | median | largest | goal | reached |")
        print("|---|---|---|---|---|")
        for figure in measure(setup, arguments.running):
            print(figure.line(), flush=True)


if __name__ == "__main__":
    main()
