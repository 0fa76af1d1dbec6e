"""A sweep from its storage alone: another home reads the same, and one of many drivers has it.

Over a local folder and over a real S3 server.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.commands import watch_sweep
from orchestrator.commands.prp import main as prp
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.cost.ledger import Ledger, LedgerEntry, read_ledger
from orchestrator.journal.journal_writer import Fenced
from orchestrator.journal.lease import LeaseLost
from orchestrator.journal.lease_record import read_lease
from orchestrator.journal.stored_sweep import (
    load_sweep,
    open_folder,
    open_journal,
    read_journal,
)
from orchestrator.journal.sweep_folder import LEASE
from orchestrator.report.page import sweep_page
from orchestrator.storage.open_store import STORES, open_store
from orchestrator.sweep import main
from orchestrator.sweep.arguments import parse_arguments
from orchestrator.sweep.claim import claim_sweep
from prp_core.data.object_store import LocalStore, ObjectInfo, read_all
from prp_core.errors import UserError
from sweeps.rate_search import space
from tests.e2e.tiny_study import space as tiny_space
from tests.journals import study_of
from tests.kept_plan import kept_plan
from tests.recorded_sweep import build_sweep
from tests.tools.study_process import REPOSITORY, TINY_PRESET

NUM_STARTS = 8
SLICE = dict.fromkeys(("trial", "rung_epoch", "attempt", "started", "ended", "gpus", "cpus"), 0)
WINNER_SAYS = "has it"

# Claims the sweep as a driver does before it imports Ray, and holds it until its input ends.
CLAIM = f"""
import sys
from orchestrator.exit_codes import run_command
from orchestrator.sweep.arguments import parse_arguments
from orchestrator.sweep.claim import claim_sweep
from tests.e2e.tiny_study import space
def claim():
    with claim_sweep(parse_arguments(sys.argv[1:], ""), space) as claim:
        print({WINNER_SAYS!r}, claim.epoch, flush=True)
        sys.stdin.read()
sys.exit(run_command(claim, "study"))
"""


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "bucket":
        return f"s3://{request.getfixturevalue('s3_bucket')}/prp"
    return str(tmp_path / "storage")


@pytest.fixture
def go_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes this process that of a machine with a home of its own."""

    def go(name: str) -> Path:
        home = tmp_path / name
        monkeypatch.setenv("PRP_HOME", str(home))
        return home

    return go


def content_of(storage: str, *folders: Path) -> dict[str, str]:
    """Digest of every object of the storage and every file of the folders, but of leases."""
    store = open_store(storage)
    found = {
        info.key: hashlib.sha256(read_all(store, info.key)).hexdigest()
        for info in store.list()
        if not info.key.endswith("lease.json")
    }
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return found | {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "lease.json"
    }


def screen_of(spec: SweepSpec, monkeypatch: pytest.MonkeyPatch) -> str:
    """What ``prp status SWEEP --once`` draws."""
    text = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(watch_sweep, "_console", lambda: Console(file=text, width=200))
        assert watch_sweep.watch(spec, once=True) == 0
    return text.getvalue()


def test_another_home_reads_the_same_bit_for_bit(
    storage: str,
    go_home: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    empty_mlflow_database: Path,
) -> None:
    home = go_home("first")
    (tmp_path / "mlflow").mkdir()
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow" / "mlflow.db")
    made = build_sweep(tmp_path / "mlflow", storage=storage, ledger=True)
    study = study_of(storage, made.sweep_id).get_trials()
    ledger = read_ledger(read_journal(made))
    screen = screen_of(made, monkeypatch)
    page = sweep_page(made)
    assert len(study) >= 24 and len(ledger) > 24 and "trial" in page

    shutil.rmtree(home, ignore_errors=True)
    go_home("second")
    with pytest.raises(UserError, match=f"There is no sweep {made.sweep_id!r} in "):
        load_sweep(made.sweep_id)
    for name, place in ((made.sweep_id, storage), (made.folder_uri, None)):
        found = load_sweep(name, place).spec
        assert found == made
        assert study_of(storage, found.sweep_id).get_trials() == study
        assert read_ledger(read_journal(found)) == ledger
        assert screen_of(found, monkeypatch) == screen
    assert sweep_page(found) == page
    assert prp(["status", "--storage", storage]) == 0
    assert made.sweep_id in capsys.readouterr().out
    out = tmp_path / "report.html"
    assert prp(["report", made.folder_uri, "--out", str(out)]) == 0
    assert out.read_text() == page


