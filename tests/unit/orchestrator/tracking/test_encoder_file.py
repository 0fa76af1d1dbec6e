"""The files of an encoder: equal weights come back, changed files are refused."""

from __future__ import annotations

import json

import pytest
import torch

from orchestrator.tracking import DamagedEncoder, EncoderCard, load_encoder, pack
from orchestrator.tracking.encoder_file import CARD_NAME, WEIGHTS_NAME, digest, unpack
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
    with pytest.raises(UserError, match=r"Which MLflow\? Pass tracking_uri"):
        load_encoder("models:/prp-demo@best")
