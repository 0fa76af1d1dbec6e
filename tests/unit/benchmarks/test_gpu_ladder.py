"""The ladder of a training step runs whole at toy size, so that a lent GPU only measures."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from benchmarks.training.gpu_ladder import commit, main
from benchmarks.training.ladder_steps import ladder


def test_the_ladder_runs_whole_and_prints_one_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    try:
        assert main(["--out", str(tmp_path), "--toy"]) == 0
    finally:
        torch.set_num_threads(threads)
    table = (tmp_path / "ladder.md").read_text()
    assert capsys.readouterr().out == table
    assert table.startswith("Machine: ") and f"torch {torch.__version__}" in table
    assert f"commit {commit()}" in table
    rows = json.loads((tmp_path / "ladder.json").read_text())["rows"]
    assert len(rows) == 4 and all(row["clips_per_second"] > 0 for row in rows)
    assert "- waits between two windows: 0\n" in table
    assert "- losses: equal: " in table
    assert "- resumed in deterministic mode: 0 of " in table
    assert table.count("not measured: no GPU") == 3
    assert "convolution" in (tmp_path / "kernels.txt").read_text()


def test_each_rung_of_a_gpu_changes_one_thing() -> None:
    rungs = ladder(torch.device("cuda"))
    assert [rung.precision for rung in rungs][:4] == ["float32", "tf32", "tf32", "bfloat16"]
    assert rungs[-1].compile == "cuda-graphs" and rungs[-1].feed and rungs[-1].fused_decoder
    for before, rung in pairwise(rungs):
        changed = [
            name
            for name, value in vars(rung).items()
            if name != "name" and value != getattr(before, name)
        ]
        assert len(changed) == 1, (rung.name, changed)
