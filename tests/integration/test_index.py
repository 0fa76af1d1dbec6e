"""Indexing real videos from a bucket: the manifest, a second run, and a run that is killed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.commands.prp import main
from orchestrator.config.cache_config import CacheConfig
from orchestrator.config.store_config import StoreConfig
from orchestrator.data.index import IndexJob, IndexProgress, index
from orchestrator.data.label_source import LabelSource
from orchestrator.storage.manifest_file import read_manifest
from prp_core.data.manifest import Manifest
from prp_core.errors import UserError
from tests.fixtures_s3 import AWS_VARIABLES, S3Server
from tests.tiny_corpus import MOTIONS, encode_motion
from tests.tools.fault_proxy import FaultProxy

NUM_VIDEOS = 8
PLAYLIST = "#EXTM3U\nhttp://127.0.0.1/elsewhere.mp4\n"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with good videos, and with a playlist, an empty file and half a video."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(NUM_VIDEOS):
        label = sorted(MOTIONS)[number % 2]
        encode_motion(
            folder / label / f"v_{label}_g{number // 2:02d}_c{number % 2:02d}.mp4",
            MOTIONS[label],
            seed=number,
            num_frames=20 + number,
        )
    (folder / "down" / "playlist.mp4").write_text(PLAYLIST)
    (folder / "down" / "empty.mp4").write_bytes(b"")
    whole = (folder / "right" / "v_right_g00_c01.mp4").read_bytes()
    (folder / "right" / "torn.mp4").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture
def bucket(s3_environment: S3Server, s3_bucket: str, videos: Path) -> str:
    s3_environment.upload_folder(videos, s3_bucket, "videos/")
    return s3_bucket


def _index(
    bucket: str, proxy: FaultProxy, folder: Path, cache: str = "cache"
) -> tuple[Manifest, str, IndexProgress]:
    """Index the bucket's videos through the proxy, with state and cache in `folder`."""
    seen: list[IndexProgress] = []
    job = IndexJob(
        uri=f"s3://{bucket}/videos",
        out_uri=f"s3://{bucket}/manifests",
        store=StoreConfig(endpoint_url=proxy.url),
        num_workers=2,
        cache=CacheConfig(dir=str(folder / cache), capacity_bytes=1 << 30),
        state_dir=folder / "state",
    )
    manifest, uri = index(job, on_progress=seen.append)
    return manifest, uri, seen[-1]


