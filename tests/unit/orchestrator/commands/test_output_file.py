"""The file that a command writes: what cannot be one is refused before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.commands.output_file import output_file
from orchestrator.commands.prp import main
from prp_core.errors import UserError


def test_a_file_in_a_folder_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert output_file("page.html", "--out") == tmp_path / "page.html"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://bucket/page.html", "--out s3://bucket/page.html: name a file of this machine"),
        (".", "--out . is a folder; name a file, such as "),
        ("none/page.html", "There is no folder "),
        ("file/page.html", "There is no folder "),
    ],
)
def test_what_cannot_be_a_file_is_refused(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as refused:
        output_file(text, "--out")
    assert str(refused.value).startswith(said)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize(
    "words",
    [
        ["embed", "videos", "--model", "models:/x@best", "--out", "none/f.parquet"],
        ["export", "models:/x@best", "--format", "onnx", "--out", "none/f.onnx"],
    ],
)
def test_it_is_refused_before_an_encoder_is_looked_for(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert f"There is no folder {tmp_path / 'none'} for --out" in capsys.readouterr().err
