"""How commands end, and the commands that read a manifest."""

from __future__ import annotations

import errno
import inspect
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.commands.command import Command
from orchestrator.commands.parser_tree import leaves
from orchestrator.commands.prp import ROOT, main
from orchestrator.config.typed_command import prp
from orchestrator.data.label_source import read_label_table
from orchestrator.exit_codes import run_command
from orchestrator.storage.manifest_file import write_manifest
from orchestrator.storage.open_store import open_store
from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.data.splits import Labelling
from prp_core.errors import StoreUnavailable, UserError

RECORDS = (
    VideoRecord(
        key="a/1.mp4",
        num_bytes=10,
        etag="e1",
        num_frames=20,
        codec="h264",
        label="a",
        group="g1",
        split="train",
    ),
    VideoRecord(
        key="a/2.mp4", num_bytes=10, etag="e2", num_frames=40, codec="h264", label="a", group="g2"
    ),
    VideoRecord(key="b/3.mp4", num_bytes=10, etag="e3", reason="empty", detail="0 bytes"),
)


@pytest.fixture
def manifest_uri(tmp_path: Path) -> str:
    return write_manifest(Manifest("s3://bucket/videos", RECORDS), open_store(tmp_path))


def _raise(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("outcome", "exit_code", "said"),
    [
        (None, 0, ""),
        (3, 3, ""),
        (UserError("a is wrong;\n  do b"), 2, "prp: error: a is wrong; do b\n"),
        (StoreUnavailable("s3://b: silence"), 1, "prp: error: s3://b: silence\n"),
        (KeyboardInterrupt(), 130, "prp: interrupted\n"),
    ],
)
def test_how_a_command_ends(
    outcome: BaseException | int | None,
    exit_code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        run_command(lambda: _raise(outcome) if isinstance(outcome, BaseException) else outcome)
        == exit_code
    )
    assert capsys.readouterr().err == said


def test_an_error_that_nobody_foresaw_is_one_line_and_its_traceback_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRP_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["prp", "--mlflow", "http://me:canary@host"])
    assert run_command(lambda: 1 // 0) == 1
    (file,) = (tmp_path / "errors").iterdir()
    assert "--mlflow http" in file.read_text() and "canary" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert capsys.readouterr().err == (
        "prp: error: ZeroDivisionError: integer division or modulo by zero (unexpected; the "
        f"traceback is in {file})\n"
    )
    assert "Traceback" in file.read_text() and "1 // 0" in file.read_text()
    monkeypatch.setenv("PRP_HOME", "/proc/none")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert run_command(lambda: 1 // 0) == 1
    assert f"the traceback is in {tmp_path}/prp-error-" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            FileNotFoundError(errno.ENAMETOOLONG, "File name too long", f"/tmp/{'n' * 300}/x"),
            f"/tmp/{'n' * 75}...{'n' * 15}/x: File name too long; give it a shorter name (255 ",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x/a"),
            "/x/a: Permission denied; give ",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", b"/ro/a"),
            "/ro/a: Read-only file system; name one on a file system that can be written (PRP_",
        ),
    ],
)
def test_a_file_that_the_system_refuses_is_named_with_what_to_do(
    error: OSError, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(lambda: _raise(error)) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"prp: error: {said}") and told.count("\n") == 1


@pytest.mark.parametrize(("name", "command"), leaves(ROOT))
def test_the_module_of_a_command_runs_by_itself(name: str, command: Command) -> None:
    module = command.load()
    if isinstance(module, ModuleType):
        words = name.removeprefix("prp ")
        assert f'raise SystemExit(run_module("{words}"))' in inspect.getsource(module)


