"""Fine-tuning by the command line: an encoder, a classifier, a curve in MLflow, and a resume."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from safetensors import safe_open

from orchestrator.commands.prp import main
from orchestrator.config.run_config import parse_config, to_tree
from orchestrator.storage.manifest_file import write_manifest
from orchestrator.storage.open_store import open_store
from orchestrator.tracking import EncoderCard, load_encoder, pack
from prp_core.data.manifest import Manifest
from prp_core.encoders import build_encoder
from tests.fixtures_mlflow import MlflowServer
from tests.tiny_corpus import make_corpus

CONFIG = parse_config(
    {
        "encoder": {"name": "c3d_small"},
        "clip": {"length": 8, "resize_height": 36, "resize_width": 40, "crop": 32},
        "evaluation": {"views": {"num_clips": 1, "clip_length": 8}},
    }
)


def test_a_fine_tuned_encoder_is_a_model_with_a_curve_and_goes_on_where_it_was(
    mlflow_server: MlflowServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "home"))
    torch.manual_seed(1)
    weights = build_encoder("c3d_small").state_dict()
    start = tmp_path / "start"
    start.mkdir()
    card = EncoderCard(encoder="c3d_small", config=to_tree(CONFIG))
    for name, data in pack(weights, card).items():
        (start / name).write_bytes(data)
    parts = make_corpus(tmp_path / "videos", num_train=6, num_val=2)
    records = (
        *(replace(record, split="train") for record in parts.train),
        *(replace(record, split="test") for record in parts.val),
    )
    manifest = Manifest((tmp_path / "videos").as_uri(), records)
    uri = write_manifest(manifest, open_store(tmp_path / "manifests"))
    out = tmp_path / "tuned"

    def tuned(epochs: int) -> Any:
        words = ["finetune", str(start), "--data", uri, "--out", str(out), "--json"]
        words += ["--mlflow", mlflow_server.uri, "--epochs", str(epochs), "--set", "batch_size=3"]
        assert main(words) == 0
        return json.loads(capsys.readouterr().out)

    client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
    first = tuned(1)
    with closing(sqlite3.connect(mlflow_server.database_path)) as database, database:
        # as after kill -9 between the run and its parameters
        database.execute("DELETE FROM params WHERE run_uuid = ?", (first["run"],))
    more = tuned(2)
    assert (first["run"], first["labels"]) == (more["run"], ["down", "right"])
    assert (first["num_gallery"], first["num_queries"]) == (6, 2)
    history = client.get_metric_history(more["run"], "recognition/train_loss")
    assert [point.step for point in history] == [2, 4], "the second epoch alone was trained"
    run = client.get_run(more["run"])
    assert run.info.status == "FINISHED"
    assert run.data.params["evaluation.recognition.num_epochs"] == "2"
    assert run.data.tags["prp.fine_tuned_from"] == str(start)
    for place, mlflow in ((str(out), None), (more["model"], mlflow_server.uri)):
        encoder = load_encoder(place, mlflow)
        assert encoder.card.metrics == more["metrics"] and encoder.clip == CONFIG.clip
        assert not torch.equal(encoder.state_dict()["conv1.0.weight"], weights["conv1.0.weight"])
    with safe_open(out / "classifier.safetensors", "pt") as classifier:
        assert json.loads(classifier.metadata()["labels"]) == ["down", "right"]
        assert classifier.get_tensor("weight").shape == (2, 64)

    words = ["finetune", str(start), "--data", uri, "--out", str(out), "--from-scratch"]
    assert main([*words, "--mlflow", mlflow_server.uri, "--set", "batch_size=3"]) == 2
    assert "holds the checkpoint of another fine-tuning" in capsys.readouterr().err
