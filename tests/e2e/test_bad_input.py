"""Wrong input: one clear line, exit code 2, and nothing started."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.sweep import main
from tests.e2e.tiny_study import space
from tests.fixtures_s3 import S3Server
from tests.tools.study_process import TINY_PRESET

CASES = [
    (
        ["--set", "pretext.playback_rate.rates=fast"],
        "pretext.playback_rate.rates = 'fast': write a rate set as whole numbers joined by '-'",
    ),
    (["--set", "clip.length=10"], "clip.length = 10: must be a positive multiple of 8"),
    (["--set", "clip.lenght=8"], "Did you mean 'clip.length'?"),
    (["--set", "training.learning_rate=inf"], "training.learning_rate = inf: must be a finite"),
    (["--set", f"seed={'[' * 200_000}"], "seed = '[[["),
    (["--preset", "tinny"], "Unknown preset 'tinny'"),
    (["--set", "encoder.name=r3dd"], "Did you mean 'r3d'?"),
    (["--data", "/no/such/folder"], "/no/such/folder"),
    (["--mlflow", "./mlruns"], "sqlite:///"),
    (["--mlflow", "localhost:5000"], "has no scheme; write http://localhost:5000"),
    (["--address", "127.0.0.1:9"], "No Ray cluster answers at 127.0.0.1:9: Connection refused"),
    (["--address", "http://10.0.0.5:8265"], "a study joins a cluster at HOST:6379"),
    (["--data", ""], "--data is empty; leave it out, or give it a value"),
    (["--storage", "/proc/x"], "The storage /proc/x cannot be written: /proc: "),
    (["--database", "sqlite:////no/such/folder/trials.db"], "cannot be opened"),
    (["--resume", "rate-search-19700101"], "There is no sweep 'rate-search-19700101'"),
    (["--set", "clip.length=800"], "no video"),
    (["--set", "sweep.objective=epoch/rate_accuracy"], "must be a retrieval metric"),
    (["--set", "sweep.sampler=gpp"], "Unknown sweep.sampler 'gpp'; known: gp, random, tpe"),
    (["--set", "sweep.pruner=ashaa"], "Did you mean 'asha'?"),
]


def run_here(capfd: pytest.CaptureFixture[str], words: list[str]) -> tuple[int, str]:
    """Exit code and standard error of the study's command line, in this process."""
    code = main(space, words)
    return code, capfd.readouterr().err


@pytest.mark.parametrize(("words", "text"), CASES, ids=[" ".join(words)[:40] for words, _ in CASES])
def test_one_line_and_exit_code_2(
    words: list[str],
    text: str,
    tiny_videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PRP_HOME", str(tmp_path))
    code, errors = run_here(
        capfd, ["--preset", str(TINY_PRESET), "--data", str(tiny_videos), *words]
    )
    assert code == 2
    assert text in errors
    assert len(errors.strip().splitlines()) == 1, errors
    assert not list(tmp_path.glob("sweeps/*")), "nothing was started"


def test_a_preset_without_videos_is_refused_instead_of_trained_on_the_demos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRP_HOME", str(tmp_path))
    code, errors = run_here(capfd, ["--preset", "ucf101_r3d"])
    assert code == 2
    assert "The preset 'ucf101_r3d' comes without videos; say where they are: --data" in errors
    assert not list(tmp_path.iterdir())


def test_no_video_is_long_enough_says_how_many_are_for_each_rate(
    tiny_videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PRP_HOME", str(tmp_path))
    words = ["--preset", str(TINY_PRESET), "--data", str(tiny_videos), "--set", "clip.length=56"]
    code, errors = run_here(capfd, words)
    assert code == 2
    assert (
        "no video long enough" in errors and "rate 1: " in errors and "rate 3: 0 of 18" in errors
    ) or "rate 2: 0 of 18" in errors, errors


def test_a_bucket_that_does_not_exist_and_missing_credentials(
    s3_environment: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PRP_HOME", str(tmp_path))
    code, errors = run_here(
        capfd, ["--preset", str(TINY_PRESET), "--data", "s3://no-such-bucket-here/videos"]
    )
    assert code == 2 and "no-such-bucket-here" in errors
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    code, errors = run_here(
        capfd, ["--preset", str(TINY_PRESET), "--data", "s3://no-such-bucket-here/videos"]
    )
    assert code == 2 and "credentials" in errors.lower(), errors


def test_a_cluster_too_small_for_one_trial_names_both_numbers(
    tiny_videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PRP_HOME", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    words = ["--preset", str(TINY_PRESET), "--data", str(tiny_videos)]
    code, errors = run_here(capfd, [*words, "--set", "resources.cpus_per_worker=512"])
    assert code == 2, errors
    assert "The cluster is too small for one trial: one trial needs 1 worker x 512 CPU" in errors
    assert "nodes 1 x" in errors
