"""An MLflow that goes away at each request of a sweep's delivery, before and after it is applied.

    uv run pytest -s -m campaign tests/campaigns/test_mlflow_requests.py

The records of a small sweep are delivered over and over, each time to an experiment of its own on a
real MLflow in a sqlite file. At one request the server is lost: that request fails, and so does
every later one until the next sender begins at the first record again, as after its restart. What
MLflow then has is compared with a delivery that nothing disturbs.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from requests import ConnectionError

from orchestrator.config.run_config import load_config, to_tree
from orchestrator.tracking.delivery import Aside, Delivery
from orchestrator.tracking.encoder_file import EncoderCard, pack
from orchestrator.tracking.recorded import Record, Recorded, record
from orchestrator.tracking.run_names import SWEEP_RUN, trial_run
from orchestrator.tracking.run_start import DatasetInput, RunStart
from prp_core.encoders import build_encoder

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3600)]

RECALL = "retrieval/recall_at_1"


@dataclass
class LeavingClient:
    """`inner`, which is away from its request number `leaves_at` on (from 1; 0: never); with
    `after`, that request is still applied.
    """

    inner: Any
    leaves_at: int = 0
    after: bool = False
    requests: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        def request(*arguments: Any, **more: Any) -> Any:
            self.requests.append(name)
            number = len(self.requests)
            is_gone = bool(self.leaves_at) and number > self.leaves_at
            is_last = number == self.leaves_at
            if is_gone or (is_last and not self.after):
                raise ConnectionError(f"the server was lost before {name}")
            answer = method(*arguments, **more)
            if is_last:
                raise ConnectionError(f"the server was lost after {name}")
            return answer

        return request


def records_of_a_sweep(name: str) -> list[Record]:
    """A sweep of two trials, of which one fails, with a report and a registered encoder."""
    said = Recorded()
    data = DatasetInput(name="videos", digest="1", source="s3://videos", context="training")
    start = RunStart(params={"seed": "7"}, datasets=(data,), tags={"prp.study": "tiny.py"})
    records = [start.record(SWEEP_RUN)]
    for number in (0, 1):
        run = trial_run(number)
        params = {"rate": "1-2", "long": "x" * 7000}
        records.append(RunStart(params=params, config=params, first_metric=RECALL).record(run))
        for step in range(3):
            records += said.points(run, {"train/loss": 1 / (step + 1), RECALL: 0.5}, step)
    model = {"key": "encoder", "name": name, "metrics": {RECALL: 0.5}, "step": 2}
    measured = {"metric": RECALL, "value": 0.5, "protocol_hash": "1", "objection": ""}
    records += [
        record("tags", trial_run(0), tags={"mlflow.note.content": "It ended well."}),
        record("end", trial_run(0), state="finished", reason=""),
        record("end", trial_run(1), state="failed", reason="its loss is nan"),
        record("file", SWEEP_RUN, path="report.html", key="report"),
        record("model", trial_run(0), measured=measured, tags={"prp.protocol_hash": "1"}, **model),
        record("describe", trial_run(0), name=name, text="The best."),
        record("experiment", SWEEP_RUN, tags={"prp.about": "tiny"}),
        record("end_all", state="finished", reason=""),
    ]
    return records


@dataclass(frozen=True)
class Place:
    """An MLflow, and the files of the sweep."""

    uri: str
    root: Path
    files: dict[str, bytes]

    def deliver(self, name: str, client: Any, records: list[Record]) -> None:
        """What a sender does that begins with the first record."""
        real = MlflowClient(self.uri, self.uri)
        experiment = real.get_experiment_by_name(name)
        starts = {one["run"]: one for one in records if one["what"] == "start"}
        delivery = Delivery(
            client,
            self.uri,
            experiment.experiment_id,
            name,
            start_of=starts.get,
            read_file=self.files.__getitem__,
        )
        aside: dict[str, Aside] = {}
        delivery.deliver(list(enumerate(records)), aside)
        assert aside == {} and delivery.num_refused == 0

    def found(self, name: str) -> list[Any]:
        """All that MLflow has of the sweep, but for ids and its own times."""
        client = MlflowClient(self.uri, self.uri)
        experiment = client.get_experiment_by_name(name)
        runs = client.search_runs([experiment.experiment_id], order_by=["attributes.run_name"])
        models = client.search_logged_models([experiment.experiment_id])
        versions = client.search_model_versions(f"name='{name}'")
        return [
            experiment.tags["prp.about"],
            len(models),
            [one.description for one in versions],
        ] + [
            [
                run.info.run_name.replace(name, "sweep"),
                run.info.status,
                run.data.params,
                {
                    key: value
                    for key, value in run.data.tags.items()
                    if key
                    not in ("prp.sweep_id", "mlflow.parentRunId", "mlflow.runName", "prp.model")
                },
                sorted(
                    (metric, point.step, repr(point.value), point.timestamp - run.info.start_time)
                    for metric in run.data.metrics
                    for point in client.get_metric_history(run.info.run_id, metric)
                ),
                sorted(file.path for file in client.list_artifacts(run.info.run_id)),
                len(run.outputs.model_outputs),
                len(run.inputs.dataset_inputs),
            ]
            for run in runs
        ]


@pytest.fixture
def place(empty_mlflow_database: Path, tmp_path: Path) -> Place:
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")
    tree = to_tree(load_config("demo"))
    card = EncoderCard(encoder="c3d_small", config=tree, metrics={RECALL: 0.5})
    packed = pack(build_encoder("c3d_small").state_dict(), card)
    files = {f"encoder/{name}": data for name, data in packed.items()}
    return Place(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path, {**files, "report": b"<html>"})


def test_mlflow_is_lost_at_each_request(place: Place) -> None:
    client = MlflowClient(place.uri, place.uri)

    def deliver(name: str, leaves_at: int, *, after: bool) -> LeavingClient:
        client.create_experiment(name, artifact_location=(place.root / "artifacts" / name).as_uri())
        leaving, records = LeavingClient(client, leaves_at, after), records_of_a_sweep(name)
        if leaves_at:
            with pytest.raises(ConnectionError):
                place.deliver(name, leaving, records)
        place.deliver(name, client if leaves_at else leaving, records)
        return leaving

    requests = deliver("peace", 0, after=False).requests
    peace = place.found("peace")
    different = []
    for number in range(1, len(requests) + 1):
        for after in (False, True):
            name = f"lost-{number}-{'after' if after else 'before'}"
            deliver(name, number, after=after)
            if (found := place.found(name)) != peace:
                different.append((name, requests[number - 1], differing(peace, found)))
    sys.stdout.write(f"lost at each of {len(requests)} requests, before and after it\n")
    assert different == []


def differing(wanted: Any, found: Any) -> Any:
    """The parts of two values that are not equal."""
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = zip(wanted, found, strict=True)
        return [differing(one, other) for one, other in pairs if one != other]
    if isinstance(wanted, dict) and isinstance(found, dict):
        names = sorted({*wanted, *found})
        return {
            name: differing(wanted.get(name), found.get(name))
            for name in names
            if wanted.get(name) != found.get(name)
        }
    return wanted, found
