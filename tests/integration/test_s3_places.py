"""Buckets in practice: other regions, requester pays, expiring credentials, changed objects."""

from __future__ import annotations

import json
import secrets
import shlex
import time
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from orchestrator.config.cache_config import CacheConfig
from orchestrator.config.store_config import StoreConfig
from orchestrator.data.index import IndexJob, index
from orchestrator.data.label_source import LabelSource
from orchestrator.data.manifest_check import check_unchanged
from orchestrator.storage.open_store import open_store
from orchestrator.storage.store_region import check_region
from orchestrator.sweep.leaderboard import data_lines
from orchestrator.trial.messages import TrialView
from prp_core.data.cache.node_cache import NodeCache
from prp_core.data.clip_config import ClipConfig
from prp_core.data.loader import SpanLoader
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.object_store import read_all
from prp_core.data.video_source import VideoSource
from prp_core.errors import UserError
from prp_core.world import World
from tests.fixtures_s3 import S3Server
from tests.sample_stream import encode_video
from tests.span_sampling import sampling_of
from tests.tools.fault_proxy import FaultProxy


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> str:
    name = s3_server.make_bucket()
    s3_server.client().put_object(Bucket=name, Key="object", Body=b"content")
    return name


def test_the_owner_of_a_bucket_does_not_pay(proxy: FaultProxy, bucket: str) -> None:
    for pays in (True, False):
        store = open_store(
            f"s3://{bucket}", StoreConfig(endpoint_url=proxy.url, requester_pays=pays)
        )
        assert read_all(store, "object") == b"content"
        store.write("other", b"x")
        store.delete("other")
        said = [entry.fields.get("x-amz-request-payer") for entry in proxy.journal]
        assert said == ["requester" if pays else None] * 4, "a listing, a read, a write, a deletion"
        proxy.clear()


@pytest.mark.parametrize(
    ("addressing", "expected"),
    [
        ("auto", "http://s3.example.test/{}"),
        ("path", "http://s3.example.test/{}"),
        ("virtual", "http://{}.s3.example.test/"),
    ],
)
def test_where_the_bucket_s_name_goes(
    proxy: FaultProxy, bucket: str, monkeypatch: pytest.MonkeyPatch, addressing: str, expected: str
) -> None:
    monkeypatch.setenv(
        "HTTP_PROXY", proxy.url
    )  # so that a request arrives whose host nobody can resolve, with its whole URL
    monkeypatch.setenv("NO_PROXY", "")
    proxy.add("status", code=404, name="NoSuchBucket")
    with pytest.raises(UserError, match="there is no such bucket"):
        open_store(
            f"s3://{bucket}",
            StoreConfig(endpoint_url="http://s3.example.test", addressing=addressing),
        )
    assert [entry.path.split("?")[0] for entry in proxy.journal] == [expected.format(bucket)]


def test_a_bucket_of_another_region(proxy: FaultProxy, bucket: str) -> None:
    here = {
        "endpoint_url": proxy.url,
        "region": "us-east-1",
    }  # this machine's is AWS_REGION = us-east-1
    uri = f"s3://{bucket}/videos"
    assert "does not say in which region" in check_region(uri, StoreConfig(**here))
    proxy.add("field", name="x-amz-bucket-region", value="eu-west-1")
    with pytest.raises(
        UserError,
        match=f"{uri} lies in eu-west-1, and this machine runs in us-east-1: downloads would "
        "cost about .20 per TB",
    ):
        check_region(uri, StoreConfig(**here))
    with pytest.raises(UserError, match="lies in eu-west-1"):
        index(IndexJob(uri=uri, store=StoreConfig(**here)))
    assert "allowed by store.allow_other_region" in check_region(
        uri, StoreConfig(**here, allow_other_region=True)
    )
    assert check_region(uri, StoreConfig(endpoint_url=proxy.url)) == "", (
        "a server of one's own has no regions unless somebody says so"
    )
    proxy.clear()
    proxy.add("field", name="x-amz-bucket-region", value="us-east-1")
    assert check_region(uri, StoreConfig(**here)) == ""
    proxy.clear()
    proxy.add("status", code=503)
    assert "does not say in which region" in check_region(uri, StoreConfig(**here)), (
        "what cannot be known refuses nothing"
    )


