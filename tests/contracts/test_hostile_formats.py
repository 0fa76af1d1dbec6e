"""Every file format that is read: damage gives the right value or one line of ours, and no more.

The long version is `tests/campaigns/test_hostile.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.hostile_formats import FORMATS
from tests.tools.hostile_reading import Tally, read_mutated

NUM_SEEDS = 4


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_refused_or_does_not_matter(name: str, tmp_path: Path) -> None:
    tally = Tally()
    read_mutated(name, tmp_path, range(NUM_SEEDS), tally)
    assert tally.breaches == []
    assert tally.outcomes.total() == NUM_SEEDS
