"""Training samples under every network fault: equal bytes, and what throughput is left.

    uv run pytest -s -m campaign tests/campaigns/test_faults.py

Each row is one kind of fault, or all of them mixed, at one share of the requests; clean and faulty
runs alternate, each with an empty cache.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest

from tests.fixtures_s3 import S3Server
from tests.sample_stream import FAULTS, StreamReport, add_faults, read_stream, upload_videos
from tests.tools.fault_proxy import FaultProxy

pytestmark = pytest.mark.campaign

NUM_ROUNDS = 3
# The share of the clean run's throughput that has to be left.
GOALS = {0.01: 0.90, 0.05: 0.75, 0.20: 0.40}
KINDS = {"mixed": tuple(FAULTS), **{kind: (kind,) for kind in FAULTS}}


@pytest.fixture(scope="module")
def corpus(s3_server: S3Server) -> tuple[str, list]:
    bucket = s3_server.make_bucket()
    return bucket, upload_videos(
        s3_server, bucket, num_videos=64, num_frames=96, height=240, width=320
    )


@pytest.mark.parametrize("share", GOALS)
@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS.keys())
def test_the_stream_under_faults(
    s3_environment: S3Server,
    corpus: tuple[str, list],
    tmp_path: Path,
    share: float,
    kinds: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bucket, records = corpus
    clean: list[StreamReport] = []
    faulty: list[StreamReport] = []
    num_requests = num_faults = 0
    for number in range(NUM_ROUNDS):
        with FaultProxy(s3_environment.endpoint_url, seed=number) as proxy:
            clean.append(read_stream(proxy.url, bucket, records, tmp_path))
            proxy.clear()
            add_faults(proxy, share, kinds)
            faulty.append(read_stream(proxy.url, bucket, records, tmp_path))
            num_requests += len(proxy.journal)
            num_faults += sum(entry.fault is not None for entry in proxy.journal)
    assert len({report.digest for report in clean + faulty}) == 1
    assert all(report.counters["data/replaced"] == 0 for report in faulty)
    left = statistics.median(a.seconds / b.seconds for a, b in zip(clean, faulty, strict=True))
    seconds = [
        f"{statistics.median(report.seconds for report in reports):.2f} s"
        for reports in (clean, faulty)
    ]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{'+'.join(kinds)} at {share:.0%} ({num_faults} of {num_requests}): "
            f"{left:.2f} of {seconds[0]} clean, {seconds[1]}\n"
        )
    assert left >= GOALS[share]
