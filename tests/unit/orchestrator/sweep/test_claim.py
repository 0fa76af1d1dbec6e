"""What a start leaves behind that is refused, fails while it plans, or is a dry run: nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from orchestrator.data.open_data import initial_weights
from orchestrator.journal.stored_sweep import iterate_sweeps
from orchestrator.sweep.arguments import parse_arguments
from orchestrator.sweep.claim import claim_sweep
from orchestrator.sweep.writable import check_home
from orchestrator.tracking.encoder_file import WEIGHTS_NAME, EncoderCard, digest, pack
from prp_core.encoders import build_encoder
from prp_core.errors import UserError
from sweeps.rate_search import space


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def files_of_sweeps(home: Path) -> list[Path]:
    return list((home / "sweeps").rglob("*"))


def test_a_dry_run_leaves_no_sweep(home: Path) -> None:
    with claim_sweep(parse_arguments(["--dry-run", "--sweep", "mine"], ""), space) as claim:
        assert claim.sweep_id == "mine" and claim.spec is None and claim.epoch == 0
    assert list(iterate_sweeps()) == [] and files_of_sweeps(home) == []


@pytest.mark.parametrize("error", [UserError("no room"), KeyboardInterrupt(), RuntimeError()])
def test_a_start_that_is_refused_while_it_is_planned_leaves_no_sweep(
    error: BaseException, home: Path
) -> None:
    with (
        pytest.raises(type(error)),
        claim_sweep(parse_arguments(["--sweep", "mine"], ""), space) as claim,
    ):
        assert claim.epoch == 1, "it holds the lease"
        raise error
    assert list(iterate_sweeps()) == [] and files_of_sweeps(home) == []


def test_a_start_with_a_wrong_option_touches_nothing(home: Path) -> None:
    words = ["--sweep", "mine", "--set", "clip.length=7"]
    with (
        pytest.raises(UserError, match=r"clip\.length = 7"),
        claim_sweep(parse_arguments(words, ""), space),
    ):
        pass
    assert list(iterate_sweeps()) == [] and files_of_sweeps(home) == []


def test_a_home_that_cannot_be_written_is_replaced_or_said(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    monkeypatch.setenv("HOME", "/proc/none")
    check_home()
    assert os.environ["MPLCONFIGDIR"] == str(home / "matplotlib")
    monkeypatch.delenv("PRP_HOME")
    with pytest.raises(UserError, match=r"/proc/none/\.prp cannot be written: .*; set PRP_HOME to"):
        check_home()


def test_trials_start_from_a_copy_in_the_storage_that_no_alias_moves(
    home: Path, tmp_path: Path
) -> None:
    weights = build_encoder("c3d_small").state_dict()
    for name, data in pack(weights, EncoderCard(encoder="c3d_small")).items():
        (tmp_path / name).write_bytes(data)
    words = ["--sweep", "mine", "--init-from", str(tmp_path), "--set", "encoder.name=c3d_small"]
    with claim_sweep(parse_arguments([*words, "--dry-run"], ""), space):
        assert not (home / "encoders").exists(), "a dry run copies nothing"
    with claim_sweep(parse_arguments(words, ""), space) as claim:
        folder = Path(claim.config.encoder.init_from)
        assert folder.parent == home / "encoders"
        assert folder.name == digest((tmp_path / WEIGHTS_NAME).read_bytes())[:16]
    read = initial_weights(claim.config)
    assert read is not None
    assert all(torch.equal(value, weights[name]) for name, value in read().items())
    for change, complaint in (
        (["--set", "encoder.name=r3d"], "weights of 'c3d_small', and encoder.name is 'r3d'"),
        (["--init-from", str(home)], "There is no encoder in"),
    ):
        with (
            pytest.raises(UserError, match=complaint),
            claim_sweep(parse_arguments([*words, *change], ""), space),
        ):
            pass
