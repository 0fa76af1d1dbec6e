"""The node cache over a real, faulty S3: only the right bytes become visible."""

from __future__ import annotations

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.config.store_config import StoreConfig
from orchestrator.storage.open_store import open_store
from prp_core.data.cache.node_cache import NodeCache
from prp_core.data.object_store import ObjectRef
from prp_core.data.ranged_read import RANGE_BYTES, read_verified
from prp_core.errors import CorruptObject, ObjectChanged, ObjectMissing
from tests.fixtures_s3 import S3Server
from tests.tools.fault_proxy import FaultProxy

CONTENT = random.Random(7).randbytes(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def _cache(proxy: FaultProxy, bucket: str, folder: Path) -> NodeCache:
    store = open_store(
        f"s3://{bucket}",
        StoreConfig(endpoint_url=proxy.url, read_timeout_seconds=1.0, deadline_seconds=30.0),
    )
    proxy.clear()
    return NodeCache(folder / "cache", 1 << 30, store)


def _put(server: S3Server, bucket: str, key: str, content: bytes) -> ObjectRef:
    etag = server.client().put_object(Bucket=bucket, Key=key, Body=content)["ETag"].strip('"')
    return ObjectRef(key, len(content), etag, hashlib.sha256(content).hexdigest())


def test_a_flipped_byte_is_never_seen(
    s3_environment: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    ref = _put(s3_environment, s3_bucket, "video", CONTENT)
    with FaultProxy(s3_environment.endpoint_url) as proxy:
        cache = _cache(proxy, s3_bucket, tmp_path)
        proxy.add("flip", at=12_345, times=1)
        with cache.open(ref) as path:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256
        assert len(proxy.gets()) == 2
        assert cache.counters["corrupt"] == 1
        proxy.add("flip")
        worse = _put(s3_environment, s3_bucket, "worse", CONTENT[::-1])
        with pytest.raises(CorruptObject, match="worse"), cache.open(worse):
            raise AssertionError("a corrupt file became visible")


def test_a_broken_body_is_resumed_into_one_right_file(
    s3_environment: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    ref = _put(s3_environment, s3_bucket, "video", CONTENT)
    with FaultProxy(s3_environment.endpoint_url) as proxy:
        cache = _cache(proxy, s3_bucket, tmp_path)
        proxy.add("cut", at=600_000, times=1)
        with cache.open(ref) as path:
            assert path.read_bytes() == CONTENT
        ranges = [entry.range for entry in proxy.gets()]
        assert (ranges[0] or "").startswith("bytes=0-")
        assert ranges[1:] and all(not (text or "").startswith("bytes=0-") for text in ranges[1:])
        assert cache.counters["downloads"] == 1


def test_a_large_object_comes_in_ranges_each_of_which_may_break(
    s3_environment: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    content = random.Random(8).randbytes(RANGE_BYTES * 2 + 1000)
    ref = _put(s3_environment, s3_bucket, "shard", content)
    with FaultProxy(s3_environment.endpoint_url) as proxy:
        cache = _cache(proxy, s3_bucket, tmp_path)
        proxy.add("cut", at=RANGE_BYTES // 2, times=2)
        proxy.add("flip", at=5, times=1)
        with cache.open(ref) as path:
            assert path.read_bytes() == content
        assert cache.counters["corrupt"] == 1, (
            "a byte that flips in a range is found like any other"
        )
        # A cut in the second half of a range that was cut before is no cut, and ranges come at
        # once: which are resumed is up to the threads.
        assert len(proxy.gets()) >= 2 * 3 + 1, (
            "three ranges, twice, and at least one of them resumed"
        )
        assert all(entry.num_bytes <= RANGE_BYTES for entry in proxy.gets())


def test_a_flipped_byte_in_a_range_with_a_digest(s3_environment: S3Server, s3_bucket: str) -> None:
    ref = _put(s3_environment, s3_bucket, "shard", CONTENT)
    digest = hashlib.sha256(CONTENT[100_000:300_000]).hexdigest()
    with FaultProxy(s3_environment.endpoint_url) as proxy:
        store = open_store(f"s3://{s3_bucket}", StoreConfig(endpoint_url=proxy.url), check=False)
        proxy.add("flip", at=77, times=2)
        proxy.add("cut", at=50_000, times=1)
        found = read_verified(
            store, ref.key, start=100_000, num_bytes=200_000, sha256=digest, etag=ref.etag
        )
        assert found == CONTENT[100_000:300_000]
        proxy.add("flip", at=77)
        with pytest.raises(CorruptObject, match="shard, bytes 100000 to 299999"):
            read_verified(store, ref.key, start=100_000, num_bytes=200_000, sha256=digest)


def test_an_object_of_another_size_or_time(
    s3_environment: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    old = _put(s3_environment, s3_bucket, "video", CONTENT)
    _put(s3_environment, s3_bucket, "video", CONTENT[:-1])
    cache = NodeCache(tmp_path / "cache", 1 << 30, open_store(f"s3://{s3_bucket}"))
    with pytest.raises(ObjectChanged), cache.open(old):
        pass
    with pytest.raises(ObjectMissing), cache.open(ObjectRef("nowhere", 1, "etag")):
        pass
    assert not [path for path in (tmp_path / "cache" / "unfinished").glob("*") if path.is_file()]


@pytest.mark.parametrize("seed", [1, 2])
def test_many_readers_one_download_each_in_a_storm(
    s3_environment: S3Server, s3_bucket: str, tmp_path: Path, seed: int
) -> None:
    contents = {
        f"{number}": random.Random(f"{seed}/{number}").randbytes(90_000) for number in range(12)
    }
    refs = [_put(s3_environment, s3_bucket, key, content) for key, content in contents.items()]
    with FaultProxy(s3_environment.endpoint_url, seed=seed) as proxy:
        cache = _cache(proxy, s3_bucket, tmp_path)
        for do in ("status", "cut", "short", "flip"):
            proxy.add(do, method="GET", probability=0.08)

        def read(ref: ObjectRef) -> bool:
            with cache.open(ref) as path:
                return path.read_bytes() == contents[ref.key]

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(read, refs * 5))
        assert any(entry.fault for entry in proxy.journal)
        assert cache.counters["misses"] == len(refs)
        assert cache.counters["hits"] == 4 * len(refs)
