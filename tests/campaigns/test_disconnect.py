"""Drivers that leave their cluster at any moment of what their threads ask it.

    uv run pytest -s -m campaign tests/campaigns/test_disconnect.py

``PRP_CAMPAIGN_DRIVERS=20`` starts as many. In the suite, that no thread is left:
`integration/test_small_ray.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.tools.cluster_nodes import ThreeNodes

pytestmark = pytest.mark.campaign

NUM_DRIVERS = int(os.environ.get("PRP_CAMPAIGN_DRIVERS", "60"))
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(3600)
def test_a_driver_leaves_with_its_own_exit_code_whatever_its_threads_ask() -> None:
    codes = Counter[int]()
    with ThreeNodes() as nodes:
        for _ in range(NUM_DRIVERS):
            words = [sys.executable, "-m", "tests.tools.asking_driver", nodes.address]
            done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
            codes[done.returncode] += 1
            if done.returncode:
                sys.stdout.write(done.stderr[-500:])
    sys.stdout.write(f"{NUM_DRIVERS} drivers, by exit code: {dict(codes)}\n")
    assert codes == {0: NUM_DRIVERS}
