"""A driver that leaves a cluster while many of its threads ask an actor, as one does a coordinator.

python -m tests.tools.asking_driver ADDRESS
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from types import SimpleNamespace
from typing import Any

import ray

from orchestrator.ray_cluster.connect import ray_cluster
from orchestrator.sweep import steering_loop
from orchestrator.sweep.steering_loop import SteeringLoop

NUM_THREADS = 40
LONGEST_ANSWER_SECONDS = 0.5
ASKING_SECONDS = 0.3


@ray.remote(num_cpus=0, max_concurrency=NUM_THREADS)
class Coordinator:
    """Answers after a while."""

    def advance(self) -> str:
        time.sleep(random.uniform(0.0, LONGEST_ANSWER_SECONDS))
        return ""


def main() -> None:
    """Ask, and leave."""
    steering_loop.ADVANCE_SECONDS = 0.01
    with ray_cluster(sys.argv[1]):
        actor: Any = Coordinator.remote()
        ray.get(actor.advance.remote())
        loops = [SteeringLoop(SimpleNamespace(steering=actor)) for _ in range(NUM_THREADS)]
        with contextlib.ExitStack() as stack:
            for loop in loops:
                stack.enter_context(loop)
            time.sleep(ASKING_SECONDS)
            for loop in loops:  # or each would be waited for before the next one is told
                loop._end.set()
    time.sleep(1.0)  # a thread that was left behind would meet a process without Ray


if __name__ == "__main__":
    main()