def test_credentials_that_end_in_the_middle_of_a_read(
    proxy: FaultProxy,
    s3_environment: S3Server,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sessions of the server's own STS that live for ten seconds, handed out by a
    `credential_process`, as SSO and vaults do.
    """
    content = bytes(range(256)) * 20_000
    s3_environment.client().put_object(Bucket=bucket, Key="large", Body=content)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    printed, config, role = (
        tmp_path / "credentials.json",
        tmp_path / "config",
        _make_role(s3_environment),
    )
    config.write_text(f"[default]\ncredential_process = cat {shlex.quote(str(printed))}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    sts = _client(s3_environment, "sts")
    first = _hand_out_session(sts, role, printed)
    store = open_store(f"s3://{bucket}", StoreConfig(endpoint_url=proxy.url))
    proxy.clear()
    proxy.add("cut", at=1_000_000, times=1)
    pieces = store.read("large")
    received = next(pieces)
    _wait_until_refused(s3_environment, bucket, first)
    second = _hand_out_session(sts, role, printed)
    received += b"".join(pieces)
    assert received == content
    assert [(entry.fields["x-amz-security-token"], entry.status) for entry in proxy.journal] == [
        (first["SessionToken"], 206),
        (second["SessionToken"], 206),
    ], "the rest was signed with the next session, and nobody tried with the one that had ended"


def test_credentials_that_are_renewed_too_late(
    proxy: FaultProxy,
    s3_environment: S3Server,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    printed, config = tmp_path / "credentials.json", tmp_path / "config"
    keys = {"AccessKeyId": s3_environment.access_key, "SecretAccessKey": s3_environment.secret_key}
    printed.write_text(
        json.dumps(
            {
                "Version": 1,
                **keys,
                "SessionToken": "of-yesterday",
                "Expiration": "2020-01-01T00:00:00Z",
            }
        )
    )
    config.write_text(f"[default]\ncredential_process = cat {shlex.quote(str(printed))}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    with pytest.raises(
        UserError,
        match=f"s3://{bucket}: the credentials have expired and were not renewed in time; "
        "renew them",
    ):
        open_store(f"s3://{bucket}", StoreConfig(endpoint_url=proxy.url, deadline_seconds=1.0))
    assert proxy.journal == []


def _hand_out_session(sts: Any, role: str, path: Path) -> dict[str, Any]:
    """Write what a `credential_process` prints: a fresh session of ten seconds."""
    answer = sts.assume_role(RoleArn=role, RoleSessionName="test", DurationSeconds=10)[
        "Credentials"
    ]
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    printed = {
        "Version": 1,
        **{name: answer[name] for name in names},
        "Expiration": answer["Expiration"].isoformat(),
    }
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(printed))
    beside.rename(path)
    return printed


def _make_role(server: S3Server) -> str:
    """The ARN of a role that the server's user may assume and that may do everything with S3."""
    iam = _client(server, "iam")
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": ["arn:aws:iam:::user/test"]},
        "Action": ["sts:AssumeRole"],
    }
    allowed = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}
    # Without spaces: this server takes the plus sign that a form writes for one as it stands.
    policies = [
        json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))
        for statement in (trust, allowed)
    ]
    name = f"reader-{secrets.token_hex(4)}"
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policies[0])["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=policies[1])
    return arn


def _client(server: S3Server, service: str) -> Any:
    return boto3.session.Session().client(  # type: ignore[call-overload]
        service,
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        config=Config(
            parameter_validation=False
        ),  # Amazon's shortest session is 900 s; this server was told that 1 s will do
    )


def _wait_until_refused(server: S3Server, bucket: str, token: dict[str, Any]) -> None:
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=token["AccessKeyId"],
        aws_secret_access_key=token["SecretAccessKey"],
        aws_session_token=token["SessionToken"],
        region_name="us-east-1",
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            client.get_object(Bucket=bucket, Key="object", Range="bytes=0-0")
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403)
            return
        time.sleep(0.2)
    raise AssertionError("the session of ten seconds was still good after thirty")


