"""Conditional writes over a real S3 server whose replies get lost, and servers that cannot do them.

The servers that cannot are the real one too: a bucket that anybody may write to, behind a proxy
that takes the signature and the condition out of each request.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.store_config import StoreConfig
from orchestrator.storage.conditional_writes import check_conditional_writes
from orchestrator.storage.open_store import open_store
from orchestrator.storage.retrying_store import RetryingStore
from orchestrator.storage.s3_store import S3Store
from prp_core.data.object_store import LocalStore, ObjectStore, read_all
from prp_core.errors import ObjectChanged, ObjectExists, StoreUnavailable, UserError
from tests.fixtures_s3 import S3Server
from tests.tools.fault_proxy import FaultProxy

UNSIGNED = r"(?i)\r\nauthorization: [^\r]*"


@pytest.fixture
def store(proxy: FaultProxy, s3_bucket: str) -> ObjectStore:
    """A bucket through the proxy."""
    return _through(proxy, s3_bucket)


@pytest.fixture
def public_store(proxy: FaultProxy, s3_environment: S3Server) -> ObjectStore:
    """A bucket that anybody may write to, through the proxy."""
    bucket = s3_environment.make_bucket()
    s3_environment.client().put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    return _through(proxy, bucket)


def _through(proxy: FaultProxy, bucket: str) -> ObjectStore:
    config = StoreConfig(endpoint_url=proxy.url, read_timeout_seconds=2.0, deadline_seconds=20.0)
    store = open_store(f"s3://{bucket}", config)
    proxy.clear()
    return store


def _put_statuses(proxy: FaultProxy) -> list[int]:
    return [entry.status for entry in proxy.journal if entry.method == "PUT"]


def test_a_lost_reply_of_a_replacement_is_no_lost_race(
    store: ObjectStore, proxy: FaultProxy
) -> None:
    first = store.write("lease", b"first", if_absent=True)
    proxy.clear()
    proxy.add("lose", method="PUT", times=1)
    second = store.write("lease", b"second", if_match=first.etag)
    assert _put_statuses(proxy) == [200, 412]
    assert read_all(store, "lease", etag=second.etag) == b"second"
    with pytest.raises(ObjectChanged, match=f"lease is no longer {first.etag}"):
        store.write("lease", b"third", if_match=first.etag)
    assert read_all(store, "lease") == b"second"


@pytest.mark.parametrize("condition", ["if_absent", "if_match"])
def test_a_lost_reply_and_a_lost_race(
    store: ObjectStore, proxy: FaultProxy, s3_environment: S3Server, condition: str
) -> None:
    """Ours was applied, its reply got lost, and another replaced it before we asked again."""
    other = open_store(store.uri)
    etag = other.write("lease", b"first").etag if condition == "if_match" else None
    patient = RetryingStore(
        S3Store(store.uri, StoreConfig(endpoint_url=proxy.url)),
        sleep=lambda seconds: other.write("lease", b"another's") and None,
    )
    proxy.clear()
    proxy.add("lose", method="PUT", times=1)
    with pytest.raises(ObjectChanged if etag else ObjectExists, match="lease is"):
        patient.write("lease", b"ours", if_absent=etag is None, if_match=etag)
    assert _put_statuses(proxy) == [200, 412]
    assert read_all(store, "lease") == b"another's"


def test_a_reply_that_is_late_beyond_all_patience(store: ObjectStore, proxy: FaultProxy) -> None:
    first = store.write("lease", b"first", if_absent=True)
    impatient = RetryingStore(S3Store(store.uri, StoreConfig(endpoint_url=proxy.url)), 0.0)
    proxy.add("lose", method="PUT", times=1)
    with pytest.raises(StoreUnavailable, match="lease"):
        impatient.write("lease", b"second", if_match=first.etag)
    with pytest.raises(ObjectChanged, match=f"lease is no longer {first.etag}"):
        impatient.write("lease", b"second", if_match=first.etag)
    assert read_all(store, "lease") == b"second", "in doubt until it is read"


def test_stores_that_can(store: ObjectStore, proxy: FaultProxy, tmp_path: Path) -> None:
    check_conditional_writes(store)
    assert len(proxy.journal) <= 8
    assert list(store.list()) == []
    check_conditional_writes(LocalStore(tmp_path / "folder"))
    assert list((tmp_path / "folder").iterdir()) == []


CANNOT = {
    "if-none-match": r"overwrites an object in a write with If-None-Match: \*, and without "
    "conditional writes two drivers",
    "if-match": "overwrites an object that has changed in a write with If-Match",
}


@pytest.mark.parametrize(("field", "text"), CANNOT.items(), ids=CANNOT.keys())
def test_a_store_that_ignores_conditions(
    public_store: ObjectStore, proxy: FaultProxy, field: str, text: str
) -> None:
    proxy.add("rewrite", head=rf"(?i)\r\n{field}: ", name=UNSIGNED, value="")
    proxy.add("rewrite", name=rf"(?i)\r\n{field}: [^\r]*", value="")
    with pytest.raises(
        UserError,
        match=f"^{public_store.uri} cannot hold a sweep: it {text}.*; Amazon S3, Ceph, MinIO and a "
        "local folder can: choose another --storage$",
    ):
        check_conditional_writes(public_store)
    assert list(public_store.list()) == [], "nothing is left behind"


def test_a_store_that_refuses_conditions(store: ObjectStore, proxy: FaultProxy) -> None:
    proxy.add("status", method="PUT", head="(?i)if-match", code=501, name="NotImplemented")
    with pytest.raises(
        UserError,
        match=r"it refuses conditional writes \(s3://.*: the store answered 501 NotImplemented\)",
    ):
        check_conditional_writes(store)
    assert [entry.status for entry in proxy.journal if entry.fault] == [501], "not asked again"


def test_a_store_that_is_away_is_not_called_unable(store: ObjectStore, proxy: FaultProxy) -> None:
    impatient = RetryingStore(S3Store(store.uri, StoreConfig(endpoint_url=proxy.url)), 0.0)
    proxy.add("status", code=503)
    with pytest.raises(StoreUnavailable, match="throttles"):
        check_conditional_writes(impatient)


def test_a_server_that_wants_quotes(public_store: ObjectStore, proxy: FaultProxy) -> None:
    """The standard's form of `If-Match`; the test server itself takes the other form alone."""
    proxy.add("status", method="PUT", head='(?i)if-match: [^"]', code=412, name="Precondition")
    proxy.add("rewrite", head='(?i)if-match: "', name=UNSIGNED, value="")
    proxy.add("rewrite", name=r'(?i)\r\nif-match: "([^"]*)"', value=r"\r\nif-match: \1")
    first = public_store.write("lease", b"first")
    second = public_store.write("lease", b"second", if_match=first.etag)
    assert _put_statuses(proxy) == [200, 412, 200]
    third = public_store.write("lease", b"third", if_match=second.etag)
    assert _put_statuses(proxy) == [200, 412, 200, 200], "the form is remembered"
    for lost in (first, second):
        with pytest.raises(ObjectChanged, match="is no longer"):
            public_store.write("lease", b"fourth", if_match=lost.etag)
    assert list(public_store.list()) == [third]
