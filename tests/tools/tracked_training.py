"""Training one run and tracking it in one process, so that both die together."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from orchestrator.tracking.record_log import PointsHeld
from orchestrator.tracking.run_names import SWEEP_RUN, trial_run
from orchestrator.tracking.run_start import RunStart
from orchestrator.trial.pending_points import PendingPoints, Poll
from prp_core.reporting import Points
from prp_core.training.pretrain_data import PretrainData
from tests.tiny_corpus import open_source
from tests.tiny_training import parts_of, train
from tests.tools.track_points import tracker_of

RUN = trial_run(0)


class DirectReporter:
    """A `Reporter` beside its tracker, in one process."""

    def __init__(self, place: tuple[str, str, str, Path], dies_at: int, restarts_at: int) -> None:
        self._place = place
        self._dies_at = dies_at
        self._restarts_at = restarts_at
        self.tracker = tracker_of(*place)
        self.tracker.start(SWEEP_RUN, RunStart(params={}))
        self.tracker.start(RUN, RunStart(params={}))
        self.points = PendingPoints(self._send, self._send_again)

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        self.points.add(metrics, step)
        if "train/loss" not in metrics:
            return
        if step == 1:
            assert self.tracker.flush_to_storage(60)
        if step == self._restarts_at:
            self.tracker = tracker_of(*self._place)
            assert self.tracker.flush_to_storage(60)
        if step == self._dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def at_rung(
        self, *, epoch: int, step: int, metrics: Mapping[str, float], hits: Mapping[str, bool]
    ) -> bool:
        self.log({"epoch": epoch}, step=step)
        return True

    def unconfirmed(self) -> Points:
        return self.points.as_points()

    def log_again(self, points: Points) -> None:
        self.points.add_again(points)

    def _send(self, metrics: Mapping[str, float], step: int) -> Poll:
        return _answered(self.tracker.log(RUN, metrics, step))

    def _send_again(self, points: Points) -> Poll:
        for step, metrics in points:
            self.tracker.log(RUN, metrics, step)
        return _answered(self.tracker.held(RUN))


def _answered(held: PointsHeld) -> Poll:
    return lambda: held


def train_and_track(
    place: tuple[str, str, str, Path], dies_at: int, restarts_at: int, left: Path
) -> None:
    """Train to the end, or to the death; the number of records that wait goes to the file `left`.

    `place` is the tracking URI, the experiment, the sweep's name, and a folder: the videos of
    `tests.tiny_corpus` lie below it, checkpoints and records go there. The process kills itself
    when it has logged the loss of step `dies_at`; at step `restarts_at` the tracker is replaced as
    by a restarted coordinator, with what it had in memory alone (0: never). What was logged at the
    first step is in the storage before the second.
    """
    _, _, sweep_id, folder = place
    data = PretrainData(open_source(folder / "videos"), parts_of(folder / "videos"))
    reporter = DirectReporter(place, dies_at, restarts_at)
    train(data, folder / "checkpoints" / sweep_id, reporter)
    assert reporter.points.flush(60)
    reporter.tracker.finish(RUN, "finished")
    reporter.tracker.finish_all("killed", "the training is over")
    left.write_text(str(reporter.tracker.close(60).num_records))
