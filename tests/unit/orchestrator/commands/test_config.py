"""``prp config``: every key with its value, default, unit and meaning."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from orchestrator.commands.prp import main
from orchestrator.config.field_docs import unit_of
from orchestrator.config.run_config import RunConfig, flatten, load_config


def test_every_key_with_value_default_unit_and_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--preset", "demo", "--set", "clip.length=16", "--json"]) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    expected = flatten(load_config("demo", ["clip.length=16"]))
    assert {key: row["value"] for key, row in rows.items() if row["value"] is not None} == {
        key: value for key, value in expected.items() if value is not None
    }
    assert rows["training.num_epochs"] == {
        "key": "training.num_epochs",
        "value": 12,
        "default": 300,
        "type": "int",
        "unit": "epochs",
        "meaning": "Epochs in all; an epoch is one pass over the training videos.",
    }


def test_a_table_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "clip", "--preset", "demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["[clip]", "clip.length = 8    # int, frames, default 16"]
    assert main(["config", "clip.lenght"]) == 2
    assert "Unknown config key 'clip.lenght'" in (error := capsys.readouterr().err)
    assert "Did you mean 'clip.length'?" in error


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("loader.decode_timeout_seconds", "seconds"),
        ("sweep.num_startup_trials", "startup trials"),
        ("clip.crop", "pixels"),
        ("source.val_fraction", "0 to 1"),
        ("training.learning_rate", ""),
    ],
)
def test_units(path: str, unit: str) -> None:
    assert path in flatten(RunConfig()) and unit_of(path) == unit


def test_a_study_file_without_a_sweep_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["prp"])
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "mine.py").write_text("def space(trial): ...\n")
    assert main(["sweep", str(tmp_path / "mine.py")]) == 2
    assert "mine.py started no sweep: it has to end in " in capsys.readouterr().err
    (tmp_path / "ends.py").write_text("raise SystemExit(3)\n")
    assert main(["sweep", str(tmp_path / "ends.py"), "--trials", "2"]) == 3


def test_completion_knows_commands_and_the_options_of_studies(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "feasibility" in script and "--warm-start" in script and "rate_search" in script
