"""The order in which the test processes take the files, with the files that share a process.

The suite runs in three processes (`num_processes`). What takes longest comes first, so that all end
at the same time. Files that share a server or a cluster go to the same process,
which starts it once; a file of a few long tests is divided.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# Files whose worker processes are forked from one server (`tests/warm_processes.py`), which imports
# torch once, and MLflow if the first of them needs it, for each test process that has such a file.
FORKED = (
    "integration/test_points.py",
    "integration/test_shared_frames_s3.py",
    "integration/test_training_runs.py",
    "unit/prp_core/training/test_checkpoint_writer.py",
    "unit/prp_core/training/test_checkpoint_times.py",
    "unit/prp_core/training/test_learner.py",
    "unit/prp_core/training/test_async_evaluation.py",
    "unit/prp_core/training/test_watchdog.py",
    "unit/prp_core/training/test_checkpoint.py",
    "unit/prp_core/evaluation/test_features.py",
    "unit/prp_core/pretext/test_playing_direction.py",
    "unit/prp_core/test_world.py",
    "unit/prp_core/test_eager_data_parallel.py",
)
# Short files that need the S3 server: a third one would cost its start and its idle time.
WITH_S3 = (
    "contracts/test_stored_sweeps.py",
    "contracts/test_sweep_journal.py",
    "contracts/test_lease.py",
    "contracts/test_object_stores.py",
    "contracts/test_run_attempts.py",
    "contracts/test_sweep_folder.py",
    "integration/test_conditional_writes.py",
    "integration/test_index.py",
    "integration/test_journal_faults.py",
    "integration/test_node_cache_s3.py",
    "integration/test_s3_places.py",
    "integration/test_s3_sample_stream.py",
    "integration/test_s3_store.py",
    "e2e/test_bad_input.py",
)
# Files that use torch's compiler (torchvision imports it), which takes 1.5 CPU-seconds to import.
COMPILED = (
    "unit/prp_core/training/test_step_options.py",
    "unit/prp_core/evaluation/test_portable_encoder.py",
    "unit/benchmarks/test_gpu_ladder.py",
    "unit/prp_core/data/shards/test_shards.py",
)
# Groups of files in the order in which they are taken; a group is one process's. What is not named
# here comes after them, in the order of the names, each file by itself.
FIRST: tuple[tuple[str, ...], ...] = (
    ("e2e/test_interruptions.py", "e2e/test_sweep.py"),
    (
        "e2e/test_submitted_sweep.py",
        "integration/test_autoscaling.py",
        "integration/test_tracking.py",
        "integration/test_encoder_models.py",
        "integration/test_finetune.py",
        "integration/test_cluster_files.py",
        "integration/test_examination.py",
        "integration/test_prepare.py",
        *FORKED,
    ),
    ("e2e/test_nemesis.py", *WITH_S3),
    ("e2e/test_workers.py",),
    ("integration/test_token_cluster.py",),
    ("integration/test_slow_ray_start.py",),
    ("golden/test_published_networks.py",),
    ("contracts/test_readers_selective.py",),
    COMPILED,
    ("unit/prp_core/data/test_decode_process.py",),
)
# Files whose tests share nothing and are long: each test goes to the next process that is free.
DIVIDED = ("golden/test_published_networks.py",)
TESTS = Path(__file__).parent
MOST_PROCESSES = 8  # each imports torch anew


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """xdist's scheduling by file, with the groups of `FIRST` kept together and `DIVIDED` ones by
    test.
    """

    def _split_scope(self, nodeid: str) -> str:
        name = nodeid.split("::", 1)[0].removeprefix("tests/")
        if name in DIVIDED:
            return nodeid
        return next((group[0] for group in FIRST if name in group), name)

    def _reschedule(self, node: WorkerController) -> None:
        """Hand a process its next group when one test is left, not two as xdist does: what is
        handed out waits behind them, however long they take. With none left to follow it, a process
        does not begin its last test.
        """
        if not self.workqueue or self._pending_of(self.assigned_work[node]) < 2:
            super()._reschedule(node)

    def remove_node(self, node: WorkerController) -> str | None:
        """Take back what a process that ended has not run; the test at which it crashed, `None` if
        it had run all.

        Only tests that wait go back to the queue. xdist returns the whole of it: the process that
        takes a group without tests never asks for more, and the run never ends; the test that
        crashed would crash the next process.
        """
        left = self.assigned_work.pop(node)
        waiting = [
            test for group in left.values() for test, is_over in group.items() if not is_over
        ]
        if not waiting:
            return None
        crashed = waiting[0]  # a process runs its tests in the order in which it got them
        for name, group in left.items():
            tests = {test: False for test, is_over in group.items() if not is_over}
            tests.pop(crashed, None)
            if tests:
                self.workqueue[name] = tests
        for other in self.assigned_work:
            self._reschedule(other)
        return crashed


def num_processes(paths: Sequence[str], num_cores: int) -> int:
    """How many processes run the tests in `paths`, a command's arguments, on `num_cores`.

    Unit tests compute: one for each core. The others start clusters and servers and wait for much
    of their time: three, each of which starts some anew.
    """
    places = [Path(path.partition("::")[0]).resolve() for path in paths]
    if places and all(place.is_relative_to(TESTS / "unit") for place in places):
        return min(num_cores, MOST_PROCESSES)
    return 3


def in_running_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """`items` with those of `FIRST` before all others; within a file they stay as they were."""
    places = {name: place for place, name in enumerate(name for group in FIRST for name in group)}
    return sorted(
        items,
        key=lambda item: places.get(item.path.relative_to(TESTS).as_posix(), len(places)),
    )
