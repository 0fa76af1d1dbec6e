"""Published weights become an encoder that loads, and go back to the bit; odd files are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from orchestrator.commands.prp import main
from orchestrator.tracking import load_encoder
from prp_core.encoders import build_encoder
from prp_core.encoders.foreign_layouts import to_layout


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def write_checkpoint(path: Path, **others: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.manual_seed(4)
    weights = to_layout("official", "r3d", build_encoder("r3d").state_dict())
    torch.save({**weights, **others}, path)
    return weights


def test_a_checkpoint_goes_in_and_comes_out_to_the_bit(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "best_model_9.pth.tar"
    weights = write_checkpoint(file, **{"module.fc8.bias": torch.ones(4)})
    assert main(["import-official", str(file), "--encoder", "r3d", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["folder"] == str(home / "encoders" / "best_model_9")
    assert (len(facts["matched"]), facts["unexpected"], facts["missing"]) == (72, [], [])
    assert (facts["ignored"], facts["num_parameters"]) == (["module.fc8.bias"], 14_361_792)
    encoder = load_encoder(facts["folder"])
    assert encoder.clip.crop == 112 and encoder.rates == (1, 2, 4, 8)
    out = tmp_path / "back.pth.tar"
    words = ["export", facts["folder"], "--format", "official", "--out", str(out)]
    assert main(words) == 0
    assert capsys.readouterr().err == "72 weights: equal to ours, bit for bit\n"
    back = torch.load(out, weights_only=True)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], value) for name, value in weights.items())


def test_weights_of_no_known_network_are_refused_unless_allowed(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "odd.pth.tar"
    write_checkpoint(file, **{"module.surprise": torch.ones(1)})
    words = ["import-official", str(file), "--encoder", "r3d"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "1 of its weights belong to no known network (module.surprise)." in said
    assert not home.exists()
    assert main([*words, "--allow-unexpected"]) == 0
    assert "unexpected    1  surprise (1)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["none.pth", "--encoder", "r3d"], "There is no checkpoint 'none.pth'"),
        (["{}", "--encoder", "r3d", "--register", "a/b"], "--register 'a/b' cannot name"),
        (["{}", "--encoder", "r3dd"], "Did you mean 'r3d'?"),
        (["{}", "--encoder", "r3d_small"], "has no official layout"),
        (["{}", "--encoder", "r3d"], "Cannot read checkpoint"),
        (["{}", "--encoder", "r21d", "--layout", "torchvision"], "has no torchvision layout"),
    ],
)
def test_what_cannot_be_imported_is_one_line(
    words: list[str],
    complaint: str,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "noise.pth"
    file.write_bytes(b"\x80\x04noise")
    assert main(["import-official", *(word.format(file) for word in words)]) == 2
    said = capsys.readouterr().err
    assert complaint in said and said.count("\n") == 1