@pytest.fixture(scope="module")
def hashed(s3_server: S3Server) -> str:
    """A bucket whose videos lie under prefixes of two hex digits, as S3 likes them spread."""
    name, client = s3_server.make_bucket(), s3_server.client()
    content = encode_video(1, 30, 64, 96)
    for number in range(12):
        client.put_object(
            Bucket=name,
            Key=f"corpus/{(number * 37 + 10) % 256:02x}/video-{number:02d}.mp4",
            Body=content,
        )
    return name


def _index(bucket: str, folder: Path, **how: Any) -> dict[str, Any]:
    job = IndexJob(
        uri=f"s3://{bucket}/corpus",
        out_uri=folder / "out",
        labels=LabelSource(**how),
        cache=CacheConfig(dir=str(folder / "cache")),
        state_dir=folder / "state",
        num_workers=1,
    )
    manifest, _ = index(job)
    return {record.key: record for record in manifest.usable()}


def test_hashed_prefixes_are_no_classes(
    s3_environment: S3Server, hashed: str, tmp_path: Path
) -> None:
    records = _index(hashed, tmp_path)
    assert len(records) == 12
    assert {record.label for record in records.values()} == {None}
    table = tmp_path / "labels.csv"
    rows = [
        f"s3://{hashed}/corpus/0a/video-00.mp4,jump,scene 1",
        "corpus/2f/video-01.mp4,run,",
        "54/video-02.mp4,jump,",
        "video-03.mp4,run,",
    ]
    table.write_text("\n".join(["key,label,group", *rows]) + "\n")
    records = _index(hashed, tmp_path, labels_csv=table)
    labels = [
        record.label
        for record in sorted(records.values(), key=lambda record: record.key.partition("/")[2])
    ]
    assert labels == ["jump", "run", "jump", "run"] + [None] * 8, (
        "whatever prefix the table's keys carry"
    )
    assert records["0a/video-00.mp4"].group == "scene 1"


def test_an_object_that_changed_after_it_was_indexed(
    s3_environment: S3Server, hashed: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = IndexJob(
        uri=f"s3://{hashed}/corpus",
        out_uri=tmp_path / "out",
        cache=CacheConfig(dir=str(tmp_path / "index")),
        state_dir=tmp_path / "state",
        num_workers=1,
    )
    manifest, uri = index(job)
    records = manifest.usable()
    store = open_store(manifest.uri)
    check_unchanged(manifest, uri, store)
    changed = records[3].key
    s3_environment.client().put_object(
        Bucket=hashed, Key=f"corpus/{changed}", Body=encode_video(2, 30, 64, 96)
    )
    with pytest.raises(
        UserError,
        match=f"is no longer what {uri} says: of 12 videos 1 changed .'{changed}' among them. "
        "since they were indexed",
    ):
        check_unchanged(manifest, uri, store)

    clip = ClipConfig(length=8, resize_height=32, resize_width=32, crop=32)
    with VideoSource(
        store, NodeCache(tmp_path / "cache", 1 << 30, store), LoaderConfig(num_decoders=1)
    ) as source:
        loader = SpanLoader(
            source,
            records,
            clip,
            sampling_of((1, 2), clip.length, with_attention=False),
            batch_size=4,
            seed=1,
            world=World.alone(),
        )
        videos = [sample.video_index for batch in loader.batches(0) for sample in batch.samples]
    assert 3 not in videos, "the new bytes under the old name are never a sample"
    assert loader.quarantined == {changed: "changed"}
    assert (loader.counters["data/quarantined"], loader.counters["data/changed"]) == (1, 1)
    assert f"quarantined {changed}: changed" in caplog.text
    lines = list(data_lines([TrialView(0, {}, metrics=dict(loader.counters))]))
    assert len(lines) == 2
    assert lines[1].startswith(
        "WARNING:     up to 1 of them changed in the store since they were indexed"
    )
    assert (
        list(data_lines([TrialView(0, {}, metrics={"data/quarantined": 0.0, "data/changed": 0.0})]))
        == []
    )
