"""10,000 seeded mutations over file formats and videos: nothing crashes, hangs or reaches out.

``PRP_HOSTILE_MUTATIONS`` sets another number. The short version is
`tests/contracts/test_hostile_formats.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tools.hostile_formats import FORMATS
from tests.tools.hostile_reading import Tally, read_mutated

NUM_MUTATIONS = int(os.environ.get("PRP_HOSTILE_MUTATIONS", "10000"))


@pytest.mark.campaign
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str, tmp_path: Path) -> None:
    tally = Tally()
    read_mutated(name, tmp_path, range(1, 1 + NUM_MUTATIONS // 2 // len(FORMATS)), tally)
    tally.print()
    assert tally.breaches == []