def words_of(storage: str, tiny_videos: Path, folder: Path) -> list[str]:
    """The command line of a sweep with a name of its own, everything of which is outside homes."""
    return [
        *("--sweep", "one", "--storage", storage, "--preset", str(TINY_PRESET)),
        *("--data", str(tiny_videos), "--mlflow", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--set", f"cache.dir={folder / 'cache'}"),
    ]


def test_a_sweep_of_a_name_is_started_once_and_gone_on_with_elsewhere(
    storage: str, go_home: Callable[[str], Path], tiny_videos: Path, tmp_path: Path
) -> None:
    words = words_of(storage, tiny_videos, tmp_path)
    go_home("first")
    made = kept_plan(words, tiny_space)
    assert (made.is_resumed, made.spec.sweep_id, made.spec.epoch) == (False, "one", 1)
    assert load_sweep("one").spec.folder_uri == f"{storage}/sweeps/one", (
        "the home knows the storage"
    )
    go_home("second")
    for epoch, again in enumerate(
        [words, ["--resume", "one", "--storage", storage], ["--resume", f"{storage}/sweeps/one"]], 2
    ):
        plan = kept_plan(again, tiny_space)
        assert (plan.is_resumed, plan.spec.epoch) == (True, epoch)
        assert dataclasses.replace(plan.spec, epoch=1) == made.spec
        assert plan.manifest == made.manifest
    plan = kept_plan(["--resume", "one", "--trials", "9"], tiny_space)
    assert plan.config.sweep.num_trials == 9
    assert load_sweep("one", storage).spec.config["sweep"]["num_trials"] == 9


def test_a_driver_that_is_refused_changes_no_byte(
    storage: str,
    go_home: Callable[[str], Path],
    tiny_videos: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = words_of(storage, tiny_videos, tmp_path)
    home = go_home("first")
    kept_plan(words, tiny_space)
    second_home = tmp_path / "second"
    second_home.mkdir()
    arguments = parse_arguments(["--resume", "one"], "")
    with claim_sweep(arguments, tiny_space) as claim:
        assert claim.lease is not None
        before = content_of(storage, home, second_home, tmp_path)
        for name in ("first", "second"):
            go_home(name)
            for refused in (words, ["--resume", f"{storage}/sweeps/one", "--trials", "9"]):
                assert main(tiny_space, refused) == 3
                said = capfd.readouterr().err
                assert "Sweep one has a driver: " in said and f"process {os.getpid()}" in said
                assert len(said.strip().splitlines()) == 1
        go_home("first")
        different = [*words, "--set", "clip.length=16"]
        assert main(tiny_space, different) == 2
        assert "clip.length: 8 -> 16" in capfd.readouterr().err
        assert main(space, ["--resume", "one"]) == 2
        assert content_of(storage, home, second_home, tmp_path) == before
        claim.lease.check()
        assert claim.epoch == 2


def test_a_wrong_input_leaves_nothing_of_a_new_sweep(
    storage: str,
    go_home: Callable[[str], Path],
    tiny_videos: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    go_home("first")
    words = [*words_of(storage, tiny_videos, tmp_path), "--set", "clip.length=800"]
    assert main(tiny_space, words) == 2
    assert "no video" in capfd.readouterr().err
    kept = {info.key.partition("/")[0] for info in open_store(storage).list()}
    assert kept <= {"manifests"}, "neither lease nor spec"


def test_of_eight_identical_starts_one_works(
    storage: str, tiny_videos: Path, tmp_path: Path
) -> None:
    words = words_of(storage, tiny_videos, tmp_path)
    starts = []
    for number in range(NUM_STARTS):
        home = tmp_path / f"home-{number % 2}"
        starts.append(
            subprocess.Popen(
                [sys.executable, "-c", CLAIM, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PRP_HOME": str(home), "PYTHONPATH": str(REPOSITORY)},
            )
        )
    refused: list[subprocess.Popen[str]] = []
    while len(refused) < NUM_STARTS - 1:
        time.sleep(0.1)
        refused = [start for start in starts if start.poll() is not None]
    (winner,) = [start for start in starts if start not in refused]
    said = [start.communicate()[1] for start in refused]
    out, err = winner.communicate("")
    assert out.strip() == f"{WINNER_SAYS} 1" and err == ""
    assert [start.returncode for start in refused] == [3] * (NUM_STARTS - 1), said
    assert all("Sweep one has a driver: " in text for text in said)
    assert all(f"process {winner.pid}, since" in text for text in said)
    assert content_of(storage, *tmp_path.glob("home-*")) == {}, "nothing is left of it"


def test_a_driver_that_was_silent_too_long_says_so_and_writes_nothing(
    storage: str, go_home: Callable[[str], Path], tiny_videos: Path, tmp_path: Path
) -> None:
    go_home("first")
    plan = kept_plan(words_of(storage, tiny_videos, tmp_path), tiny_space)
    with (
        pytest.raises(LeaseLost, match=r"driver \(epoch 2\) was silent for too long"),
        claim_sweep(parse_arguments(["--resume", "one"], ""), tiny_space) as claim,
    ):
        assert claim.lease is not None
        journal = open_journal(dataclasses.replace(plan.spec, epoch=claim.epoch))
        other = open_folder(plan.spec).store
        there = read_lease(other, LEASE)
        assert there is not None
        taken = dataclasses.replace(there.record, epoch=3, token="another")
        other.write(LEASE, taken.to_bytes(), if_match=there.etag)
        open_journal(dataclasses.replace(plan.spec, epoch=3)).append([{"kind": "x"}])
        before = content_of(storage)
        with pytest.raises(Fenced):
            Ledger(journal).append(LedgerEntry(**SLICE))
        for _ in range(600):  # until the next renewal, which interrupts this thread
            time.sleep(0.1)
            claim.lease.check()  # the signal is ignored where tests run in several processes
    assert isinstance(claim.loss(), LeaseLost)
    with pytest.raises(LeaseLost):
        claim.keep(plan.spec)
    assert content_of(storage) == before
    left = read_lease(other, LEASE)
    assert left is not None and left.record == taken, "the other's lease is not given up"


def test_a_sweep_that_cannot_be_read_is_said_beside_the_others(
    storage: str, go_home: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    go_home("first")
    for name, text in (("damaged", b"{"), ("later", b'{"sweep_id": "later", "format": 9}')):
        open_store(storage).write(f"sweeps/{name}/spec.json", text)
    assert prp(["status", "--storage", storage]) == 2
    said = capfd.readouterr()
    assert "sweeps/damaged/spec.json is not a sweep's spec" in said.out
    assert f"The sweep 'later' in {storage} was made by another release (format 9" in said.out


def test_a_sweep_of_an_earlier_release_is_named(
    go_home: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    home = go_home("first")
    folder = home / "sweeps" / "old-20260101-000000-abcd"
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text("{}")
    for words in (["--resume", folder.name], ["--sweep", folder.name]):
        assert main(tiny_space, words) == 2
        said = capfd.readouterr().err
        assert f"Sweep '{folder.name}' was made by an earlier release" in said
        assert f"--warm-start {folder.name}" in said
    assert prp(["status"]) == 0
    assert f"of an earlier release, which this one does not read: {folder.name}" in (
        capfd.readouterr().out
    )


def test_a_storage_without_conditional_writes_is_refused_before_anything_is_kept(
    go_home: Callable[[str], Path],
    tiny_videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Overwriting(LocalStore):
        def write(self, key: str, data: bytes | Path, **conditions: object) -> ObjectInfo:
            return super().write(key, data)

    go_home("first")
    storage = tmp_path / "storage"
    monkeypatch.setitem(STORES, "file", lambda uri, config, check: Overwriting(uri))
    words = words_of(str(storage), tiny_videos, tmp_path)
    assert main(tiny_space, words) == 2
    said = capfd.readouterr().err
    assert len(said.strip().splitlines()) == 1
    assert "cannot hold a sweep: it overwrites an object" in said
    assert "Amazon S3, Ceph, MinIO and a local folder can" in said
    assert [path for path in storage.rglob("*") if path.is_file()] == []


def test_mlflows_own_variable_is_the_default(
    go_home: Callable[[str], Path],
    tiny_videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = go_home("first")
    words = words_of(str(tmp_path / "storage"), tiny_videos, tmp_path)
    place = words.index("--mlflow")
    without = [*words[:place], *words[place + 2 :]]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///its-own.db")
    assert kept_plan(without, tiny_space).spec.tracking_uri == f"sqlite:///{tmp_path}/its-own.db"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    kept = kept_plan(without, tiny_space).spec
    assert kept.tracking_uri == f"sqlite:///{tmp_path}/its-own.db", "it stays where it is"
    other = [*without, "--sweep", "two"]
    assert kept_plan(other, tiny_space).spec.tracking_uri == f"sqlite:///{home}/mlflow.db"
