"""The tracker against a real MLflow server that is killed, restarted, and loses replies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.tracking import MlflowTracker, check_reachable, default_tracking_uri
from orchestrator.tracking.tags import LONGEST_PARAM
from prp_core.errors import UserError
from tests.fixtures_mlflow import MlflowServer
from tests.tools.fault_proxy import FaultProxy

REPOSITORY = Path(__file__).resolve().parents[2]
Opener = Callable[..., MlflowTracker]


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.fixture
def open_tracker(mlflow_server: MlflowServer, experiment: str, tmp_path: Path) -> Iterator[Opener]:
    """Opens trackers of the test's own experiment, on the session's server unless told
    otherwise.
    """
    trackers = []

    def open_one(uri: str = mlflow_server.uri, spool: str = "spool") -> MlflowTracker:
        trackers.append(MlflowTracker(uri, experiment, spool_dir=tmp_path / spool))
        return trackers[-1]

    yield open_one
    for tracker in trackers:
        tracker.close(5)


@pytest.fixture
def client(mlflow_server: MlflowServer) -> Any:
    return MlflowClient(mlflow_server.uri, mlflow_server.uri)


def steps_of(client: Any, run_id: str, metric: str) -> list[int]:
    return [point.step for point in client.get_metric_history(run_id, metric)]


def runs_of(client: Any, experiment: str) -> list[Any]:
    return list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id]))


def test_a_sweep_is_one_parent_run_with_nested_trials_however_often_it_is_started(
    open_tracker: Opener, client: Any, experiment: str
) -> None:
    many = {f"config.value_{number:03d}": str(number) for number in range(250)}
    first = open_tracker()
    sweep = first.start_sweep(
        "s1", {"sweep.objective": "retrieval/recall_at_1"}, {"prp.dataset_hash": "abc"}
    )
    trials = [
        first.start_trial(sweep, number, {**many, "long": "x" * 9000}, {"kind": "test"})
        for number in (0, 1)
    ]
    second = open_tracker(spool="another")
    assert second.start_sweep("s1", {"sweep.objective": "retrieval/recall_at_1"}, {}) == sweep
    assert [
        second.start_trial(sweep, number, {**many, "added.later": "1"}, {}) for number in (0, 1)
    ] == trials
    assert second.start_sweep("s2", {}, {}) != sweep
    assert len(runs_of(client, experiment)) == 4
    run = client.get_run(trials[0])
    assert run.data.tags["mlflow.parentRunId"] == sweep
    assert run.data.tags["kind"] == "test"
    assert client.get_run(sweep).data.tags["prp.dataset_hash"] == "abc"
    assert len(run.data.params) == 252
    assert len(run.data.params["long"]) == LONGEST_PARAM
    assert [file.path for file in client.list_artifacts(trials[0], "params")] == ["params/long.txt"]


def test_a_param_that_differs_on_resume_is_refused_by_name(
    open_tracker: Opener, client: Any
) -> None:
    tracker = open_tracker()
    sweep = tracker.start_sweep("s1", {}, {})
    run_id = tracker.start_trial(sweep, 3, {"training.learning_rate": "0.01"}, {})
    with pytest.raises(
        UserError,
        match=r"trial-0003 was started with other parameters: training.learning_rate was "
        r"'0.01', is now '0.1'",
    ):
        tracker.start_trial(sweep, 3, {"training.learning_rate": "0.1"}, {})
    assert client.get_run(run_id).data.params == {"training.learning_rate": "0.01"}


def test_each_accepted_point_is_stored_once_and_what_cannot_be_stored_is_counted(
    open_tracker: Opener, client: Any, tmp_path: Path
) -> None:
    tracker = open_tracker()
    run_id = tracker.start_trial(tracker.start_sweep("s1", {}, {}), 0, {}, {})
    for step in range(600):
        tracker.log(
            run_id, {"train/loss": 1.0 / (step + 1), "train/rate": step, "name?": 1.0}, step
        )
    tracker.log(run_id, {f"wide/{number}": 1.0 for number in range(1200)}, 1)
    tracker.log(run_id, {"train/loss": float("inf"), "train/rate": 600}, 600)
    tracker.log(run_id, {"train/loss": float("nan")}, 601)
    tracker.log(run_id, {"train/loss": 9.0, "train/note": "text"}, 599)  # type: ignore[dict-item]
    assert tracker.flush(60)
    assert steps_of(client, run_id, "train/loss") == list(range(600))
    assert steps_of(client, run_id, "train/rate") == list(range(601))
    run = client.get_run(run_id)
    assert len([name for name in run.data.metrics if name.startswith("wide/")]) == 1200
    assert run.data.tags["prp.nonfinite.train/loss"] == "inf at step 600"
    assert run.data.metrics["train/loss"] == pytest.approx(1 / 600)
    counters = tracker.counters
    assert counters["tracking/nonfinite_points"] == 2
    assert counters["tracking/repeated_points"] == 1
    assert counters["tracking/dropped_points"] == 1
    assert counters["tracking/rejected_records"] >= 1
    rejected = [
        json.loads(line)["record"]
        for line in (tmp_path / "spool" / "rejected.jsonl").read_text().splitlines()
    ]
    assert {point[0] for record in rejected for point in record["points"]} == {"name?"}
    assert sum(len(record["points"]) for record in rejected) == 600


def test_nothing_is_lost_or_doubled_when_the_server_is_killed_in_the_middle(
    open_tracker: Opener, client: Any, mlflow_server: MlflowServer
) -> None:
    tracker = open_tracker()
    run_id = tracker.start_trial(tracker.start_sweep("s1", {}, {}), 0, {}, {})
    for step in range(200):
        tracker.log(run_id, {"loss": 1.0 / (step + 1)}, step)
    mlflow_server.kill()
    try:
        for step in range(200, 400):
            tracker.log(run_id, {"loss": 1.0 / (step + 1)}, step)
        tracker.finish(run_id, "finished")
        assert not tracker.flush(0.5)
    finally:
        mlflow_server.start()
    assert tracker.flush(60)
    assert steps_of(client, run_id, "loss") == list(range(400))
    assert client.get_run(run_id).info.status == "FINISHED"
    assert tracker.counters["tracking/failed_requests"] >= 1
    assert tracker.counters["tracking/accepted_points"] == 400


def test_lost_replies_make_no_second_run_and_no_second_point(
    open_tracker: Opener, client: Any, mlflow_server: MlflowServer, experiment: str
) -> None:
    with FaultProxy(mlflow_server.uri, seed=3) as proxy:
        proxy.add("reset", path="runs/create", at=0, times=2)
        proxy.add("reset", path="runs/(log-batch|update|search)", at=0, probability=0.3, times=40)
        tracker = open_tracker(proxy.url)
        sweep = tracker.start_sweep("s1", {"a": "1"}, {})
        trials = [tracker.start_trial(sweep, number, {"b": "2"}, {}) for number in range(3)]
        for step in range(100):
            for run_id in trials:
                tracker.log(run_id, {"loss": step * 0.1}, step)
            if step % 10 == 0:
                assert tracker.flush(60)
        for run_id in trials:
            tracker.finish(run_id, "finished")
        assert tracker.flush(60)
        num_resets = sum(entry.fault == "reset" for entry in proxy.journal)
    assert num_resets >= 5
    assert len(runs_of(client, experiment)) == 4
    for run_id in trials:
        assert steps_of(client, run_id, "loss") == list(range(100))
        assert client.get_run(run_id).info.status == "FINISHED"


def test_a_second_run_that_a_late_request_made_is_removed(
    open_tracker: Opener, client: Any, experiment: str
) -> None:
    tracker = open_tracker()
    sweep = tracker.start_sweep("s1", {}, {})
    run_id = tracker.start_trial(sweep, 0, {}, {})
    stray = client.create_run(
        tracker.experiment_id,
        start_time=1,
        tags={"prp.sweep_id": "s1", "prp.trial": "0", "prp.role": "trial"},
    )
    assert tracker.start_trial(sweep, 0, {}, {}) == run_id
    found = tracker.close_all("s1", "killed", "the test is over")
    assert found.trial_run_ids == {0: run_id}
    assert {run.info.run_id for run in runs_of(client, experiment)} == {sweep, run_id}
    assert client.get_run(stray.info.run_id).info.lifecycle_stage == "deleted"


class TrackingProcess:
    """`tests.tools.track_points` as a process of its own."""

    def __init__(
        self, uri: str, experiment: str, spool: Path, sweep_id: str, num_steps: int, end: str
    ) -> None:
        words = [
            sys.executable,
            "-m",
            "tests.tools.track_points",
            uri,
            experiment,
            str(spool),
            sweep_id,
            str(num_steps),
            end,
        ]
        self.process = subprocess.Popen(
            words,
            cwd=REPOSITORY,
            env=dict(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


def test_what_a_killed_tracker_had_accepted_reaches_mlflow_from_the_next(
    open_tracker: Opener, client: Any, mlflow_server: MlflowServer, experiment: str, tmp_path: Path
) -> None:
    with FaultProxy(mlflow_server.uri) as proxy:
        child = TrackingProcess(proxy.url, experiment, tmp_path / "spool", "s1", 300, "pruned")
        run_id = child.line()
        proxy.add("status", code=503, path="(log-batch|update)")
        child.go_on()
        assert child.line() == "accepted"
        child.process.kill()
        child.process.wait()
        proxy.clear()
        (left,) = (tmp_path / "spool").glob("*.spool.jsonl")
        with left.open("a") as file:
            file.write('{"kind": "metrics", "run": "half a rec')
        tracker = open_tracker(proxy.url)
        assert tracker.flush(60)
        assert steps_of(client, run_id, "loss") == list(range(300))
        run = client.get_run(run_id)
        assert run.info.status == "FINISHED"
        assert run.data.tags["prp.state"] == "pruned"
        assert run.data.tags["prp.reason"] == "the test says so"
        assert tracker.close(10)
        assert not list((tmp_path / "spool").glob("*.spool.jsonl"))


def test_a_resumed_trial_goes_on_in_the_same_run_and_none_is_left_running(
    open_tracker: Opener, client: Any, experiment: str
) -> None:
    dead = open_tracker()
    sweep = dead.start_sweep("s1", {}, {})
    done, cut = (dead.start_trial(sweep, number, {"x": "1"}, {}) for number in (0, 1))
    dead.finish(done, "finished")
    for step in range(10):
        dead.log(cut, {"loss": step, "bad": float("nan")}, step)
    assert dead.flush(60)

    tracker = open_tracker(spool="another")
    adopted = tracker.adopt("s1")
    assert (adopted.sweep_run_id, dict(adopted.trial_run_ids), adopted.closed_run_ids) == (
        sweep,
        {0: done, 1: cut},
        (cut,),
    )
    killed = client.get_run(cut)
    assert (killed.info.status, killed.data.tags["prp.state"], killed.data.tags["prp.reason"]) == (
        "KILLED",
        "killed",
        "the driver of the sweep died",
    )
    assert client.get_run(done).info.status == "FINISHED"
    assert tracker.adopt("unknown sweep").sweep_run_id is None

    assert tracker.start_sweep("s1", {}, {}) == sweep
    assert tracker.start_trial(sweep, 1, {"x": "1"}, {}) == cut
    assert tracker.flush(60)
    assert client.get_run(cut).info.status == "RUNNING"
    for step in range(5, 20):
        tracker.log(cut, {"loss": step + 0.5, "bad": float("nan")}, step)
    tracker.close_all("s1", "killed", "interrupted")
    assert steps_of(client, cut, "loss") == list(range(20))
    assert tracker.counters["tracking/repeated_points"] == 5
    assert client.get_run(cut).data.tags["prp.nonfinite.bad"] == "nan at step 0"
    assert [run.info.status for run in runs_of(client, experiment)].count("RUNNING") == 0
    assert client.get_run(sweep).info.status == "KILLED"
    assert client.get_run(done).info.status == "FINISHED"


def test_files_of_a_run_can_be_read_back(open_tracker: Opener, client: Any, tmp_path: Path) -> None:
    tracker = open_tracker()
    sweep = tracker.start_sweep("s1", {}, {})
    (tmp_path / "notes.txt").write_text("two")
    tracker.log_text(sweep, "report.html", "<p>ü</p>")
    tracker.log_file(sweep, "notes", tmp_path / "notes.txt")
    assert (
        Path(client.download_artifacts(sweep, "report.html", str(tmp_path))).read_text(
            encoding="utf-8"
        )
        == "<p>ü</p>"
    )
    assert [file.path for file in client.list_artifacts(sweep, "notes")] == ["notes/notes.txt"]


# Imports MLflow once, then forks, so that the children come to the missing database together.
CREATE_AT_ONCE = """
import os, sys, time
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store
from orchestrator.tracking import MlflowTracker
uri, folder = sys.argv[1:]
children = []
for number in range(4):
    child = os.fork()
    if child == 0:
        tracker = MlflowTracker(uri, "new", spool_dir=Path(folder))
        tracker.start_sweep(f"sweep-{number}", {}, {})
        os._exit(0 if tracker.close(60) else 1)
    children.append(child)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


