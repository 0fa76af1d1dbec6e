"""A process that tracks one trial, so that a test can kill it or run it beside another.

    python -m tests.tools.track_points TRACKING_URI EXPERIMENT SPOOL_DIR SWEEP_ID NUM_STEPS END

Prints the run's id, waits for a line on standard input, logs the steps 0 .. NUM_STEPS-1 of `loss`,
finishes the run as END, prints "accepted" and waits for another line before it closes the tracker.
"""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.tracking import MlflowTracker


def main() -> None:
    """Track and wait."""
    tracking_uri, experiment, spool_dir, sweep_id, num_steps, end = sys.argv[1:]
    tracker = MlflowTracker(tracking_uri, experiment, spool_dir=Path(spool_dir))
    sweep_run_id = tracker.start_sweep(sweep_id, {}, {})
    run_id = tracker.start_trial(sweep_run_id, 0, {"rate": "1-2"}, {})
    print(run_id, flush=True)
    sys.stdin.readline()
    for step in range(int(num_steps)):
        tracker.log(run_id, {"loss": 1.0 / (step + 1)}, step)
    tracker.finish(run_id, end, "the test says so")
    print("accepted", flush=True)
    sys.stdin.readline()
    print("closed", tracker.close(60), flush=True)


if __name__ == "__main__":
    main()
