"""The S3 store behind a proxy that throttles, resets, cuts and stalls, and users' mistakes."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.store_config import StoreConfig
from orchestrator.storage.open_store import open_store, split_object_uri
from orchestrator.storage.retrying_store import RetryingStore
from orchestrator.storage.s3_store import S3Store
from prp_core.data.object_store import ObjectStore, read_all
from prp_core.errors import ObjectChanged, ObjectExists, StoreUnavailable, UserError
from tests.fixtures_s3 import AWS_VARIABLES, S3Server
from tests.tools.fault_proxy import FaultProxy

MIB = 1 << 20
CONTENT = random.Random(0).randbytes(3 * MIB)


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> str:
    """A bucket that holds `CONTENT` under the key ``object``."""
    name = s3_server.make_bucket()
    s3_server.client().put_object(Bucket=name, Key="object", Body=CONTENT)
    return name


@pytest.fixture
def store(proxy: FaultProxy, bucket: str) -> RetryingStore:
    """The bucket through the proxy, with little patience for silence."""
    config = StoreConfig(endpoint_url=proxy.url, read_timeout_seconds=1.0, deadline_seconds=20.0)
    store = open_store(f"s3://{bucket}", config)
    assert isinstance(store, RetryingStore)
    proxy.clear()
    return store


FAULTS: dict[str, tuple[dict[str, Any], int]] = {
    "throttled": ({"do": "status", "code": 503, "times": 3}, 3),
    "server error": ({"do": "status", "code": 500, "times": 2}, 2),
    "reset before the answer": ({"do": "reset", "times": 2}, 2),
    "reset in the body": ({"do": "reset", "at": MIB, "times": 1}, 1),
    "cut in the body": ({"do": "cut", "at": 2 * MIB, "times": 1}, 1),
    "cut before the body": ({"do": "cut", "at": 0, "times": 1}, 1),
    "short by one byte": ({"do": "short", "by": 1, "times": 1}, 1),
    "short by half": ({"do": "short", "by": MIB, "times": 2}, 2),
    "stalled": ({"do": "stall", "at": MIB, "seconds": 30, "times": 1}, 1),
    "no answer": ({"do": "hang", "seconds": 30, "times": 1}, 1),
    "slow, but coming": ({"do": "rate", "bytes_per_second": 4 * MIB, "times": 1}, 0),
}


@pytest.mark.parametrize(("fault", "num_retries"), FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("knows_size", [True, False], ids=["of known size", "whole"])
def test_the_bytes_arrive_whatever_happens(
    store: RetryingStore,
    proxy: FaultProxy,
    fault: dict[str, Any],
    num_retries: int,
    knows_size: bool,
) -> None:
    proxy.add(**fault)
    num_bytes = len(CONTENT) if knows_size else None
    assert b"".join(store.read("object", num_bytes=num_bytes)) == CONTENT
    assert store.counters["retries"] == num_retries
    assert store.counters["requests"] == len(proxy.journal)
    assert len(proxy.gets()) == num_retries + 1
    received = sum(entry.num_bytes for entry in proxy.gets())
    assert received <= len(CONTENT) + num_retries * MIB, "a broken body is resumed, not read again"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_many_readers_in_a_storm(s3_environment: S3Server, bucket: str, seed: int) -> None:
    contents = {
        f"storm-{seed}/{number}": random.Random(f"{seed}/{number}").randbytes(20_000 * (number + 1))
        for number in range(24)
    }
    with FaultProxy(s3_environment.endpoint_url, seed=seed) as proxy:
        for do in ("status", "reset", "cut", "short"):
            proxy.add(do, probability=0.12)
        proxy.add("reset", at=30_000, probability=0.2)
        proxy.add("lose", method="PUT", probability=0.1)
        store = open_store(
            f"s3://{bucket}",
            StoreConfig(endpoint_url=proxy.url, read_timeout_seconds=2.0, deadline_seconds=60.0),
        )
        with ThreadPoolExecutor(8) as pool:
            written = dict(
                zip(
                    contents,
                    pool.map(lambda key: store.write(key, contents[key], if_absent=True), contents),
                    strict=True,
                )
            )
            assert {info.key: info for info in store.list(f"storm-{seed}/")} == written
            read = pool.map(
                lambda key: b"".join(
                    store.read(key, num_bytes=written[key].num_bytes, etag=written[key].etag)
                ),
                contents,
            )
            assert list(read) == list(contents.values())
        num_faults = sum(entry.fault is not None for entry in proxy.journal)
    assert num_faults >= 10


def test_a_lost_answer_does_not_lose_the_race_against_oneself(
    store: RetryingStore, proxy: FaultProxy
) -> None:
    proxy.add("lose", method="PUT", times=1)
    info = store.write("once", b"content", if_absent=True)
    assert [entry.status for entry in proxy.journal if entry.method == "PUT"] == [200, 412]
    assert info in list(store.list("once"))
    with pytest.raises(ObjectExists, match="once"):
        store.write("once", b"content", if_absent=True)


def test_an_object_that_changes_while_it_is_read(
    store: RetryingStore, proxy: FaultProxy, s3_environment: S3Server, bucket: str
) -> None:
    s3_environment.client().put_object(Bucket=bucket, Key="changing", Body=CONTENT)
    proxy.add("cut", at=MIB, times=1)
    pieces = store.read("changing")
    next(pieces)
    s3_environment.client().put_object(Bucket=bucket, Key="changing", Body=CONTENT[::-1])
    with pytest.raises(ObjectChanged, match="changing"):
        list(pieces)


def test_a_store_that_stays_away(proxy: FaultProxy, bucket: str) -> None:
    store = open_store(
        f"s3://{bucket}",
        StoreConfig(endpoint_url=proxy.url, read_timeout_seconds=0.3, deadline_seconds=1.0),
    )
    proxy.add("status", code=503)
    with pytest.raises(
        StoreUnavailable,
        match=f"s3://{bucket}/object: the store throttles requests .503 SlowDown.; gave up after",
    ):
        read_all(store, "object")


def test_listing_goes_on_after_a_key(s3_environment: S3Server, bucket: str) -> None:
    client = s3_environment.client()
    for name in ("a", "b", "b/", "c", "d/e"):
        client.put_object(
            Bucket=bucket, Key=f"keys/{name}", Body=b"" if name.endswith("/") else b"x"
        )
    store = S3Store(f"s3://{bucket}/keys")
    assert [info.key for info in store.list()] == ["a", "b", "c", "d/e"]
    assert [info.key for info in store.list(after="b")] == ["c", "d/e"]


def test_expired_credentials_are_read_anew(
    proxy: FaultProxy,
    s3_environment: S3Server,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write_credentials(secret: str) -> None:
        file.write_text(
            "[default]\naws_access_key_id = "
            f"{s3_environment.access_key}\naws_secret_access_key = {secret}\n"
        )

    file = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    write_credentials("of-yesterday")
    proxy.add("status", code=400, name="ExpiredToken", times=1)
    inner = S3Store(f"s3://{bucket}", StoreConfig(endpoint_url=proxy.url))
    store = RetryingStore(inner, sleep=lambda seconds: write_credentials(s3_environment.secret_key))
    assert read_all(store, "object") == CONTENT
    assert store.counters["retries_credentials"] == 1


def test_credentials_that_stay_expired(proxy: FaultProxy, bucket: str) -> None:
    proxy.add("status", code=400, name="ExpiredToken")
    with pytest.raises(
        UserError, match=f"s3://{bucket}: the credentials have expired .ExpiredToken.; renew them"
    ):
        open_store(f"s3://{bucket}", StoreConfig(endpoint_url=proxy.url, deadline_seconds=1.0))


def test_a_bucket_that_does_not_exist(s3_environment: S3Server) -> None:
    with pytest.raises(
        UserError,
        match=r"^s3://no-such-bucket/videos: there is no such bucket; check its name, the endpoint",
    ):
        open_store("s3://no-such-bucket/videos")


def test_no_credentials(
    s3_environment: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(
        UserError, match=f"^s3://{bucket}: no usable credentials .NoCredentialsError.*; log in"
    ):
        open_store(f"s3://{bucket}")
    with pytest.raises(
        UserError, match=f"^s3://{bucket}: no usable credentials .ProfileNotFound.*nobody"
    ):
        open_store(f"s3://{bucket}", StoreConfig(profile="nobody"))


def test_wrong_credentials(
    s3_environment: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret")
    with pytest.raises(UserError, match="access denied; check the credentials") as caught:
        open_store(f"s3://{bucket}")
    assert "a-wrong-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "name", "text"),
    [
        (
            403,
            "InvalidAccessKeyId",
            "the store does not know this access key; check AWS_ACCESS_KEY_ID",
        ),
        (403, "SignatureDoesNotMatch", "the secret key does not belong to the access key"),
        (403, "RequestTimeTooSkewed", "the clock of this machine is wrong"),
        (400, "AuthorizationHeaderMalformed", "signed for another region"),
        (403, "SomethingNew", r"access denied; .* \(SomethingNew\)"),
    ],
)
def test_mistakes_that_only_some_servers_name(
    proxy: FaultProxy, bucket: str, code: int, name: str, text: str
) -> None:
    proxy.add("status", code=code, name=name)
    with pytest.raises(UserError, match=text):
        open_store(f"s3://{bucket}", StoreConfig(endpoint_url=proxy.url))


def test_access_denied(s3_environment: S3Server) -> None:
    bucket = s3_environment.make_bucket()
    s3_environment.client().put_object(Bucket=bucket, Key="secret", Body=b"x")
    resource = [f"arn:aws:s3:::{bucket}/*"]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": resource}
        ],
    }
    s3_environment.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    with pytest.raises(
        UserError,
        match=f"s3://{bucket}/secret: access denied; check the credentials, which need "
        "s3:ListBucket",
    ):
        read_all(open_store(f"s3://{bucket}"), "secret")


def test_an_endpoint_that_nobody_listens_at(s3_environment: S3Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            UserError,
            match=f"The store cannot be used: s3://some-bucket: no connection to {url}; .* "
            "Check store.endpoint_url",
        ):
            open_store("s3://some-bucket", StoreConfig(endpoint_url=url, deadline_seconds=0.5))


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("s3://", "'s3://' names no bucket; write s3://bucket or s3://bucket/prefix"),
        ("s3:/bucket", "'s3:/bucket' names no bucket"),
        ("gs://bucket", "Unknown kind of store 'gs'; known: file, s3"),
        ("file://elsewhere/folder", "names no folder of this machine"),
        ("", "names no folder; an empty variable?"),
    ],
)
def test_places_that_are_none(uri: str, text: str) -> None:
    with pytest.raises(UserError, match=text):
        open_store(uri)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket/m.parquet", ("s3://bucket", "m.parquet")),
        ("s3://bucket/a b/m.parquet", ("s3://bucket/a b", "m.parquet")),
        ("file:///tmp/a%20b/m%20n.parquet", ("file:///tmp/a%20b", "m n.parquet")),
        ("/tmp/m.parquet", ("/tmp", "m.parquet")),
        ("m.parquet", (".", "m.parquet")),
    ],
)
def test_the_store_and_the_key_of_an_object(uri: str, expected: tuple[str, str]) -> None:
    assert split_object_uri(uri) == expected


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://", "folder/", "file://"])
def test_places_that_hold_no_object(uri: str) -> None:
    with pytest.raises(UserError, match="names no object"):
        split_object_uri(uri)


def test_settings_that_are_wrong() -> None:
    with pytest.raises(UserError, match=r"store.endpoint_url = 'localhost:9000': must be a URL"):
        StoreConfig(endpoint_url="localhost:9000")
    with pytest.raises(UserError, match="must not hold credentials") as caught:
        StoreConfig(endpoint_url="https://user:hunter2@s3.example.org")
    assert "hunter2" not in str(caught.value)


def _read_in_child(store: ObjectStore) -> tuple[int, bytes]:
    return os.getpid(), read_all(store, "object")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_process_has_connections_of_its_own(store: RetryingStore, method: str) -> None:
    assert read_all(store, "object") == CONTENT
    with multiprocessing.get_context(method).Pool(2) as pool:
        answers = pool.map(_read_in_child, [store] * 4, chunksize=1)
    assert all(pid != os.getpid() and content == CONTENT for pid, content in answers)
    assert read_all(store, "object") == CONTENT


def test_no_secret_crosses_to_another_process(
    store: RetryingStore, s3_environment: S3Server
) -> None:
    read_all(store, "object")
    crossed = pickle.dumps(store) + repr(store).encode()
    assert s3_environment.secret_key.encode() not in crossed
    assert s3_environment.access_key.encode() not in crossed
    assert set(s3_environment.environment) <= set(AWS_VARIABLES)