def test_trackers_that_create_one_database_at_once_all_get_it(tmp_path: Path) -> None:
    uri = default_tracking_uri(tmp_path / "state")
    words = [sys.executable, "-c", CREATE_AT_ONCE, uri, str(tmp_path / "spool")]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    runs = runs_of(MlflowClient(uri, uri), "new")
    assert sorted(run.data.tags["prp.sweep_id"] for run in runs) == [
        f"sweep-{number}" for number in range(4)
    ]


def test_two_trackers_share_one_new_sqlite_file(experiment: str, tmp_path: Path) -> None:
    uri = default_tracking_uri(tmp_path / "state")
    check_reachable(uri)
    child = TrackingProcess(uri, experiment, tmp_path / "state" / "spool", "child", 200, "finished")
    tracker = MlflowTracker(uri, experiment, spool_dir=tmp_path / "state" / "spool")
    mine = tracker.start_trial(tracker.start_sweep("mine", {}, {}), 0, {}, {})
    theirs = child.line()
    child.go_on()
    for step in range(200):
        tracker.log(mine, {"loss": step}, step)
    assert child.line() == "accepted"
    child.go_on()
    assert child.line() == "closed True"
    assert child.process.wait(30) == 0
    tracker.finish(mine, "failed", "on purpose")
    tracker.log_text(mine, "why.txt", "on purpose")
    assert tracker.close(60)
    client = MlflowClient(uri, uri)
    assert steps_of(client, mine, "loss") == steps_of(client, theirs, "loss") == list(range(200))
    assert [client.get_run(run_id).info.status for run_id in (mine, theirs)] == [
        "FAILED",
        "FINISHED",
    ]
    assert (
        tmp_path / "state" / "mlartifacts" / mine / "artifacts" / "why.txt"
    ).read_text() == "on purpose"


def test_a_server_that_answers_is_accepted(mlflow_server: MlflowServer) -> None:
    environment = dict(os.environ)
    check_reachable(mlflow_server.uri)
    assert dict(os.environ) == environment


def test_a_server_that_is_not_mlflow_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert other.stdout is not None
        port = other.stdout.readline().split(" port ")[1].split()[0]
        with pytest.raises(
            UserError, match=rf"Cannot use MLflow at http://127.0.0.1:{port}: it answers HTTP 501"
        ):
            check_reachable(f"http://127.0.0.1:{port}")
    finally:
        other.kill()
        other.wait()
