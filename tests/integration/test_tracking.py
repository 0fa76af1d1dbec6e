"""The tracker against a real MLflow server that is killed, restarted, and loses replies."""

from __future__ import annotations

import http.server
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.config.typed_command import prp
from orchestrator.journal.sweep_folder import RECORDS, open_sweep_folder
from orchestrator.tracking import MlflowTracker, check_tracking, default_tracking_uri, start_check
from orchestrator.tracking.mlflow_tracker import EndedRun
from orchestrator.tracking.reading import read_history
from orchestrator.tracking.recorded import RunEnd
from orchestrator.tracking.run_names import SWEEP_RUN, confirm_run, trial_run
from orchestrator.tracking.run_start import RunStart
from orchestrator.tracking.tags import LONGEST_PARAM
from prp_core.errors import UserError
from tests.fixtures_mlflow import MlflowServer
from tests.tools.fault_proxy import FaultProxy
from tests.tools.track_points import tracker_of

REPOSITORY = Path(__file__).resolve().parents[2]
Opener = Callable[..., MlflowTracker]
TRIAL = trial_run(0)
RECALL = "retrieval/recall_at_1"


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notes of open runs of this machine are the test's own."""
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "home"))


@pytest.fixture
def open_tracker(mlflow_server: MlflowServer, experiment: str, tmp_path: Path) -> Iterator[Opener]:
    """Opens trackers of the test's own experiment, on the session's server unless told
    otherwise; the records lie in the test's folder.
    """
    trackers = []

    def open_one(sweep_id: str = "s1", uri: str = mlflow_server.uri) -> MlflowTracker:
        trackers.append(tracker_of(uri, experiment, sweep_id, tmp_path))
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


def by_title(client: Any, experiment: str) -> dict[str, Any]:
    return {run.info.run_name: run for run in runs_of(client, experiment)}


def start(tracker: MlflowTracker, num_trials: int = 1) -> None:
    tracker.start(SWEEP_RUN, RunStart(params={}))
    for number in range(num_trials):
        tracker.start(trial_run(number), RunStart(params={"rate": "1-2"}))


def test_a_sweep_is_one_parent_run_with_nested_runs_however_often_it_is_started(
    open_tracker: Opener, client: Any, experiment: str, mlflow_server: MlflowServer
) -> None:
    many = {f"config.value_{number:03d}": str(number) for number in range(250)}
    first = open_tracker()
    start = RunStart(params={"sweep.objective": "recall"}, tags={"prp.dataset_hash": "abc"})
    first.start(SWEEP_RUN, start)
    for number in (0, 1):
        first.start(
            trial_run(number),
            RunStart(
                params={**many, "long": "x" * 9000}, tags={"kind": "test"}, first_metric=RECALL
            ),
        )
    first.log(TRIAL, {"train/loss": 2.0}, step=5)
    assert first.flush(60)
    assert math.isnan(by_title(client, experiment)["trial-0000"].data.metrics[RECALL])
    first.log(TRIAL, {RECALL: 0.25}, step=10)
    first.start(confirm_run(1, 633), RunStart(params={}))
    assert first.flush(60)
    known = {title: run.info.run_id for title, run in by_title(client, experiment).items()}
    assert set(known) == {"s1", "trial-0000", "trial-0001", "confirm-0001-seed-633"}
    assert first.run_id(TRIAL) == known["trial-0000"]
    first.close()
    second = open_tracker()
    second.start(SWEEP_RUN, RunStart(params={"sweep.objective": "another"}))
    second.start(TRIAL, RunStart(params={**many, "added.later": "1"}, first_metric=RECALL))
    other = open_tracker("s2")
    other.start(SWEEP_RUN, RunStart(params={}))
    assert second.flush(60) and other.flush(60)
    runs = by_title(client, experiment)
    assert known | {"s2": runs["s2"].info.run_id} == {
        title: run.info.run_id for title, run in runs.items()
    }
    assert runs["s1"].data.params == {"sweep.objective": "recall"}, "MLflow changes none"
    assert runs["s1"].data.tags["prp.dataset_hash"] == "abc"
    trial = runs["trial-0000"]
    assert trial.data.tags["mlflow.parentRunId"] == known["s1"]
    assert (trial.data.tags["kind"], trial.data.tags["prp.state"]) == ("test", "running")
    assert runs["confirm-0001-seed-633"].data.tags["prp.seed"] == "633"
    assert len(trial.data.params) == 252
    assert len(trial.data.params["long"]) == LONGEST_PARAM
    assert list(trial.data.metrics.items()) == [(RECALL, 0.25), ("train/loss", 2.0)]
    assert steps_of(client, trial.info.run_id, RECALL) == [0, 10]
    assert read_history(mlflow_server.uri, trial.info.run_id, RECALL) == {10: 0.25}
    files = client.list_artifacts(trial.info.run_id, "params")
    assert [file.path for file in files] == ["params/long.txt"]


