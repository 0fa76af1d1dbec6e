"""The points of a run whose worker and coordinator are killed together, over lost replies."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from tests.fixtures_mlflow import MlflowServer
from tests.tiny_corpus import make_corpus
from tests.tools.fault_proxy import FaultProxy
from tests.tools.tracked_training import train_and_track
from tests.warm_processes import in_environment, warm_context

OF_THE_CLOCK = ("time/", "data/", "system/")  # such values are another process's, and differ
PointsOfRun = Counter[tuple[str, int, float]]


def trained(uri: str, sweep_id: str, folder: Path, *faults: int) -> str:
    """What a process that trains and tracks left of its records; "" where it was killed."""
    left = folder / "left"
    left.unlink(missing_ok=True)
    place = (uri, "points", sweep_id, folder)
    process = warm_context("mlflow").Process(
        target=in_environment, args=(dict(os.environ), train_and_track, place, *faults, left)
    )
    process.start()
    process.join(300)
    assert process.exitcode in (0, -9)
    return left.read_text() if left.exists() else ""


def points_of(client: Any, experiment: str, sweep_id: str) -> PointsOfRun:
    found = client.get_experiment_by_name(experiment)
    condition = f"tags.`prp.sweep_id` = '{sweep_id}' and tags.`prp.role` = 'trial'"
    runs = client.search_runs([found.experiment_id], condition)
    (run,) = runs  # a second one, which a replaced sender made, is removed by the sweep's end
    assert run.info.status == "FINISHED"
    return Counter(
        (name, point.step, point.value)
        for name in run.data.metrics
        if not name.startswith(OF_THE_CLOCK)
        for point in client.get_metric_history(run.info.run_id, name)
        if not math.isnan(point.value)  # the objective has no value at step 0
    )


def test_the_points_are_those_of_an_undisturbed_run(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """Two deaths of both, before and after a checkpoint took the points along; then a coordinator
    that dies alone.
    """
    make_corpus(tmp_path / "videos")
    client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
    assert trained(mlflow_server.uri, "whole", tmp_path, 0, 0) == "0"
    with FaultProxy(mlflow_server.uri, seed=1) as proxy:
        proxy.add("lose", path="2.0/mlflow/runs", probability=0.2)
        for faults in ((2, 0), (4, 0)):
            assert trained(proxy.url, "disturbed", tmp_path, *faults) == ""
        assert trained(proxy.url, "disturbed", tmp_path, 0, 5) == "0"
        assert any(entry.fault == "lose" for entry in proxy.journal)
    whole = points_of(client, "points", "whole")
    assert len(whole) > 60 and {step for _, step, _ in whole} == {1, 2, 3, 4, 5, 6}
    assert points_of(client, "points", "disturbed") == whole
