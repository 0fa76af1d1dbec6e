"""The trials of a sweep through Ray Tune, whose searcher asks the coordinator for each of them."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.cost.budget import Admission
from orchestrator.ray_cluster.composed_actor import PartHandle
from orchestrator.ray_cluster.connect import keep_credentials_out_of_runtime_env
from orchestrator.ray_cluster.driver_placement import driver_labels
from orchestrator.trial.driver import DRIVER_RESOURCES, run_trial

_LOGGER = logging.getLogger(__name__)

# How long the searcher waits before it asks again whether one more trial may start.
ASK_AGAIN_SECONDS = 0.5
CHOOSE_AGAIN_SECONDS = 0.05  # while a trial is being chosen


class CoordinatorSearcher(Searcher):
    """A searcher for Ray Tune that suggests what the coordinator's study was asked for.

    `trials` is the coordinator's trial desk. `limit` says how many trials may train at once *now*;
    it is asked again while the sweep runs, so that a cluster that grows is used. `when_idle` is
    called, again and again, while the last trials run and leave room for one more. Ray Tune's own
    state is never restored, and Ray Tune starts no trial again: the study's database is the state,
    and a trial whose driver died is suggested again.
    """

    def __init__(
        self,
        trials: PartHandle,
        limit: Callable[[], int],
        when_idle: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(metric=None, mode=None)
        self._trials = trials
        self._limit = limit
        self._when_idle = when_idle
        self._clock = clock
        self._not_before = -1.0
        self._running: set[str] = set()

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Nothing to set: the space and the objective belong to the study."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's task; None while the cluster is full, the budget waits for running
        trials or every trial that is left runs; `FINISHED` when no trial will start any more.
        """
        if self._clock() < self._not_before:
            return None
        if len(self._running) - ray.get(self._trials.num_waiting.remote()) >= self._limit():
            return self._ask_later()
        if not ray.get(self._trials.num_to_start.remote()):
            # one that runs may lose its driver, and is suggested again
            is_over = not self._running and not ray.get(self._trials.num_left.remote())
            if is_over:
                return Searcher.FINISHED
            self._when_idle()
            return self._ask_later()
        admission = ray.get(self._trials.gate.remote()).admission
        if admission != Admission.START:
            return self._ask_later() if admission == Admission.WAIT else Searcher.FINISHED
        if not ray.get(self._trials.choose.remote(trial_id)):
            return self._ask_later(CHOOSE_AGAIN_SECONDS)
        task = ray.get(self._trials.ask.remote(trial_id))
        self._running.add(trial_id)
        return {"task": task}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Free the trial's place. Its driver told the coordinator how it ended, unless the driver
        died (`error`).
        """
        self._running.discard(trial_id)
        if error:
            ray.get(self._trials.driver_died.remote(trial_id))
            _LOGGER.warning("the process that drove a trial died; the trial is taken up again")

    def save(self, checkpoint_path: str) -> None:
        """The study's database is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """The study's database is the state."""

    def _ask_later(self, seconds: float = ASK_AGAIN_SECONDS) -> dict[str, Any] | None:
        self._not_before = self._clock() + seconds
        return None


def driver_request(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    """What the driver of a trial asks of the cluster as it is now."""
    labels = driver_labels(DRIVER_RESOURCES["memory"])
    selector = {"bundle_label_selector": [labels]} if labels else {}
    return tune.PlacementGroupFactory([DRIVER_RESOURCES], **selector)


def run_trials(
    spec: SweepSpec,
    trials: PartHandle,
    *,
    limit: Callable[[], int],
    when_idle: Callable[[], None] = lambda: None,
    verbose: bool,
) -> None:
    """Run the trials that are left, at most `limit()` at once; returns when all have ended, or when
    the budget lets no other start.

    `trials` is the coordinator's trial desk, `when_idle` is called while the last trials leave
    room for one more (see `CoordinatorSearcher`), `verbose` shows Ray Tune's own progress.
    """
    trainable = tune.with_resources(
        tune.with_parameters(run_trial, spec=spec, trials=trials), driver_request
    )
    keep_credentials_out_of_runtime_env()
    if not verbose:  # what happens to a driver is no failure of its trial, and is said by us
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=CoordinatorSearcher(trials, limit, when_idle),
            num_samples=-1,  # the searcher says when the last one was suggested
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"{spec.sweep_id}-{uuid.uuid4().hex[:6]}",
            storage_path=str(spec.state_dir / "ray-tune"),
            verbose=1 if verbose else 0,
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    tuner.fit()
