"""What a sweep keeps in its storage, and requests to it, in a folder and on a real S3 server."""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from pathlib import Path

import pytest

from orchestrator.config.store_config import StoreConfig
from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.object_journal import JournalReader
from orchestrator.journal.requests import (
    Action,
    BadRequest,
    Request,
    RequestDesk,
    answers,
    await_answer,
    num_unanswered,
    submit,
)
from orchestrator.journal.sweep_folder import (
    SweepFolder,
    find_sweep,
    list_sweeps,
    open_sweep_folder,
)
from orchestrator.storage.open_store import open_store
from prp_core.data.object_store import LocalStore
from prp_core.errors import ObjectChanged, ObjectExists, StoreUnavailable, UserError
from tests.dying_store import DyingStore

SPEC = {"study": "rate_search", "num_trials": 8, "weights": [0.1, 1e-7]}


@pytest.fixture(params=["folder", "file URI", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The `--storage` of a sweep."""
    if request.param == "bucket":
        return f"s3://{request.getfixturevalue('s3_bucket')}/prp/"
    folder = tmp_path / "a storage"
    return folder.as_uri() if request.param == "file URI" else str(folder)


def test_a_spec_is_made_once_and_changed_by_who_has_read_it(storage: str) -> None:
    folder = open_sweep_folder(storage, "demo-1")
    assert folder.read_spec() is None
    made = folder.create_spec(SPEC)
    assert made.values == SPEC and folder.read_spec() == made
    with pytest.raises(ObjectExists):
        folder.create_spec(SPEC)
    elsewhere = open_sweep_folder(storage, "demo-1")
    seen = elsewhere.read_spec()
    assert seen is not None
    changed = elsewhere.change_spec(seen, SPEC | {"num_trials": 16})
    with pytest.raises(ObjectChanged):
        folder.change_spec(made, SPEC | {"num_trials": 32})
    assert folder.read_spec() == changed and changed.values["num_trials"] == 16


def test_a_sweep_is_found_and_others_are_named(storage: str) -> None:
    with pytest.raises(UserError, match="There is no sweep 'demo-1' in .*; it has none$"):
        find_sweep(storage, "demo-1")
    for name in ("demo-1", "demo", "demo.b", "a"):
        open_sweep_folder(storage, name).create_spec(SPEC | {"name": name})
    open_store(storage).write("sweeps/old/trials/0001/checkpoint", b"of an earlier release")
    folder = open_sweep_folder(storage, "demo")
    for number in range(3):
        folder.store.write(f"trials/{number:04d}/part", b"x")
    folder.store.write("report.html", b"x")
    assert list_sweeps(storage) == ["a", "demo", "demo-1", "demo.b"]
    found, spec = find_sweep(storage, "demo-1")
    assert spec.values["name"] == "demo-1"
    assert found.trial_uri(7) == f"{found.uri}/trials/0007"
    with pytest.raises(UserError, match="no sweep 'demo-2' in .*; it has demo-1, demo.* more$"):
        find_sweep(storage, "demo-2")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "ü", "a" * 201, "-a"])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="names no sweep: a name has at most 200 letters"):
        open_sweep_folder(tmp_path, name)


def test_looking_writes_nothing_and_what_is_written_is_private(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    folder = open_sweep_folder(storage, "demo")
    assert folder.read_spec() is None and list_sweeps(storage) == []
    assert not storage.exists()
    LocalStore(storage).write("sweeps/demo/trials/0000/part", b"of an earlier release")
    folder.create_spec(SPEC)
    modes = {path.name: path.stat().st_mode & 0o777 for path in storage.rglob("*")}
    assert (modes["demo"], modes["spec.json"]) == (0o700, 0o600)
    assert storage.stat().st_mode & 0o055 and modes["sweeps"] & 0o055, "others keep sweeps too"


@pytest.mark.parametrize("content", [b"{", b"[]", b"[" * 100_000, b"\xff"])
def test_a_spec_that_is_none(storage: str, content: bytes) -> None:
    folder = open_sweep_folder(storage, "demo")
    folder.store.write("spec.json", content)
    with pytest.raises(UserError, match="demo/spec.json is not a sweep's spec"):
        find_sweep(storage, "demo")


# ---- requests


@pytest.fixture
def folder(storage: str) -> SweepFolder:
    return open_sweep_folder(storage, "demo")


@pytest.fixture
def journal(folder: SweepFolder) -> JournalWriter:
    return JournalWriter(folder.store, epoch=1, holder="driver")


def test_requests_are_answered_in_the_order_of_their_times(
    folder: SweepFolder, journal: JournalWriter
) -> None:
    desk = RequestDesk(folder.store, journal)
    assert desk.waiting() == []
    clock = iter([2.0, 1.0, 3.0])
    stop = submit(folder.store, Request(Action.STOP, trial=3, by="anna"), lambda: next(clock))
    pause = submit(folder.store, Request(Action.PAUSE), lambda: next(clock))
    wanted = Request(Action.TRY, values={"weight": 0.5, "rates": "1-2"})
    tried = submit(folder.store, wanted, lambda: next(clock))
    assert desk.waiting() == [pause, stop, tried]
    reader = JournalReader(folder.store)
    assert await_answer(reader, stop, timeout_seconds=0.0) is None
    desk.answer(stop, is_done=True, text="trial 3 stops at step 120", at=4.0)
    answer = await_answer(reader, stop, timeout_seconds=0.0)
    assert answer is not None
    assert (answer.is_done, answer.text, answer.at) == (True, "trial 3 stops at step 120", 4.0)
    assert num_unanswered(folder.store, reader) == 2, "though three objects are there"
    assert desk.waiting() == [pause, tried]
    assert len(list(folder.store.list("requests/"))) == 2, "its object is gone"
    (record,) = journal.read("answer")
    assert record["request"]["by"] == "anna" and record["request"]["action"] == "stop"


def test_an_answer_waits_for_what_it_changes(folder: SweepFolder, journal: JournalWriter) -> None:
    desk = RequestDesk(folder.store, journal)
    request = submit(folder.store, Request(Action.PAUSE))
    with journal.batch():
        journal.append([{"kind": "study", "log": {"paused": True}}])
        desk.answer(request, is_done=True, text="paused", at=1.0)
        assert desk.waiting() == []
        assert len(list(folder.store.list("requests/"))) == 1, "stays until the answer is durable"
    reader = JournalReader(folder.store)
    assert reader.num_entries == 2 and len(answers(reader)) == reader.num_records("study") == 1
    # A coordinator that died before it removed the object finds the answer in the journal.
    again = RequestDesk(folder.store, JournalWriter(folder.store, epoch=2, holder="next"))
    assert again.waiting() == []
    assert list(folder.store.list("requests/")) == []


def test_requests_that_are_none_are_answered_too(
    folder: SweepFolder, journal: JournalWriter
) -> None:
    good = submit(folder.store, Request(Action.CONTINUE), lambda: 1.0)
    whole = json.loads(b"".join(folder.store.read(f"requests/{good.id}.json")))
    bad = {
        "00000000002000000000-" + "0" * 16: b"[" * 30_000,
        "00000000003000000000-" + "0" * 16: json.dumps(whole | {"action": "explode"}).encode(),
        "00000000004000000000-" + "0" * 16: json.dumps(whole | {"colour": "red"}).encode(),
        "00000000005000000000-" + "0" * 16: b"x" * 70_000,
        "readme": b"hello",
    }
    for name, content in bad.items():
        folder.store.write(f"requests/{name}.json", content)
    desk = RequestDesk(folder.store, journal)
    first, *others = desk.waiting()
    assert first == good
    problems = [other.problem for other in others if isinstance(other, BadRequest)]
    assert [problem[:19] for problem in problems] == [
        "it is not a request",
        "it is not a request",
        "it is not a request",
        "it has 70000 bytes;",
        "requests/readme.jso",
    ]
    assert "Unknown request 'explode'; known: stop, pause, continue, try, extend" in problems[1]
    for other in others:
        desk.answer(other, is_done=False, text="refused", at=2.0)
    assert desk.waiting() == [good]
    assert [info.key for info in folder.store.list("requests/")] == [f"requests/{good.id}.json"]
    assert {answer.id for answer in answers(journal)} == set(bad)


def answer_until_killed(store: DyingStore) -> None:
    """Run in a process of its own: a coordinator that does what it is asked."""
    journal = JournalWriter(store, epoch=1, holder="driver")
    desk = RequestDesk(store, journal)
    for request in desk.waiting():
        with journal.batch():
            journal.append([{"kind": "effect", "of": request.id}])
            desk.answer(request, is_done=True, text="done", at=1.0)
    desk.waiting()


@pytest.mark.parametrize("after", [False, True], ids=["before it applies", "after it applied"])
def test_kill_9_at_every_request_to_the_store(storage: str, after: bool) -> None:
    exit_code, dies_at = -signal.SIGKILL, 0
    while exit_code == -signal.SIGKILL:
        dies_at += 1
        folder = open_sweep_folder(storage, f"demo-{dies_at}")
        asked = [submit(folder.store, Request(Action.PAUSE)).id for _ in range(2)]
        process = multiprocessing.get_context("fork").Process(
            target=answer_until_killed, args=(DyingStore(folder.store, dies_at, after),)
        )
        process.start()
        process.join(120)
        exit_code = process.exitcode
        answer_until_killed(DyingStore(folder.store))
        journal = JournalReader(folder.store)
        effects = [record["of"] for record in journal.read("effect")]
        assert effects == [answer.id for answer in answers(journal)]
        assert sorted(effects) == sorted(asked), "each is done once"
        assert list(folder.store.list("requests/")) == []
    assert exit_code == 0 and dies_at > 7


WRONG = [
    ({"action": "explode"}, "Unknown request 'explode'; known: stop, pause, continue, try, extend"),
    ({"action": "stop", "trial": -1}, "trial = -1: must be a whole number of at least 0"),
    ({"action": "stop", "trial": True}, "trial = True: must be a whole number"),
    ({"action": "pause", "trial": 3}, "'pause' takes no trial, and got 3"),
    ({"action": "try"}, "'try', and nothing else, takes values; got {}"),
    ({"action": "stop", "values": {"weight": 1}}, "'try', and nothing else, takes values"),
    ({"action": "extend", "trial": 3}, "'extend', and nothing else, takes a trial and its epochs"),
    ({"action": "extend", "epochs": 3}, "'extend', and nothing else, takes a trial"),
    ({"action": "extend", "trial": 1, "epochs": 0}, "epochs = 0: must be a whole number of at lea"),
    ({"action": "continue", "epochs": 3}, "'extend', and nothing else, takes a trial"),
]


@pytest.mark.parametrize(("fields", "text"), WRONG, ids=[str(fields) for fields, _ in WRONG])
def test_what_cannot_be_asked(fields: dict[str, object], text: str) -> None:
    with pytest.raises(UserError, match=text):
        Request(**fields)


def test_an_answer_that_comes_while_it_is_waited_for(
    folder: SweepFolder, journal: JournalWriter
) -> None:
    desk, reader = RequestDesk(folder.store, journal), JournalReader(folder.store)
    request = submit(folder.store, Request(Action.EXTEND, trial=1, epochs=60), time.time)
    naps = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            (waiting,) = desk.waiting()
            desk.answer(waiting, is_done=False, text="trial 1 was pruned", at=1.0)

    answer = await_answer(reader, request, sleep=sleep)
    assert answer is not None and not answer.is_done and answer.text == "trial 1 was pruned"
    assert naps == [0.5] * 3


def test_a_process_of_a_running_sweep_waits_for_a_store_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A person is told at once; a coordinator that Ray starts again then is not refused."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    away = StoreConfig(endpoint_url="http://127.0.0.1:9", deadline_seconds=0.5)
    with pytest.raises(UserError, match="The store cannot be used"):
        open_sweep_folder("s3://bucket/prp", "one", away)
    folder = open_sweep_folder("s3://bucket/prp", "one", away, check=False)
    with pytest.raises(StoreUnavailable):
        folder.read_spec()
