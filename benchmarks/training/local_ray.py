"""CPU time of a local Ray and of its workers, beside those of Ray's own start.

    uv run python -m benchmarks.training.local_ray [--workers 4] [--rounds 3]

Both ways start a node of two CPUs without a dashboard, and actors that do nothing, in a runtime
environment with a variable, as a sweep's have; the one as Ray does by itself, the other as PRP does
(`orchestrator.ray_cluster.local_ray.lean_node`). The CPU-seconds of all processes; those of a
worker are the difference between a run with workers and one without, by their number.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.training.trial_start import run

WAYS = ("ray", "prp")
SETTLED_SECONDS = 5.0  # after which the node's processes have started


def start(way: str, num_workers: int) -> None:
    """Start a local Ray in the one way or in the other, and `num_workers` actors there."""
    import ray

    from orchestrator.ray_cluster.local_ray import lean_node

    with lean_node() if way == "prp" else contextlib.nullcontext():
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)

    class Worker:
        def answer(self) -> int:
            return 0

    actor = ray.remote(Worker).options(num_cpus=0, runtime_env={"env_vars": {"PRP_BENCHMARK": "1"}})
    workers = [actor.remote() for _ in range(num_workers)]
    ray.get([worker.answer.remote() for worker in workers])
    time.sleep(SETTLED_SECONDS)
    ray.shutdown()


def main() -> None:
    """Measure both ways in turn and print a row for each, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=4, help="actors of the run that has some")
    parser.add_argument("--rounds", type=int, default=3, help="times that everything is measured")
    parser.add_argument("--start", nargs=2, metavar=("WAY", "WORKERS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.start:
        start(arguments.start[0], int(arguments.start[1]))
        return
    nodes: dict[str, list[float]] = {way: [] for way in WAYS}
    workers: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        for _ in range(arguments.rounds):
            for way in WAYS:
                command = [sys.executable, "-m", "benchmarks.training.local_ray", "--start", way]
                alone = run([*command, "0"], Path(name))
                with_workers = run([*command, str(arguments.workers)], Path(name))
                nodes[way].append(alone)
                workers[way].append((with_workers - alone) / arguments.workers)
    for title, figures in (("driver and node", nodes), ("a worker", workers)):
        theirs, ours = (statistics.median(figures[way]) for way in WAYS)
        print(
            f"{title:<16} ray {theirs:5.2f}  prp {ours:5.2f} CPU-seconds  ratio {ours / theirs:.2f}"
        )


if __name__ == "__main__":
    main()
