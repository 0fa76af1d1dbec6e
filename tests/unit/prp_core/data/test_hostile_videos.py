"""Mutated videos: one verdict each, the same twice, and no door opened.

The long version is `tests/campaigns/test_hostile.py`.
"""

from __future__ import annotations

from pathlib import Path

from tests.tools.hostile_reading import Tally
from tests.tools.hostile_videos import judge_videos

NUM_MUTATIONS = 60


def test_mutated_videos_are_judged_and_open_no_door(tmp_path: Path) -> None:
    tally = Tally()
    judge_videos(tmp_path, range(NUM_MUTATIONS), tally)
    assert tally.breaches == []
    judged = tally.outcomes.total() - tally.outcomes["decoders started again"]
    assert judged == NUM_MUTATIONS