def test_each_accepted_point_is_stored_once_and_what_cannot_be_stored_is_counted(
    open_tracker: Opener, client: Any
) -> None:
    tracker = open_tracker()
    start(tracker)
    for step in range(600):
        tracker.log(TRIAL, {"train/loss": 1.0 / (step + 1), "train/rate": step, "name?": 1.0}, step)
    tracker.log(TRIAL, {f"wide/{number}": 1.0 for number in range(1200)}, 1)
    tracker.log(TRIAL, {"train/loss": float("inf"), "train/rate": 600}, 600)
    tracker.log(TRIAL, {"train/loss": float("nan")}, 601)
    tracker.log(TRIAL, {"train/loss": 9.0, "train/note": "text"}, 599)  # type: ignore[dict-item]
    tracker.log(TRIAL, {"late": 2.0}, 20)
    tracker.log(TRIAL, {"late": 1.0}, 10)
    assert tracker.flush(60)
    run_id = tracker.run_id(TRIAL)
    assert steps_of(client, run_id, "train/loss") == list(range(600))
    assert steps_of(client, run_id, "train/rate") == list(range(601))
    assert sorted(steps_of(client, run_id, "late")) == [10, 20], "what comes late is not lost"
    run = client.get_run(run_id)
    assert len([name for name in run.data.metrics if name.startswith("wide/")]) == 1200
    assert run.data.tags["prp.nonfinite.train/loss"] == "inf at step 600"
    assert run.data.metrics["train/loss"] == pytest.approx(1 / 600)
    counters = tracker.counters
    assert counters["tracking/nonfinite_points"] == 2
    assert counters["tracking/repeated_points"] == 1
    assert counters["tracking/dropped_points"] == 1
    assert counters["tracking/refused_records"] >= 1, "the points of 'name?', said in the log"
    assert counters["tracking/sent_points"] == 600 + 601 + 1200 + 2


def test_nothing_waits_and_nothing_is_lost_or_doubled_when_the_server_is_away(
    open_tracker: Opener, client: Any, mlflow_server: MlflowServer, experiment: str
) -> None:
    """It is away when a sweep starts, and again in the middle, when a trial starts and ends."""
    mlflow_server.kill()
    try:
        tracker = open_tracker()
        start(tracker)
        for step in range(200):
            tracker.log(TRIAL, {"loss": 1.0 / (step + 1)}, step)
        assert not tracker.flush(0.5)
        assert tracker.flush_to_storage(60)
    finally:
        mlflow_server.start()
    assert tracker.flush(60)
    mlflow_server.kill()
    try:
        for step in range(200, 400):
            tracker.log(TRIAL, {"loss": 1.0 / (step + 1)}, step)
        tracker.start(trial_run(1), RunStart(params={}))
        tracker.finish(TRIAL, "finished")
        tracker.finish_all("killed", "interrupted")
        left = tracker.close(2.0)
        assert left.num_records >= 203 and "does not answer" in left.reason
        assert f"send them with: {prp('publish s1')}" in left.line("s1")
    finally:
        mlflow_server.start()
    assert open_tracker().flush(60)
    runs = by_title(client, experiment)
    assert steps_of(client, runs["trial-0000"].info.run_id, "loss") == list(range(400))
    assert {title: run.info.status for title, run in runs.items()} == {
        "s1": "KILLED",
        "trial-0000": "FINISHED",
        "trial-0001": "KILLED",
    }