def test_a_command_that_is_started_by_its_module_answers(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.commands.status", "--jsn"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "prp: error: Unknown option '--jsn'. Did you mean '--json'? See prp status --help\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: COMMAND; see prp --help"),
        (
            ["data", "indx"],
            "Unknown prp data command 'indx'; known: feasibility, index, prepare, show. "
            "Did you mean 'index'?",
        ),
        (
            ["data", "show"],
            "the following arguments are required: MANIFEST; see prp data show --help",
        ),
        (
            ["data", "show", "/nowhere/x.parquet"],
            f"There is no manifest at /nowhere/x.parquet; make one with: {prp('data index URI')}",
        ),
        (
            ["data", "feasibility", "m.parquet", "--lengths", "9"],
            "clip.length = 9: must be a positive multiple of 8",
        ),
        (
            ["data", "feasibility", "m.parquet", "--lengths", "8,16"],
            "--lengths = '8,16': write clip lengths as whole numbers joined by '-'",
        ),
        (
            ["data", "feasibility", "m.parquet", "--rates", "4-2"],
            "--rates = '4-2': rates are distinct and ascending",
        ),
        (["data", "index", ".", "--workers", "0"], "num_workers = 0: must be at least 1"),
        (
            ["data", "index", ".", "--endpoint-url", "localhost"],
            "store.endpoint_url = 'localhost': must be a URL",
        ),
    ],
)
def test_wrong_arguments(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("prp: error: ")
    assert error.count("\n") == 1
    assert said in error


def test_show(manifest_uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", manifest_uri]) == 0
    out = capsys.readouterr().out
    assert "usable         2 of 3" in out
    assert "frames         20 to 40" in out
    assert "splits         1 train, 1 unstated" in out
    assert "quarantined    1: 1 empty\n  b/3.mp4: empty (0 bytes)\n" in out


def test_feasibility(manifest_uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "feasibility", manifest_uri, "--rates", "1-2-4", "--lengths", "8-16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[2:] if line.split()[0].isdigit()}
    assert rows == {
        "1": ["2", "(8)", "2", "(16)"],
        "2": ["2", "(16)", "1", "(32)"],
        "4": ["1", "(32)", "0", "(64)"],
    }
    assert [line for line in lines if "loses" in line] == [
        "rate 4 with 16 frames loses every video of 1 of 1 classes: a"
    ]


def test_feasibility_of_each_class(manifest_uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            ["data", "feasibility", manifest_uri, "--rates", "1-2", "--lengths", "16", "--classes"]
        )
        == 0
    )
    words = capsys.readouterr().out.partition("class a: 2 videos\n")[2].split()
    assert words[:9] == ["rate", "16", "frames", "1", "2", "(16)", "2", "1", "(32)"]


def test_a_reader_that_leaves_early(manifest_uri: str) -> None:
    code = "import sys; from orchestrator.commands.prp import main; sys.exit(main())"
    command = (
        f"{sys.executable} -c '{code}' data show {manifest_uri} | true; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_table_of_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("\ufeffsplit,key,label\ntrain,a/1.mp4,run\n,b.mp4,\n", encoding="utf-8")
    assert read_label_table(path) == {
        "a/1.mp4": Labelling("run", None, "train"),
        "b.mp4": Labelling(None, None, None),
    }


def test_a_list_of_videos_with_their_labels_is_a_table_too(tmp_path: Path) -> None:
    path = tmp_path / "val.csv"
    path.write_text("root/a b/1.mp4  7\nroot/a b/2.mp4 8\nroot/3.mp4 -1\n")
    assert read_label_table(path) == {
        "root/a b/1.mp4": Labelling("7", None, "val"),
        "root/a b/2.mp4": Labelling("8", None, "val"),
        "root/3.mp4": Labelling(None, None, "val"),
    }
    other = path.rename(tmp_path / "annotations.txt")
    other.write_text("a/1.mp4,air drumming\n")
    assert read_label_table(other) == {"a/1.mp4": Labelling("air drumming", None, None)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must name the column key and some of label, group, split"),
        ("video,label\na,b\n", "its first line is 'video,label'; it must name the column key"),
        ("key,label\n,b\n", "line 2: the key is empty"),
        (
            "key,split\na,validation\n",
            "line 2: split 'validation'; write train, val, test or nothing",
        ),
        (
            "key,split\na,train\na,test\n",
            "line 3: 'a' is listed a second time with other values",
        ),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        read_label_table(path)
    with pytest.raises(UserError, match="no such table of labels"):
        read_label_table(tmp_path / "none.csv")
