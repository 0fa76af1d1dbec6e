"""A sweep's driver killed with SIGKILL during confirmation does no confirming run twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tools.study_process import TINY_PRESET, StudyProcess, confirmed_pairs, sweep_notes


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_a_confirmation_goes_on_after_kill_9(tmp_path: Path, tiny_videos: Path) -> None:
    words = [
        "--preset",
        str(TINY_PRESET),
        "--data",
        str(tiny_videos),
        "--trials",
        "2",
        "--confirm",
        "2",
        "--set",
        "sweep.pruner=none",
    ]
    with StudyProcess(tmp_path, words) as first:
        first.wait_for("with seed 8: retrieval")
        first.kill()
        assert first.left_behind() == []
        sweep_id = first.sweep_id
    with StudyProcess(tmp_path, ["--resume", sweep_id]) as second:
        assert second.wait() == 0, second.output[-4000:]
        assert second.left_behind() == []
    assert confirmed_pairs(first) and not confirmed_pairs(first) & confirmed_pairs(second), (
        "what is done is not done again"
    )
    assert len(confirmed_pairs(first) | confirmed_pairs(second)) == 4
    assert len(json.loads(sweep_notes(tmp_path, sweep_id)["confirmation"])["candidates"]) == 2
