"""The parts of tracking that need no MLflow: spool, URIs, retries, provenance, encoder files."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.tracking import (
    DamagedEncoder,
    EncoderCard,
    TrackerUnavailable,
    check_reachable,
    default_tracking_uri,
    load_encoder,
    pack,
    run_page,
    tracking_uri,
    ui_command,
)
from orchestrator.tracking.encoder_file import CARD_NAME, WEIGHTS_NAME, digest, unpack
from orchestrator.tracking.mlflow_client import is_temporary, retry
from orchestrator.tracking.provenance import git_commit, provenance_tags
from orchestrator.tracking.spool import Spool
from orchestrator.tracking.tags import shortened
from prp_core.errors import UserError

PLACE = "http://tracker:5000"


def drain(spool: Spool) -> list[dict[str, Any]]:
    records = []
    while some := spool.read():
        records += some
        spool.commit()
    return records


def test_importing_the_room_imports_neither_mlflow_nor_torch() -> None:
    code = (
        "import orchestrator.tracking, sys; print([name for name in ('mlflow', 'torch', "
        "'ray') if name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_a_spool_gives_records_in_order_and_again_until_they_are_committed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, PLACE)
    records = [{"step": step, "text": "x" * 1000} for step in range(1000)]
    for record in records:
        spool.append(record)
    first = spool.read()
    assert 0 < len(first) < 1000
    assert spool.read() == first
    assert drain(spool) == records
    assert spool.num_appended == spool.num_committed == 1000
    assert spool.path.stat().st_size < 100
    spool.append({"step": 1000, "text": "y" * 1_000_000})
    assert [record["step"] for record in drain(spool)] == [1000]
    spool.close()
    assert not spool.path.exists()


def test_a_spool_takes_over_from_the_dead_but_not_from_the_living(tmp_path: Path) -> None:
    dead, living, elsewhere = (
        Spool(tmp_path, PLACE),
        Spool(tmp_path, PLACE),
        Spool(tmp_path, "sqlite:////other.db"),
    )
    for number, spool in enumerate((dead, living, elsewhere)):
        spool.append({"from": number})
    with dead.path.open("ab") as file:
        file.write(b'{"from": 0, "half a rec')
    dead.close()
    elsewhere.close()
    seen: list[Mapping[str, Any]] = []
    heir = Spool(tmp_path, PLACE, seen.append)
    assert drain(heir) == seen == [{"from": 0}]
    assert not dead.path.exists()
    assert elsewhere.path.exists()
    assert drain(living) == [{"from": 1}]


def test_a_full_disk_is_an_error_and_leaves_whole_records_only(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path; from "
        "orchestrator.tracking.spool import Spool\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "spool = Spool(Path(sys.argv[1]), 'place')\n"
        "try:\n    for step in range(100): spool.append({'step': step, 'text': 'x' * 300})\n"
        "except OSError: print(step)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    heir = Spool(tmp_path, "place")
    assert [record["step"] for record in drain(heir)] == list(range(int(done.stdout)))
    assert int(done.stdout) >= 1


class Answer(Exception):
    """An error as MLflow raises it."""

    def __init__(self, error_code: str) -> None:
        super().__init__(f"MLflow says {error_code}")
        self.error_code = error_code


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Answer("INVALID_PARAMETER_VALUE"), False),
        (Answer("RESOURCE_DOES_NOT_EXIST"), False),
        (Answer("TEMPORARILY_UNAVAILABLE"), True),
        (Answer("INTERNAL_ERROR"), True),
        (Answer("ENDPOINT_NOT_FOUND"), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (KeyError("ours"), False),
    ],
)
def test_which_errors_may_pass(error: Exception, expected: bool) -> None:
    assert is_temporary(error) is expected


def test_a_call_is_asked_again_only_while_that_can_help() -> None:
    errors = [ConnectionResetError(), Answer("INTERNAL_ERROR")]

    def call() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    assert retry(call, PLACE, 30) == "done"
    for error, expected in (
        (Answer("BAD_REQUEST"), Answer),
        (Answer("PERMISSION_DENIED"), Answer),
        (ConnectionResetError(), TrackerUnavailable),
    ):
        errors = [error]
        with pytest.raises(expected):
            retry(call, PLACE, 0.0)
    errors = [ConnectionRefusedError("refused")]
    with pytest.raises(
        TrackerUnavailable, match=r"MLflow at http://tracker:5000 did not answer for 0 s: refused"
    ):
        retry(call, PLACE, 0.0)


def test_long_values_are_cut_but_stay_different() -> None:
    assert shortened("x" * 100, 100) == "x" * 100
    one, other = shortened("x" * 9000 + "a", 6000), shortened("x" * 9000 + "b", 6000)
    assert len(one) == len(other) == 6000
    assert one != other
    assert "9001 characters" in one


@pytest.mark.parametrize("uri", ["./mlruns", "mlruns", "file:///tmp/mlruns", ""])
def test_folders_are_refused_with_what_to_use_instead(uri: str) -> None:
    with pytest.raises(
        UserError,
        match=r"is a folder; this MLflow keeps runs in a database: use "
        r"sqlite:////.*/mlflow\.db or http://HOST:PORT",
    ):
        check_reachable(uri)


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "http://"])
def test_addresses_that_name_nothing_are_refused(uri: str) -> None:
    with pytest.raises(UserError, match=r"names no (file|host)"):
        check_reachable(uri)


def test_a_sqlite_file_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database at all")
    with pytest.raises(UserError, match=r"is no sqlite database; choose another place"):
        check_reachable(f"sqlite:///{tmp_path / 'text'}")
    with pytest.raises(UserError, match=r"text is no folder that can be written"):
        check_reachable(f"sqlite:///{tmp_path / 'text' / 'mlflow.db'}")
    with pytest.raises(UserError, match=r"cannot be written"):
        check_reachable(f"sqlite:///{tmp_path}")
    check_reachable(default_tracking_uri(tmp_path / "new" / "state"))
    assert not (tmp_path / "new").exists()


def test_a_server_that_is_away_or_silent_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracking_uri, "ANSWER_SECONDS", 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(
            UserError, match=rf"Cannot use MLflow at {uri}: .*refused.*check --mlflow"
        ) as refused:
            check_reachable(uri)
        silent.listen()
        with pytest.raises(
            UserError, match=rf"Cannot use MLflow at {uri}: .*(timed out|no answer)"
        ) as timed_out:
            check_reachable(uri)
    assert "\n" not in str(refused.value) + str(timed_out.value)


def test_the_line_that_opens_the_page() -> None:
    assert ui_command("http://host:5000") == "http://host:5000"
    assert (
        ui_command("sqlite:////a b/mlflow.db", 5001)
        == "uv run mlflow ui --backend-store-uri 'sqlite:////a b/mlflow.db' --workers 1 --port 5001"
    )
    assert run_page("http://host:5000/", "1", "abc") == "http://host:5000/#/experiments/1/runs/abc"
    assert (
        run_page("sqlite:////a/mlflow.db", "1", "abc", 5001)
        == "http://127.0.0.1:5001/#/experiments/1/runs/abc"
    )


def test_the_commit_comes_from_git_else_from_the_environment(tmp_path: Path) -> None:
    assert git_commit(tmp_path, {}) == "unknown"
    assert git_commit(tmp_path, {"PRP_GIT_COMMIT": "abc"}) == "abc"
    (tmp_path / "uv.lock").write_text("locked")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", "uv.lock"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    commit = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert git_commit(tmp_path, {"PRP_GIT_COMMIT": "abc"}) == commit
    (tmp_path / "uv.lock").write_text("changed")
    tags = provenance_tags(dataset_hash="d", project_root=tmp_path, environment={})
    assert tags["prp.git_commit"] == f"{commit}-dirty"
    assert tags["mlflow.source.git.commit"] == commit
    assert tags["prp.lock_sha256"] == hashlib.sha256(b"changed").hexdigest()
    assert (tags["prp.dataset_hash"], tags["prp.protocol_hash"]) == ("d", "unknown")
    assert tags["prp.version.torch"].startswith("2.")


def test_an_encoder_file_holds_equal_weights_and_refuses_changed_ones() -> None:
    weights = {"a.weight": torch.arange(6.0).reshape(2, 3).T, "a.num_batches": torch.tensor(3)}
    card = EncoderCard(
        encoder="r3d_small",
        config={"clip": {"length": 16}},
        dataset_hash="d",
        protocol_hash="p",
        metrics={"m": 0.5},
    )
    files = pack(weights, card)
    read_card, read_weights = unpack(files, digest(files[CARD_NAME]))
    assert read_card == card
    assert all(torch.equal(read_weights[name], weights[name]) for name in weights)
    assert json.loads(files[CARD_NAME])["weights"]["num_bytes"] == len(files[WEIGHTS_NAME])
    with pytest.raises(
        DamagedEncoder, match=r"encoder\.safetensors is not the one that was stored"
    ):
        unpack({**files, WEIGHTS_NAME: files[WEIGHTS_NAME][:-1]})
    with pytest.raises(DamagedEncoder, match=r"encoder\.json is not the one that was stored"):
        unpack({**files, CARD_NAME: files[CARD_NAME] + b" "}, digest(files[CARD_NAME]))
    with pytest.raises(
        DamagedEncoder, match=r"has format 'other'; this version reads 'prp-encoder-1'"
    ):
        unpack({**files, CARD_NAME: b'{"format": "other"}'})
    with pytest.raises(DamagedEncoder, match=r"encoder\.json cannot be read"):
        unpack({**files, CARD_NAME: b"{"})
    with pytest.raises(
        DamagedEncoder, match=r"encoder\.safetensors is missing; there are: encoder\.json"
    ):
        unpack({CARD_NAME: files[CARD_NAME]})


def test_where_an_encoder_is_must_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match=r"Which MLflow\? Pass tracking_uri"):
        load_encoder("models:/prp-demo@best")
