"""Store settings that need no server: regions, profiles, and a manifest against its store."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from orchestrator.commands.common_arguments import store_config
from orchestrator.config.store_config import StoreConfig
from orchestrator.data.manifest_check import check_unchanged, differences
from orchestrator.storage.store_profiles import read_store_profile
from orchestrator.storage.store_region import check_region, compare_regions
from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.data.object_store import LocalStore, ObjectInfo
from prp_core.errors import UserError

URI = "s3://bucket/videos"


@pytest.mark.parametrize(
    ("bucket_region", "ours", "allowed", "ok", "text"),
    [
        ("eu-west-1", "eu-west-1", False, True, ""),
        (
            "eu-west-1",
            "us-east-1",
            False,
            False,
            "s3://bucket/videos lies in eu-west-1, and this machine runs in us-east-1: "
            "downloads would cost about $20",
        ),
        ("eu-west-1", "us-east-1", True, True, "allowed by store.allow_other_region"),
        ("eu-west-1", None, False, True, "where this machine runs is unknown"),
        (None, "us-east-1", False, True, "the store does not say in which region the bucket lies"),
    ],
)
def test_the_comparison_of_regions(
    bucket_region: str | None, ours: str | None, allowed: bool, ok: bool, text: str
) -> None:
    found = compare_regions(URI, bucket_region, ours, allow_other_region=allowed)
    assert found.ok is ok
    assert text in found.text and bool(found.text) is bool(text)


def test_a_refused_region_names_the_remedies() -> None:
    text = compare_regions(URI, "eu-west-1", "us-east-1", allow_other_region=False).text
    assert text.endswith(
        "run in eu-west-1, copy the bucket, or set store.allow_other_region = true"
    )


def test_folders_have_no_region(tmp_path: Path) -> None:
    assert check_region(tmp_path) == "" and check_region(tmp_path.as_uri()) == ""


def _arguments(**given: object) -> Namespace:
    return Namespace(
        **{"store": None, "endpoint_url": None, "region": None, "profile": None, **given}
    )


def test_a_store_profile_and_the_options_that_go_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "stores.toml").write_text(
        '[ceph]\nendpoint_url = "https://s3.example.org"\naddressing = "path"\nregion = "here"\n'
    )
    (tmp_path / "home" / "stores.toml").write_text('[other]\nregion = "there"\n')
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    expected = StoreConfig(
        endpoint_url="https://s3.example.org",
        addressing="path",
        region="there",
        requester_pays=True,
    )
    assert store_config(_arguments(store="ceph", region="there", requester_pays=True)) == expected
    monkeypatch.chdir(tmp_path / "home")
    assert store_config(_arguments(store="other")) == StoreConfig(region="there")
    assert store_config(_arguments()) == StoreConfig()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            None,
            r"There is no store profile 'ceph': no .*stores.toml; write that file with "
            r"a table \[ceph\]",
        ),
        (
            "[cephs]\n",
            r"Unknown store profile in .*stores.toml 'ceph'; known: cephs. Did you mean 'cephs'?",
        ),
        ("ceph = 3\n", r"'ceph' is a value; write a table \[ceph\]"),
        ("[ceph\n", "is not TOML"),
        (
            '[ceph]\nsecret_access_key = "x"\n',
            r"'secret_access_key' does not belong here; put credentials into ~/.aws",
        ),
    ],
)
def test_profiles_that_are_wrong(tmp_path: Path, content: str | None, text: str) -> None:
    if content is not None:
        (tmp_path / "stores.toml").write_text(content)
    with pytest.raises(UserError, match=text):
        read_store_profile("ceph", [tmp_path])


def test_a_profile_s_values_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line, text in (
        (
            'addressing = "paths"',
            "Unknown value of store.addressing 'paths'; known: auto, path, virtual. "
            "Did you mean 'path'?",
        ),
        ('endpoint = "https://x"', "Unknown config key 'store.endpoint'"),
        ("requester_pays = 1", "store.requester_pays = 1"),
    ):
        (tmp_path / "stores.toml").write_text(f"[mine]\n{line}\n")
        with pytest.raises(UserError) as caught:
            store_config(_arguments(store="mine"))
        assert text in str(caught.value)


def _record(key: str, etag: str = "v1", **more: object) -> VideoRecord:
    return VideoRecord(key=key, num_bytes=3, etag=etag, **more)  # type: ignore[arg-type]


def test_what_a_store_holds_against_what_a_manifest_says(tmp_path: Path) -> None:
    manifest = Manifest(
        "s3://bucket", (_record("a"), _record("b"), _record("c"), _record("broken", reason="empty"))
    )
    same = [
        ObjectInfo("a", 3, "v1"),
        ObjectInfo("b", 3, "v1"),
        ObjectInfo("c", 3, "v1"),
        ObjectInfo("new", 1, "v1"),
    ]
    assert not differences(manifest, same)
    found = differences(manifest, [ObjectInfo("a", 3, "v2"), ObjectInfo("b", 4, "v1")])
    assert (found.changed, found.missing) == (("a", "b"), ("c",))
    assert str(found) == "2 changed ('a' among them) and 1 gone ('c' among them)"
    with pytest.raises(
        UserError,
        match=r"is no longer what m.parquet says: of 3 videos 3 gone .'a' among them. since "
        r"they were indexed; index again",
    ):
        check_unchanged(manifest, "m.parquet", LocalStore(tmp_path))