def test_lost_replies_make_no_second_run_and_no_second_point(
    open_tracker: Opener, client: Any, mlflow_server: MlflowServer, experiment: str
) -> None:
    with FaultProxy(mlflow_server.uri, seed=3) as proxy:
        proxy.add("lose", path="runs/create", times=2)
        proxy.add("lose", path="runs/(log-batch|update|search)", probability=0.2, times=40)
        proxy.add("reset", path="runs/(log-batch|update|search)", probability=0.2, times=40)
        tracker = open_tracker(uri=proxy.url)
        start(tracker, 3)
        for step in range(100):
            for number in range(3):
                tracker.log(trial_run(number), {"loss": step * 0.1}, step)
            if step % 20 == 0:
                assert tracker.flush(60)
        for number in range(3):
            tracker.finish(trial_run(number), "finished")
        assert tracker.flush(60)
        num_faults = sum(entry.fault in ("reset", "lose") for entry in proxy.journal)
    assert num_faults >= 5
    runs = by_title(client, experiment)
    assert len(runs_of(client, experiment)) == 4
    for number in range(3):
        run = runs[f"trial-000{number}"]
        assert steps_of(client, run.info.run_id, "loss") == list(range(100))
        assert run.info.status == "FINISHED"


def stray_run(client: Any, experiment: str, **tags: str) -> str:
    """The id of another run of trial 0, as MLflow has it from a sender of before."""
    number = client.get_experiment_by_name(experiment).experiment_id
    tags = {"prp.sweep_id": "s1", "prp.trial": "0", "prp.role": "trial", **tags}
    return str(client.create_run(number, start_time=1, tags=tags).info.run_id)


def test_a_second_run_that_a_late_request_made_is_removed(
    open_tracker: Opener, client: Any, experiment: str
) -> None:
    tracker = open_tracker()
    start(tracker)
    assert tracker.flush(60)
    stray = stray_run(client, experiment)
    tracker.start(TRIAL, RunStart(params={}))
    tracker.finish_all("killed", "the test is over")
    assert tracker.flush(60)
    runs = {run.info.run_id: run for run in runs_of(client, experiment)}
    assert set(runs) == {tracker.run_id(SWEEP_RUN), tracker.run_id(TRIAL)}
    assert {run.info.status for run in runs.values()} == {"KILLED"}
    assert client.get_run(stray).info.lifecycle_stage == "deleted"


def test_a_sender_that_is_replaced_while_it_creates_a_run_leaves_no_second_one(
    open_tracker: Opener, client: Any, experiment: str
) -> None:
    """Two canonical runs, as of a coordinator that was stopped, replaced and continued."""
    tracker = open_tracker()
    start(tracker)
    assert tracker.flush(60)
    stray = stray_run(client, experiment, **{"prp.canonical": "yes"})
    client.log_metric(stray, "loss", 1.0, step=1)
    tracker.log(TRIAL, {"loss": 2.0}, 1)
    tracker.finish(TRIAL, "finished")
    tracker.finish_all("killed", "the test is over")
    assert tracker.flush(60)
    runs = {run.info.run_id: run for run in runs_of(client, experiment)}
    assert set(runs) == {tracker.run_id(SWEEP_RUN), tracker.run_id(TRIAL)}
    assert runs[tracker.run_id(TRIAL)].data.metrics == {"loss": 2.0}


