"""CPU time of a local Ray and of its workers, beside those of Ray's own start.

    uv run python -m benchmarks.training.local_ray [--workers 4] [--rounds 3]

Both ways start a node of two CPUs without a dashboard, and actors in a sweep's runtime environment
which do nothing, or which import what a training worker does; the one as Ray does by itself, the
other as PRP does (`orchestrator.ray_cluster.local_ray.lean_node`). The CPU-seconds of all
processes; those of a worker are the difference between a run with workers and one without, by their
number, so that they hold their share of the process from which PRP forks them. The megabytes of a
worker are those that it shares with no other process.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.training.trial_start import run

WAYS = ("ray", "prp")
KINDS = ("empty", "training")
ROWS = ("driver and node", "an empty worker", "a training worker")
SETTLED_SECONDS = 5.0  # after which the node's processes have started
MEMORY = "memory"  # the file with the megabytes of the workers of a run


def start(way: str, kind: str, num_workers: int) -> None:
    """Start a local Ray in the one way or in the other, and `num_workers` actors of `kind` there.
    Write what memory they have to themselves.
    """
    import ray

    from orchestrator.ray_cluster.connect import WORKER_DEFAULTS
    from orchestrator.ray_cluster.local_ray import lean_node

    with lean_node() if way == "prp" else contextlib.nullcontext():
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)

    class Worker:
        def work(self) -> None:
            if kind == "training":
                import orchestrator.trial.worker  # noqa: F401

        def own_megabytes(self) -> float:
            lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
            return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024

    actor = ray.remote(Worker).options(num_cpus=0, runtime_env={"env_vars": WORKER_DEFAULTS})
    workers = [actor.remote() for _ in range(num_workers)]
    ray.get([worker.work.remote() for worker in workers])
    time.sleep(SETTLED_SECONDS)
    megabytes = ray.get([worker.own_megabytes.remote() for worker in workers])
    Path(os.environ["PRP_HOME"], MEMORY).write_text(" ".join(map(str, megabytes)))
    ray.shutdown()


def main() -> None:
    """Measure both ways in turn and print the rows of `ROWS` for each, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=4, help="actors of the run that has some")
    parser.add_argument("--rounds", type=int, default=3, help="times that everything is measured")
    parser.add_argument(
        "--start", nargs=3, metavar=("WAY", "KIND", "WORKERS"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.start:
        way, kind, num_workers = arguments.start
        start(way, kind, int(num_workers))
        return
    seconds: dict[tuple[str, str], list[float]] = {(row, way): [] for row in ROWS for way in WAYS}
    megabytes: dict[tuple[str, str], list[float]] = {one: [] for one in seconds}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        for _ in range(arguments.rounds):
            for way in WAYS:
                command = [sys.executable, "-m", "benchmarks.training.local_ray", "--start", way]
                alone = run([*command, KINDS[0], "0"], home)
                seconds[ROWS[0], way].append(alone)
                for row, kind in zip(ROWS[1:], KINDS, strict=True):
                    with_workers = run([*command, kind, str(arguments.workers)], home)
                    seconds[row, way].append((with_workers - alone) / arguments.workers)
                    megabytes[row, way] += map(float, (home / MEMORY).read_text().split())
    for row in ROWS:
        print_row(row, "CPU-seconds", [statistics.median(seconds[row, way]) for way in WAYS])
        if row != ROWS[0]:
            print_row(row, "MB", [statistics.median(megabytes[row, way]) for way in WAYS])


def print_row(title: str, unit: str, figures: list[float]) -> None:
    """One line: what both ways take, and the ratio."""
    theirs, ours = figures
    print(f"{title:<18} ray {theirs:6.2f}  prp {ours:6.2f} {unit:<12} ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
