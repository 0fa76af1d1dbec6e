"""MLflow is away for ten minutes while trials report: nothing waits for it, and nothing is lost.

    uv run pytest -s -m campaign tests/campaigns/test_mlflow_away.py

``PRP_AWAY_SECONDS=60`` is shorter. The coordinator runs in this process, without Ray and
training, so that the time costs no CPU: it hears what two trials say, twice a second. The server is
killed before the second trial starts, and is back after both trials and the sweep have ended.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from mlflow import MlflowClient

from orchestrator.commands.prp import main
from orchestrator.coordinator.coordinator import Coordinator
from orchestrator.coordinator.sweep_state import CoordinatorSetup
from orchestrator.journal.stored_sweep import open_folder
from orchestrator.search.space import TrialLimits
from orchestrator.trial.messages import TrialOutcome
from orchestrator.trial_state import TrialState
from tests.fixtures_mlflow import MlflowServer
from tests.integration.test_coordinator_restart import begun
from tests.integration.test_sweep_account import METRIC, space, spec_at

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3600)]

AWAY_SECONDS = float(os.environ.get("PRP_AWAY_SECONDS", "600"))
EVERY_SECONDS = 0.5
Value = TypeVar("Value")


class Longest:
    """Calls the coordinator, and keeps which kind of call took how long at most."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, title: str, call: Callable[[], Value]) -> Value:
        started = time.monotonic()
        value = call()
        took = time.monotonic() - started
        self.seconds[title] = max(self.seconds.get(title, 0.0), took)
        return value


def test_no_call_waits_and_no_point_is_lost_in_ten_minutes_without_mlflow(
    tmp_path: Path, mlflow_server: MlflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = dataclasses.replace(spec_at(tmp_path), tracking_uri=mlflow_server.uri)
    open_folder(spec).create_spec(spec.to_values())
    coordinator = Coordinator(
        CoordinatorSetup(spec=spec, space=space, limits=TrialLimits((60,) * 20))
    )
    longest = Longest()
    trials = coordinator.trials
    one = begun(coordinator, "slot-1")
    said: dict[int, Counter[tuple[str, int, float]]] = {}

    def say(sender: Any, step: int) -> None:
        metrics = {"train/loss": step / 7, "train/rate_accuracy": 1 / step}
        longest("log", lambda: trials.log(sender, metrics, step))
        said.setdefault(sender.number, Counter()).update(
            (name, step, value) for name, value in metrics.items()
        )

    for step in range(1, 20):
        say(one, step)
    coordinator.recorder.flush()
    mlflow_server.kill()
    other = longest("start of a trial", lambda: begun(coordinator, "slot-2"))
    deadline = time.monotonic() + AWAY_SECONDS
    step = 20
    while time.monotonic() < deadline:
        for sender in (one, other):
            say(sender, step)
        if step % 20 == 0:
            epoch = step // 20
            longest("rung", lambda e=epoch, s=step: trials.at_rung(one, e, s, {METRIC: 0.5}))
        step += 1
        time.sleep(EVERY_SECONDS)
    for sender in (one, other):
        outcome = TrialOutcome(TrialState.FINISHED, "", {METRIC: 0.5})
        longest("end of a trial", lambda s=sender, o=outcome: trials.tell(s, o))
    started = time.monotonic()
    waiting = coordinator.recorder.close("finished")
    longest.seconds["end of the sweep"] = time.monotonic() - started
    assert "wait for MLflow" in waiting
    mlflow_server.start()
    capsys.readouterr()
    assert main(["publish", "sweep", "--storage", str(tmp_path)]) == 0
    sent = capsys.readouterr().out
    with capsys.disabled():
        shown = {title: round(took, 3) for title, took in longest.seconds.items()}
        sys.stdout.write(f"\naway for {AWAY_SECONDS:.0f} s; longest: {shown}; {sent}")
    client = MlflowClient(mlflow_server.uri)
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"} and len(runs) == 3
    for run in runs:
        if "prp.trial" not in run.data.tags:
            continue
        wanted = said[int(run.data.tags["prp.trial"])]
        names = {name for name, _, _ in wanted}
        found = Counter(
            (name, point.step, point.value)
            for name in names
            for point in client.get_metric_history(run.info.run_id, name)
        )
        assert found == wanted
    assert all(longest.seconds[title] <= 1.0 for title in ("log", "rung", "start of a trial"))
