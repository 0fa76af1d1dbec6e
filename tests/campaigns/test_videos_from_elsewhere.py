"""Campaign: selective decoding of videos that we did not make, against a full decode.

``PRP_VIDEOS_FROM_ELSEWHERE`` names a folder of them, which is searched through. The suite's own
part is `tests/contracts/test_readers_selective.py`, on videos that it makes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from prp_core.data.readers.sequential_reader import SequentialReader
from prp_core.errors import BrokenVideo
from tests.contracts.test_readers_selective import check_selective_decode

pytestmark = pytest.mark.campaign
VARIABLE = "PRP_VIDEOS_FROM_ELSEWHERE"
SUFFIXES = {".avi", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm"}


def test_videos_from_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    folder = os.environ.get(VARIABLE, "")
    assert folder, f"{VARIABLE} has to name a folder of videos"
    read, broken = 0, list[str]()
    for path in sorted(path for path in Path(folder).rglob("*") if path.suffix in SUFFIXES):
        try:
            if next(SequentialReader(str(path)).frames(), None) is None:
                raise BrokenVideo(str(path), "undecodable", "no frame")
            check_selective_decode(path, seed=1, count=2)
        except BrokenVideo as error:
            broken.append(f"{path.name}: {error.reason}")
        else:
            read += 1
    with capsys.disabled():
        sys.stdout.write(f"\n{read} videos read as a full decode reads them; not read: {broken}\n")
    assert read, f"no video below {folder} could be read"