def test_what_a_person_deleted_waits_until_it_is_restored(
    open_tracker: Opener, client: Any, experiment: str
) -> None:
    tracker = open_tracker()
    start(tracker, 2)
    assert tracker.flush(60)
    experiment_id = client.get_experiment_by_name(experiment).experiment_id
    client.delete_experiment(experiment_id)
    tracker.log(TRIAL, {"loss": 1.0}, 1)
    assert not tracker.flush(3)
    assert "was deleted: restore it" in tracker.unsent().reason
    client.restore_experiment(experiment_id)
    assert tracker.flush(60)
    client.delete_run(tracker.run_id(TRIAL))
    tracker.log(TRIAL, {"loss": 2.0}, 2)
    tracker.log(trial_run(1), {"loss": 2.0}, 2)
    tracker.finish(TRIAL, "finished")
    left = tracker.close(3)
    assert left.num_records == 1 and "was deleted in MLflow; restore it" in left.reason
    runs = {run.info.run_id: run for run in runs_of(client, experiment)}
    assert steps_of(client, tracker.run_id(trial_run(1)), "loss") == [2], "others go on"
    again = open_tracker()
    assert not again.flush(3)
    client.restore_run(tracker.run_id(TRIAL))
    assert again.flush(60)
    assert again.unsent().num_records == 0
    assert steps_of(client, tracker.run_id(TRIAL), "loss") == [1, 2]
    assert client.get_run(tracker.run_id(TRIAL)).info.status == "FINISHED"
    assert len(runs_of(client, experiment)) == 3 and len(runs) == 2


def test_a_text_that_no_store_takes_waits_alone(
    open_tracker: Opener, client: Any, mlflow_server: MlflowServer, experiment: str, tmp_path: Path
) -> None:
    store = open_sweep_folder(str(tmp_path), "s1").store
    store.write("artifacts/sweep/report.html", "<p>ü</p>".encode())
    with FaultProxy(mlflow_server.uri) as proxy:
        proxy.add("status", code=500, path="mlflow-artifacts")
        tracker = open_tracker(uri=proxy.url)
        start(tracker)
        tracker.send_file(SWEEP_RUN, "pages/report.html", "artifacts/sweep/report.html")
        tracker.finish_all("finished")
        left = tracker.close(10)
        assert left.num_records == 1 and "pages/report.html cannot be stored" in left.reason
        statuses = {title: run.info.status for title, run in by_title(client, experiment).items()}
        assert statuses == {"s1": "FINISHED", "trial-0000": "KILLED"}, "it was cut off"
        proxy.clear()
        again = open_tracker(uri=proxy.url)
        assert again.flush(60)
    path = client.download_artifacts(tracker.run_id(SWEEP_RUN), "pages/report.html", str(tmp_path))
    assert Path(path).read_text(encoding="utf-8") == "<p>ü</p>"


