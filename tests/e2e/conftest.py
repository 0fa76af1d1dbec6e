"""The sweep that several files look at: run once in a test process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.disturbed_sweep import Swept, sweep_with_disturbances


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory, tiny_videos: Path) -> Swept:
    """A sweep of 4 trials that was interrupted and killed on its way to the end."""
    return sweep_with_disturbances(tmp_path_factory.mktemp("swept"), tiny_videos)
