"""Small sets of real encoded videos in class folders, made once for each test session."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.data.demo_videos import MOTIONS, DemoSettings, make


@pytest.fixture(scope="session")
def tiny_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 30 short demo videos, 6 classes of 5 scenes."""
    return make(
        tmp_path_factory.mktemp("tiny-videos"),
        DemoSettings(
            landscapes=("Islands",),
            motions=tuple(MOTIONS),
            num_scenes=5,
            clips_per_scene=1,
            min_frames=40,
            max_frames=60,
        ),
    )
