"""The files of an encoder: equal weights come back, changed files are refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from orchestrator.tracking import DamagedEncoder, EncoderCard, load_encoder, pack
from orchestrator.tracking.encoder_file import CARD_NAME, WEIGHTS_NAME, digest, unpack
from orchestrator.tracking.models import why_gone
from prp_core.encoders import build_encoder
from prp_core.errors import UserError


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
    with pytest.raises(UserError, match=r"No MLflow is named: pass tracking_uri"):
        load_encoder("models:/prp-demo@best")


def test_a_wrong_model_uri_and_a_database_that_is_not_there_make_none(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with pytest.raises(UserError, match=r"Cannot read 'models:/x': write models:/NAME@ALIAS"):
        load_encoder("models:/x", uri)
    with pytest.raises(
        UserError, match=r"There is no MLflow database at sqlite:.*'models:/x@best'"
    ):
        load_encoder("models:/x@best", uri)
    assert not list(tmp_path.iterdir())


def test_a_moved_database_is_called_moved(tmp_path: Path) -> None:
    tail = "mlartifacts/1/models/m-1/artifacts"
    old = (tmp_path / "old" / "mlartifacts/1").as_uri()
    location = (tmp_path / "old" / tail).as_uri()
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    assert why_gone(location, old, uri).startswith("This database was moved, or its artifacts were")
    (tmp_path / "new" / tail).mkdir(parents=True)
    (tmp_path / "new" / tail / WEIGHTS_NAME).write_bytes(b"")
    said = why_gone(location, old, uri)
    assert said.startswith("This database was moved: ") and str(tmp_path / "new" / tail) in said
    here = (tmp_path / "new" / "mlartifacts/1").as_uri()
    gone = why_gone(f"{here}/models/m-2/artifacts", here, uri)
    assert gone.endswith("where there is nothing: it was deleted")
    assert "artifact store was moved or emptied" in why_gone("mlflow-artifacts:/1/a", "s3://b", uri)


def test_a_file_of_an_encoder_names_its_folder_and_an_empty_folder_says_what_to_give(
    tmp_path: Path,
) -> None:
    weights = build_encoder("c3d_small").state_dict()
    card = EncoderCard(encoder="c3d_small", config={"clip": {"length": 8, "crop": 32}})
    for name, data in pack(weights, card).items():
        (tmp_path / name).write_bytes(data)
    loaded = load_encoder(str(tmp_path / WEIGHTS_NAME))
    assert loaded.card == card and loaded.clip.crop == 32 and loaded.rates == (1, 2, 4, 8)
    with pytest.raises(UserError, match=r"There is no encoder in .*models:/NAME@best"):
        load_encoder(str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("config", "first_bias", "complaint"),
    [
        ({"clip": [1]}, 0.0, r"config\.clip is \[1\], not a table"),
        ({"evaluation": {"views": 3}}, 0.0, r"config\.evaluation\.views is 3, not a table"),
        ({}, math.nan, r"values that are not numbers, in 1 weights \(conv1"),
        ({}, math.inf, "the training that made it had diverged"),
    ],
)
def test_an_encoder_that_describes_nothing_is_refused(
    tmp_path: Path, config: dict, first_bias: float, complaint: str
) -> None:
    weights = build_encoder("c3d_small").state_dict()
    weights["conv1.0.bias"][0] = first_bias
    for name, data in pack(weights, EncoderCard(encoder="c3d_small", config=config)).items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DamagedEncoder, match=complaint):
        load_encoder(str(tmp_path))
