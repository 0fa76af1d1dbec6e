"""ONNX models compute our features; needs the extra: ``uv sync --extra onnx``."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.commands.export import run_onnx
from prp_core.evaluation.portable_encoder import save_onnx
from tests.unit.prp_core.evaluation.test_portable_encoder import encoder_of

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize("name", ["c3d_small", "r3d_small", "r2plus1d_small"])
def test_an_onnx_model_computes_our_features(name: str, tmp_path: Path) -> None:
    parity = save_onnx(encoder_of(name), tmp_path / "encoder.onnx", run_onnx)
    assert parity.holds and parity.largest_value > 0
