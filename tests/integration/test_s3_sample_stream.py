"""Training samples from a bucket are equal bytes whatever the network or the server does.

The long version, with throughput, is `tests/campaigns/test_faults.py`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.config.store_config import StoreConfig
from orchestrator.storage.open_store import open_store
from orchestrator.storage.retrying_store import RetryingStore
from prp_core.data.manifest import VideoRecord
from prp_core.data.object_store import read_all
from tests.fixtures_s3 import S3Server, running_server
from tests.sample_stream import StreamReport, add_faults, read_stream, upload_videos
from tests.tools.fault_proxy import FaultProxy


@pytest.fixture(scope="module")
def corpus(s3_server: S3Server) -> tuple[str, list[VideoRecord]]:
    bucket = s3_server.make_bucket()
    return bucket, upload_videos(
        s3_server, bucket, num_videos=24, num_frames=40, height=64, width=96
    )


@pytest.fixture(scope="module")
def clean(
    s3_server: S3Server,
    corpus: tuple[str, list[VideoRecord]],
    tmp_path_factory: pytest.TempPathFactory,
) -> StreamReport:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment.items():
            patch.setenv(name, value)
        return read_stream(s3_server.endpoint_url, *corpus, tmp_path_factory.mktemp("clean"))


def test_the_samples_are_the_same_under_faults(
    s3_environment: S3Server,
    corpus: tuple[str, list[VideoRecord]],
    clean: StreamReport,
    tmp_path: Path,
) -> None:
    assert clean.counters["data/store_retries"] == 0
    assert (
        clean.counters["data/store_requests"]
        == clean.counters["data/cache_downloads"]
        == len(corpus[1])
    )
    assert clean.counters["data/store_bytes"] == sum(record.num_bytes for record in corpus[1])
    seen = set()
    for share, seed in ((0.05, 1), (0.20, 2)):
        with FaultProxy(s3_environment.endpoint_url, seed=seed) as proxy:
            add_faults(proxy, share)
            report = read_stream(proxy.url, *corpus, tmp_path, first_read_timeout_seconds=0.3)
            seen |= {entry.fault for entry in proxy.journal if entry.fault}
            assert report.digest == clean.digest
            assert report.counters["data/replaced"] == report.counters["data/quarantined"] == 0
            assert report.counters["data/store_requests"] == len(proxy.journal)
    assert len(seen) >= 3, "several kinds of fault were really met"


@pytest.mark.parametrize("kind", ["flip", "stall", "expired", "throttled"])
def test_each_fault_alone(
    kind: str,
    s3_environment: S3Server,
    corpus: tuple[str, list[VideoRecord]],
    clean: StreamReport,
    tmp_path: Path,
) -> None:
    with FaultProxy(s3_environment.endpoint_url, seed=5) as proxy:
        add_faults(proxy, 0.3, (kind,))
        report = read_stream(proxy.url, *corpus, tmp_path, first_read_timeout_seconds=0.3)
        assert sum(entry.fault is not None for entry in proxy.journal) >= 3
    assert report.digest == clean.digest
    causes = {"throttled": "throttled", "expired": "credentials"}
    if kind == "flip":
        assert report.counters["data/cache_corrupt"] >= 3
    else:
        assert report.counters[f"data/store_retries_{causes.get(kind, 'network')}"] >= 3


@pytest.fixture(scope="module")
def narrow_server() -> Iterator[S3Server]:
    """A server that serves two requests at a time and answers the others with its own 503."""
    with running_server("rgw_max_concurrent_requests = 2") as server:
        yield server


def test_the_server_s_own_throttling(
    narrow_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in narrow_server.environment.items():
        monkeypatch.setenv(name, value)
    bucket = narrow_server.make_bucket()
    content = {f"{number:02d}": bytes([number]) * 3_000_000 for number in range(8)}
    for key, data in content.items():
        narrow_server.client().put_object(Bucket=bucket, Key=key, Body=data)
    store = open_store(f"s3://{bucket}", StoreConfig(deadline_seconds=60.0))
    assert isinstance(store, RetryingStore)
    together = threading.Barrier(16)

    def read(number: int) -> bool:
        if number < 16:
            together.wait(30)
        key = f"{number % 8:02d}"
        return (
            hashlib.sha256(read_all(store, key)).digest() == hashlib.sha256(content[key]).digest()
        )

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(read, range(64)))
    assert store.counters["retries_throttled"] > 0, "the server itself said 503"
    assert store.counters["wait_seconds"] > 0
