"""10,000 seeded mutations over file formats and videos: nothing crashes, hangs or reaches out.

``PRP_HOSTILE_MUTATIONS`` sets another number. The short versions are
`tests/contracts/test_hostile_formats.py` and `tests/unit/prp_core/data/test_hostile_videos.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tools.hostile_formats import FORMATS
from tests.tools.hostile_reading import Tally, read_mutated
from tests.tools.hostile_videos import judge_videos

NUM_MUTATIONS = int(os.environ.get("PRP_HOSTILE_MUTATIONS", "10000"))


@pytest.mark.campaign
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str, tmp_path: Path) -> None:
    tally = Tally()
    read_mutated(name, tmp_path, range(1, 1 + NUM_MUTATIONS // 2 // len(FORMATS)), tally)
    tally.print()
    assert tally.breaches == []


@pytest.mark.campaign
@pytest.mark.timeout(14_400)
def test_videos(tmp_path: Path) -> None:
    tally = Tally()
    judge_videos(tmp_path, range(1, 1 + NUM_MUTATIONS // 2), tally)
    tally.print()
    assert tally.breaches == []