class TrackingProcess:
    """`tests.tools.track_points` as a process of its own."""

    def __init__(
        self, uri: str, experiment: str, folder: Path, sweep_id: str, num_steps: int, end: str
    ) -> None:
        words = [sys.executable, "-m", "tests.tools.track_points", uri, experiment, str(folder)]
        self.process = subprocess.Popen(
            [*words, sweep_id, str(num_steps), end],
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


def test_what_a_killed_tracker_had_in_the_storage_reaches_mlflow_from_the_next(
    open_tracker: Opener, client: Any, mlflow_server: MlflowServer, experiment: str, tmp_path: Path
) -> None:
    with FaultProxy(mlflow_server.uri) as proxy:
        child = TrackingProcess(proxy.url, experiment, tmp_path, "s1", 300, "pruned")
        run_id = child.line()
        proxy.add("status", code=503, path="(log-batch|update)")
        child.go_on()
        assert child.line() == "durable"
        child.process.kill()
        child.process.wait()
        proxy.clear()
        tracker = open_tracker(uri=proxy.url)
        tracker.log(TRIAL, {"loss": -1.0}, 299)
        assert tracker.flush(60)
        assert steps_of(client, run_id, "loss") == list(range(300))
        run = client.get_run(run_id)
        assert run.data.metrics["loss"] > 0, "the first value stays"
        assert run.info.status == "FINISHED"
        assert run.data.tags["prp.state"] == "pruned"
        assert run.data.tags["prp.reason"] == "the test says so"
        assert tracker.close(10).num_records == 0


def test_a_resumed_trial_goes_on_in_the_same_run_and_the_study_decides_how_others_ended(
    open_tracker: Opener, client: Any, experiment: str
) -> None:
    """The driver was killed while it closed the runs: trial 1 had failed and was called killed."""
    dead = open_tracker()
    start(dead, 3)
    dead.finish(TRIAL, "finished")
    for step in range(10):
        dead.log(trial_run(2), {"loss": step, "bad": float("nan")}, step)
    dead.finish_all("killed", "interrupted")
    dead.close(60)

    tracker = open_tracker()
    tracker.start(SWEEP_RUN, RunStart(params={}))
    tracker.reconcile(
        EndedRun(
            run=trial_run(number),
            end=RunEnd(state, reason),
            costs={"cost/cpu_hours": 0.5},
            start=lambda: RunStart(params={"rate": "1-2"}),
            tags={"prp.counters": f'{{"data/decoded": {number}}}'},
        )
        for number, state, reason in (
            (0, "finished", "rung 4: goes on"),
            (1, "failed", "DivergedError"),
            (7, "pruned", "never recorded"),
        )
    )
    tracker.start(trial_run(2), RunStart(params={"rate": "1-2"}))
    assert tracker.flush(60)
    runs = by_title(client, experiment)
    states = {
        title: (
            run.info.status,
            run.data.tags.get("prp.reason"),
            "cost/cpu_hours" in run.data.metrics,
            run.data.tags.get("prp.counters"),
        )
        for title, run in runs.items()
    }
    assert states == {
        "s1": ("RUNNING", "", False, None),
        "trial-0000": ("FINISHED", "", False, None),
        "trial-0001": ("FAILED", "DivergedError", True, '{"data/decoded": 1}'),
        "trial-0002": ("RUNNING", "", False, None),
        "trial-0007": ("FINISHED", "never recorded", True, '{"data/decoded": 7}'),
    }
    for step in range(5, 20):
        tracker.log(trial_run(2), {"loss": step + 0.5, "bad": float("nan")}, step)
    tracker.finish_all("killed", "interrupted")
    tracker.close(60)
    cut = runs["trial-0002"].info.run_id
    assert steps_of(client, cut, "loss") == list(range(20))
    assert tracker.counters["tracking/repeated_points"] == 5
    assert client.get_run(cut).data.tags["prp.nonfinite.bad"] == "nan at step 0"
    assert [run.info.status for run in runs_of(client, experiment)].count("RUNNING") == 0


def test_a_tracker_that_another_one_has_replaced_sends_nothing_more(
    open_tracker: Opener, client: Any, experiment: str, tmp_path: Path
) -> None:
    old = open_tracker()
    start(old)
    assert old.flush(60)
    new = open_tracker()
    assert new.flush(60)
    old.log(TRIAL, {"loss": 1.0}, 1)
    assert not old.flush(20)
    entries = sorted((tmp_path / "sweeps" / "s1" / RECORDS).rglob("*.jsonl"))
    new.log(TRIAL, {"loss": 2.0}, 1)
    assert new.flush(60)
    run = client.get_run(new.run_id(TRIAL))
    assert run.data.metrics == {"loss": 2.0}
    assert '"loss":1.0' not in "".join(path.read_text() for path in entries)


# Imports MLflow once, then forks, so that the children come to the missing database together.
CREATE_AT_ONCE = """
import os, sys
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store
from orchestrator.tracking.run_start import RunStart
from tests.tools.track_points import tracker_of
uri, folder = sys.argv[1:]
children = []
for number in range(4):
    child = os.fork()
    if child == 0:
        tracker = tracker_of(uri, "new", f"sweep-{number}", Path(folder))
        tracker.start("sweep", RunStart(params={}))
        os._exit(tracker.close(60).num_records)
    children.append(child)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


def test_trackers_that_create_one_database_at_once_all_get_it(tmp_path: Path) -> None:
    uri = default_tracking_uri(tmp_path / "state")
    words = [sys.executable, "-c", CREATE_AT_ONCE, uri, str(tmp_path)]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    runs = runs_of(MlflowClient(uri, uri), "new")
    assert sorted(run.data.tags["prp.sweep_id"] for run in runs) == [
        f"sweep-{number}" for number in range(4)
    ]


def test_two_trackers_share_one_new_sqlite_file(experiment: str, tmp_path: Path) -> None:
    uri = default_tracking_uri(tmp_path / "state")
    assert check_tracking(uri, experiment) == []
    child = TrackingProcess(uri, experiment, tmp_path, "child", 200, "finished")
    tracker = tracker_of(uri, experiment, "mine", tmp_path)
    start(tracker)
    theirs = child.line()
    child.go_on()
    for step in range(200):
        tracker.log(TRIAL, {"loss": step}, step)
    assert child.line() == "durable"
    child.go_on()
    assert child.line() == "closed 0"
    assert child.process.wait(30) == 0
    open_sweep_folder(str(tmp_path), "mine").store.write("why", b"on purpose")
    tracker.finish(TRIAL, "failed", "on purpose")
    tracker.send_file(TRIAL, "why.txt", "why")
    assert tracker.close(60).num_records == 0
    mine = tracker.run_id(TRIAL)
    client = MlflowClient(uri, uri)
    assert steps_of(client, mine, "loss") == steps_of(client, theirs, "loss") == list(range(200))
    assert [client.get_run(run_id).info.status for run_id in (mine, theirs)] == [
        "FAILED",
        "FINISHED",
    ]
    assert (
        tmp_path / "state" / "mlartifacts" / mine / "artifacts" / "why.txt"
    ).read_text() == "on purpose"


def test_a_server_is_asked_for_all_that_a_sweep_needs_and_left_as_it_was(
    mlflow_server: MlflowServer, client: Any, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create_registered_model("prp-probe-of-one-that-was-killed")
    monkeypatch.setattr(start_check, "STALE_SECONDS", -1)
    assert check_tracking(mlflow_server.uri, experiment) == []
    assert runs_of(client, experiment) == []
    assert not [one for one in client.search_registered_models() if "probe" in one.name]
    assert not list(mlflow_server.folder.rglob("probe.txt"))
    with FaultProxy(mlflow_server.uri) as proxy:
        proxy.add("status", code=500, path="mlflow-artifacts")
        proxy.add("status", code=500, path="registered-models")
        without_files, without_model = check_tracking(proxy.url, experiment)
    assert "does not accept the report, showcases and encoder of this sweep" in without_files
    assert "MLflow will not register the encoder of this sweep" in without_model
    client.delete_experiment(client.get_experiment_by_name(experiment).experiment_id)
    (deleted,) = check_tracking(mlflow_server.uri, experiment)
    assert "accepts no run of this sweep at the moment" in deleted
    assert "was deleted: restore it): its pending records are kept" in deleted


class OldServer(http.server.BaseHTTPRequestHandler):
    """The two answers of MLflow 2.22 that its version is told by."""

    def do_GET(self) -> None:
        self._answer(b"2.22.0")

    def do_POST(self) -> None:
        self._answer(b"{}")

    def log_message(self, *arguments: Any) -> None:
        """Nothing is printed."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_an_older_server_is_told_in_one_line() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), OldServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        lines = check_tracking(f"http://127.0.0.1:{server.server_port}", "demo")
        server.shutdown()
    assert lines[0] == (
        "MLflow 2.22.0 is older than 3.0 and cannot register the encoder of this sweep, which is "
        "kept in the sweep's storage"
    )


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
            check_tracking(f"http://127.0.0.1:{port}", "demo")
    finally:
        other.kill()
        other.wait()
