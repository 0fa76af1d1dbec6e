"""The deletion of a sweep: what goes, what stays, and who refuses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.commands.prp import main
from orchestrator.config.run_config import load_config, to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.journal.lease import acquire
from orchestrator.journal.stored_sweep import open_folder, remember_place
from orchestrator.journal.sweep_folder import LEASE, list_sweeps
from prp_core.data.object_store import read_all
from tests.tools.study_process import REPOSITORY

DIES_AT = """
import os, signal, sys
from orchestrator.commands.prp import main
from prp_core.data.object_store import LocalStore

delete, left = LocalStore.delete, int(sys.argv[1])

def dying(store, key):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    delete(store, key)

LocalStore.delete = dying
sys.exit(main(["delete", "night-1", "--yes"]))
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepSpec:
    """A stopped sweep in a storage of its own, with a checkpoint, and a cache in the home."""
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "home"))
    storage = tmp_path / "storage"
    spec = SweepSpec(
        sweep_id="night-1",
        config=to_tree(load_config("demo")),
        storage_uri=str(storage),
        tracking_uri="http://mlflow:5000",
        data_uri="/videos",
        manifest_uri=str(storage / "manifests" / "one.json"),
        tags={},
    )
    folder = open_folder(spec)
    folder.create_spec(spec.to_values())
    folder.store.write("trials/0000/checkpoints/1", b"weights")
    (storage / "sweeps" / "night-2").mkdir()
    remember_place(spec)
    return spec


def test_a_deleted_sweep_is_gone_from_storage_and_home_and_nothing_else_is(
    spec: SweepSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["delete", "night-1", "--yes"]) == 0
    said = capsys.readouterr().out
    assert "sweeps/night-1: 3 objects" in said  # the spec, a checkpoint and our lease
    assert "what stays: its runs and registered models in MLflow (http://mlflow:5000" in said
    assert [path.name for path in (tmp_path / "storage" / "sweeps").iterdir()] == ["night-2"]
    assert not (tmp_path / "home" / "sweeps" / "night-1").exists()
    assert main(["delete", "night-1", "--yes"]) == 2
    assert "There is no sweep 'night-1'" in capsys.readouterr().err


def test_a_sweep_with_a_driver_and_one_that_nobody_confirms_stay_as_they_are(
    spec: SweepSpec, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_folder(spec).store
    with acquire(store, "Sweep night-1", key=LEASE):
        assert main(["delete", "night-1", "--yes"]) == 3
    assert "Sweep night-1 has a driver" in capsys.readouterr().err
    assert main(["delete", "night-1"]) == 2
    assert "nobody can answer here; add --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert main(["delete", "night-1"]) == 1
    kept = {info.key for info in store.list()}
    assert kept == {"spec.json", "trials/0000/checkpoints/1", LEASE}
    acquire(store, "Sweep night-1", key=LEASE).release()  # it was given up


def test_a_deletion_that_is_killed_at_any_request_leaves_no_sweep_to_go_on_with_and_is_repeated(
    spec: SweepSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_folder(spec).store
    for key in ("journal/entries/0", "report.html", "trials/0000/checkpoints/2"):
        store.write(key, b"part")
    beginning = {info.key: read_all(store, info.key) for info in store.list()}
    num_interrupted = 0
    while True:
        for key, data in beginning.items():
            store.write(key, data)
        if kill_at_removal(num_interrupted) == 0:
            break
        num_interrupted += 1
        left = {info.key for info in store.list()}
        assert "spec.json" in left and list_sweeps(spec.storage_uri) == ["night-1"]
        for command in (["report", "night-1"], ["publish", "night-1"]):
            assert main(command) == 2
            said = capsys.readouterr().err
            assert "Sweep 'night-1' in" in said and "prp delete night-1 --storage" in said
        assert main(["status", "--storage", spec.storage_uri]) == 2
        assert "a part of it is gone" in capsys.readouterr().out
        assert main(["delete", "night-1", "--storage", spec.storage_uri, "--yes"]) == 0
        assert not (tmp_path / "storage" / "sweeps" / "night-1").exists()
        remember_place(spec)
    assert num_interrupted == 6, "four objects, the lease and the spec"


def kill_at_removal(number: int) -> int:
    """`prp delete` in a process that is killed before it removes the object at `number`; its exit
    code.
    """
    return subprocess.run(
        [sys.executable, "-c", DIES_AT, str(number)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        check=False,
    ).returncode
