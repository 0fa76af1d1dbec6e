"""A process that tracks one trial, so that a test can kill it or run it beside another.

    python -m tests.tools.track_points TRACKING_URI EXPERIMENT STORAGE SWEEP_ID NUM_STEPS END

Prints the run's id, waits for a line on standard input, logs the steps 0 .. NUM_STEPS-1 of `loss`,
finishes the run as END, prints "durable" when the storage has that, waits for another line and
prints "closed" and how many records are left.
"""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.sweep_folder import RECORDS, open_sweep_folder
from orchestrator.tracking import MlflowTracker, TrackedSweep
from orchestrator.tracking.run_names import SWEEP_RUN, trial_run
from orchestrator.tracking.run_start import RunStart
from prp_core.data.object_store import read_all


def tracker_of(tracking_uri: str, experiment: str, sweep_id: str, storage: Path) -> MlflowTracker:
    """A tracker whose records lie in the sweep's folder of `storage`."""
    store = open_sweep_folder(str(storage), sweep_id).store
    return MlflowTracker(
        TrackedSweep(
            tracking_uri=tracking_uri,
            experiment=experiment,
            sweep_id=sweep_id,
            open_journal=lambda: JournalWriter(store, RECORDS, epoch=1, holder="test"),
            read_file=lambda key: read_all(store, key),
        )
    )


def main() -> None:
    """Track and wait."""
    tracking_uri, experiment, storage, sweep_id, num_steps, end = sys.argv[1:]
    tracker = tracker_of(tracking_uri, experiment, sweep_id, Path(storage))
    tracker.start(SWEEP_RUN, RunStart(params={}))
    tracker.start(trial_run(0), RunStart(params={"rate": "1-2"}))
    assert tracker.flush(60)
    print(tracker.run_id(trial_run(0)), flush=True)
    sys.stdin.readline()
    for step in range(int(num_steps)):
        tracker.log(trial_run(0), {"loss": 1.0 / (step + 1)}, step)
    tracker.finish(trial_run(0), end, "the test says so")
    assert tracker.flush_to_storage(60)
    print("durable", flush=True)
    sys.stdin.readline()
    print("closed", tracker.close(60).num_records, flush=True)


if __name__ == "__main__":
    main()