def _deny_reading(bucket: str, key: str) -> str:
    """A bucket's policy that lets nobody read one object."""
    statement = {
        "Effect": "Deny",
        "Principal": {"AWS": ["*"]},
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/{key}",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _keys_read(proxy: FaultProxy) -> set[str]:
    return {entry.path.split("/videos/")[1].split("?")[0] for entry in proxy.gets("/videos/")}


def test_a_bucket_of_videos_becomes_a_manifest_and_is_read_once(
    bucket: str, proxy: FaultProxy, s3_environment: S3Server, videos: Path, tmp_path: Path
) -> None:
    manifest, uri, progress = _index(bucket, proxy, tmp_path)
    assert (
        progress.num_done,
        progress.num_videos,
        progress.num_reused,
        progress.num_quarantined,
    ) == (NUM_VIDEOS + 3, NUM_VIDEOS + 3, 0, 3)
    assert uri == f"s3://{bucket}/manifests/manifest-{manifest.content_hash}.parquet"
    assert read_manifest(uri) == manifest
    assert [
        record.num_frames
        for record in sorted(manifest.usable(), key=lambda record: record.num_frames)
    ] == list(range(20, 20 + NUM_VIDEOS))
    assert manifest.labels == ("down", "right")
    for record in manifest.usable():
        assert record.sha256 == hashlib.sha256((videos / record.key).read_bytes()).hexdigest()
        assert record.group == f"{record.label}/{record.key.split('_')[2]}"
    reasons = {record.key: record.reason for record in manifest.quarantined()}
    assert reasons.pop("right/torn.mp4") in ("truncated", "undecodable")
    assert reasons == {"down/playlist.mp4": "not-a-video", "down/empty.mp4": "empty"}

    proxy.clear()
    again, same_uri, progress = _index(bucket, proxy, tmp_path)
    assert (again, same_uri, progress.num_reused) == (manifest, uri, NUM_VIDEOS + 3)
    assert _keys_read(proxy) == set()

    changed = videos / "down" / "v_down_g01_c00.mp4"
    client = s3_environment.client()
    odd = ["down/archived.mp4", "down/playlist.mp4", "down/secret.mp4"]
    for key in odd:
        client.put_object(Bucket=bucket, Key=f"videos/{key}", Body=changed.read_bytes())
    client.put_bucket_policy(Bucket=bucket, Policy=_deny_reading(bucket, "videos/down/secret.mp4"))
    proxy.clear()
    # The gateway has no archive: the answer of S3 to a GET of an object in Glacier.
    proxy.add("status", path="/down/archived.mp4", code=403, name="InvalidObjectState")
    newer, newer_uri, progress = _index(bucket, proxy, tmp_path)
    assert _keys_read(proxy) == set(odd)
    assert progress.num_reused == NUM_VIDEOS + 2
    assert len(newer.usable()) == NUM_VIDEOS + 1
    refused = {one.key: one.detail for one in newer.records if one.reason == "unreadable"}
    assert list(refused) == odd[::2]
    assert "the object is archived; restore it from Glacier first" in refused[odd[0]]
    assert "access denied; check the credentials, which need s3:ListBucket" in refused[odd[2]]
    assert newer_uri != uri
    assert read_manifest(uri) == manifest, "the older manifest stays as it was"

    job = IndexJob(
        uri=videos,
        out_uri=tmp_path / "local",
        num_workers=2,
        cache=CacheConfig(dir=str(tmp_path / "cache")),
        state_dir=tmp_path / "local-state",
    )
    local, _ = index(job)
    assert local.videos_hash == manifest.videos_hash, (
        "a folder and a bucket with the same videos are the same data"
    )


def test_a_killed_index_goes_on_where_it_was(
    bucket: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    expected, _, _ = _index(bucket, proxy, tmp_path / "undisturbed")
    proxy.clear()
    proxy.add("latency", method="GET", path="/videos/", seconds=0.4)
    arguments = [
        "data",
        "index",
        f"s3://{bucket}/videos",
        "--out",
        f"s3://{bucket}/manifests",
        "--workers",
        "1",
        "--endpoint-url",
        proxy.url,
    ]
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from orchestrator.commands.prp import main; sys.exit(main())",
            *arguments,
        ],
        env={**os.environ, "HOME": str(tmp_path), "PRP_HOME": str(tmp_path / "state")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    journal_dir = tmp_path / "state" / "index"
    lines: list[bytes] = []
    for _ in range(600):
        lines = [
            line
            for path in journal_dir.glob("*.jsonl")
            for line in path.read_bytes().splitlines(keepends=True)
            if line.endswith(b"\n")
        ]
        if len(lines) >= 3 or process.poll() is not None:
            break
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert 3 <= len(lines) < NUM_VIDEOS + 3, "killed in the middle"

    proxy.clear()
    manifest, _, progress = _index(bucket, proxy, tmp_path, cache="another-cache")
    assert manifest == expected, "the same wherever its files lay while they were read"
    assert len(lines) <= progress.num_reused < NUM_VIDEOS + 3
    assert len(_keys_read(proxy)) == NUM_VIDEOS + 3 - progress.num_reused, (
        "what was journaled is not read again"
    )


def test_labels_groups_and_splits_from_tables(
    videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def indexed(**tables: object) -> dict[str, tuple[str | None, str, str]]:
        job = IndexJob(
            uri=videos,
            out_uri=tmp_path / "out",
            labels=LabelSource(**tables),
            cache=CacheConfig(dir=str(tmp_path / "cache")),
            state_dir=tmp_path / "state",
            num_workers=2,
        )
        manifest, _ = index(job)
        return {
            record.key: (record.label, record.group, record.split) for record in manifest.records
        }

    labels = tmp_path / "labels.csv"
    labels.write_text(
        "key,label,group,split\ndown/v_down_g00_c00.mp4,falling,scene "
        "1,val\nright/v_right_g00_c01.mp4,,,train\nnowhere.mp4,x,,\n"
    )
    found = indexed(labels_csv=labels)
    assert found["down/v_down_g00_c00.mp4"] == ("falling", "scene 1", "val")
    assert found["right/v_right_g00_c01.mp4"] == ("right", "right/g00", "train")
    assert found["down/v_down_g01_c00.mp4"] == ("down", "down/g01", "")
    assert (
        "1 of the 3 videos that the splits or labels name are not there, 'nowhere.mp4' among them"
        in caplog.text
    )

    splits = tmp_path / "splits"
    splits.mkdir()
    (splits / "trainlist01.txt").write_text(
        "down/v_down_g00_c00.mp4 1\nright/v_right_g00_c01.mp4 2\n"
    )
    (splits / "testlist01.txt").write_text("down/v_down_g01_c00.mp4\n")
    found = indexed(splits_dir=splits)
    assert found["down/v_down_g00_c00.mp4"] == ("down", "down/g00", "train")
    assert found["down/v_down_g01_c00.mp4"][2] == "test"
    with pytest.raises(UserError, match="not both"):
        indexed(splits_dir=splits, labels_csv=labels)


def test_mistakes_at_the_command_line_are_one_line_and_exit_code_2(
    s3_environment: S3Server,
    s3_bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "state"))

    def complaint(*arguments: str) -> str:
        assert main(["data", "index", *arguments]) == 2
        out, error = capsys.readouterr()
        assert out == ""
        assert error.startswith("prp: error: ")
        assert error.count("\n") == 1
        return error

    assert "s3://no-such-bucket/videos: there is no such bucket; check its name" in complaint(
        "s3://no-such-bucket/videos"
    )
    assert f"nothing lies under s3://{s3_bucket}/videos" in complaint(f"s3://{s3_bucket}/videos")
    assert "s3://no-such-bucket: there is no such bucket" in complaint(
        f"s3://{s3_bucket}", "--out", "s3://no-such-bucket"
    )
    assert "among the videos" in complaint(
        f"s3://{s3_bucket}", "--out", f"s3://{s3_bucket}/manifests"
    )
    assert "There is no folder" in complaint(str(tmp_path / "nowhere"))
    for name in AWS_VARIABLES:
        if "KEY" in name:
            monkeypatch.delenv(name, raising=False)
    assert f"s3://{s3_bucket}: no usable credentials" in complaint(f"s3://{s3_bucket}")
