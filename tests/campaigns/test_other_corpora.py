"""A sweep on videos without a class, and one that starts from its encoder and is judged elsewhere.

uv run pytest -s -m campaign tests/campaigns/test_other_corpora.py
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.commands.prp import main
from orchestrator.config.sweep_config import LABEL_FREE_OBJECTIVE
from orchestrator.storage.feature_file import read_header, read_rows
from tests.e2e.disturbed_sweep import runs_at
from tests.tools.study_process import TINY_PRESET, StudyProcess, trial_rows

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(2400)]
TWO_TRIALS = ("--preset", str(TINY_PRESET), "--trials", "2", "--set", "sweep.pruner=none")


@pytest.fixture(scope="module")
def unlabelled(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny videos in one folder, half of them, under names that give no class away."""
    folder = tmp_path_factory.mktemp("unlabelled")
    for number, path in enumerate(sorted(tiny_videos.rglob("*.mp4"))[::2]):
        shutil.copy(path, folder / f"{number:03}.mp4")
    return folder


@pytest.fixture(scope="module")
def label_free(unlabelled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(home, output) of a sweep on videos of which none has a class."""
    home = tmp_path_factory.mktemp("label-free")
    with StudyProcess(home, [*TWO_TRIALS, "--data", str(unlabelled)]) as study:
        assert study.wait() == 0, study.output[-4000:]
        return home, study.output


def parent_and_trials(home: Path) -> tuple[MlflowClient, Run, list[Run]]:
    """The sweep's run and its trials' runs."""
    client, runs = runs_at(home)
    (parent,) = (run for run in runs if run.data.tags["prp.role"] == "sweep")
    return client, parent, [run for run in runs if run.data.tags["prp.role"] == "trial"]


def test_without_a_class_trials_are_ranked_label_free_and_said_to_be(
    label_free: tuple[Path, str],
) -> None:
    home, output = label_free
    sys.stdout.write(output[-2500:])
    assert "no video has a class: trials are ranked label-free" in output
    assert "Traceback" not in output
    (sweep_id,) = (folder.name for folder in (home / "sweeps").iterdir())
    rows = trial_rows(home, sweep_id)
    assert [state for _, state, _ in rows] == ["COMPLETE", "COMPLETE"]
    _, parent, trials = parent_and_trials(home)
    assert LABEL_FREE_OBJECTIVE in parent.data.metrics
    for run in trials:
        assert 0 <= run.data.metrics[LABEL_FREE_OBJECTIVE] <= 1
        assert not any(name.startswith("retrieval/") for name in run.data.metrics)
    page = (home / "sweeps" / sweep_id / "report.html").read_text()
    assert "Label-free: it is the share of validation videos whose first third" in page


def test_a_sweep_that_is_judged_elsewhere_starts_from_another_ones_encoder(
    label_free: tuple[Path, str],
    unlabelled: Path,
    tiny_videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (encoder,) = sorted((label_free[0] / "sweeps").glob("*/encoder/*"))[:1]
    words = [
        "--data",
        str(unlabelled),
        "--eval-data",
        str(tiny_videos),
        "--init-from",
        str(encoder),
    ]
    with StudyProcess(tmp_path, [*TWO_TRIALS, *words]) as study:
        assert study.wait() == 0, study.output[-4000:]
        output = study.output
    sys.stdout.write(output[-2500:])
    assert "queries are validation videos of the other corpus" in output or "Judged on:" in output
    client, parent, trials = parent_and_trials(tmp_path)
    assert "retrieval/recall_at_1" in parent.data.metrics
    for run in trials:
        assert 0 <= run.data.metrics["retrieval/recall_at_1"] <= 1
        assert len(run.inputs.dataset_inputs) == 2, "what is trained on, and what is judged on"
    monkeypatch.setenv("PRP_HOME", str(tmp_path))
    mlflow.set_tracking_uri(client.tracking_uri)
    assert main(["reproduce", trials[0].info.run_id]) == 0


def test_embed_gives_the_same_table_by_tasks_of_ray_as_in_one_process(
    label_free: tuple[Path, str], tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRP_HOME", str(tmp_path))
    (encoder,) = sorted((label_free[0] / "sweeps").glob("*/encoder/*"))[:1]
    tables = []
    for name, workers in (("one", "1"), ("two", "2")):
        out = tmp_path / f"{name}.parquet"
        words = ["--model", str(encoder), "--out", str(out), "--workers", workers]
        assert main(["embed", str(tiny_videos), *words]) == 0
        rows, features = zip(*read_rows(out), strict=True)
        tables.append((read_header(out), rows, [part.tobytes() for part in features]))
    assert tables[0] == tables[1]
