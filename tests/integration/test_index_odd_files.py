"""Indexing a folder with odd entries: each of them costs itself, and no other video."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.commands.prp import main
from orchestrator.data.index import IndexJob, index
from orchestrator.storage.manifest_file import read_manifest
from prp_core.errors import UserError
from tests.tools.without_privileges import without_privileges
from tests.video_factory import cut_short, make_video


def test_one_odd_entry_costs_itself_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "videos"
    make_video(folder / "run" / "good.mp4", 12)
    cut_short(make_video(folder / "run" / r"a\sb.mp4", 12), 0.5)
    locked = make_video(folder / "run" / "locked.mp4", 12)
    closed = make_video(folder / "closed" / "hidden.mp4", 12).parent
    (folder / "run" / "circle").symlink_to("circle")
    (folder / "run" / "\x1b[2J\n.mp4").touch()
    (folder / "run" / os.fsdecode(b"caf\xe9.mp4")).hardlink_to(folder / "run" / "good.mp4")
    os.mkfifo(folder / "run" / "pipe.mp4")
    locked.chmod(0)
    closed.chmod(0)
    job = IndexJob(uri=folder, out_uri=tmp_path / "out", state_dir=tmp_path / "state")
    try:
        with without_privileges():
            manifest, uri = index(job)
    finally:
        closed.chmod(0o700)
    assert {record.key: record.reason for record in manifest.records} == {
        "closed": "unreadable",
        r"run/a\sb.mp4": "truncated",
        r"run/caf\xe9.mp4": "bad-name",
        "run/circle": "missing",
        "run/good.mp4": "",
        "run/locked.mp4": "unreadable",
        "run/pipe.mp4": "missing",
        "run/\x1b[2J\n.mp4": "empty",
    }
    assert main(["data", "show", uri, "--all"]) == 0
    assert r"  run/\x1b[2J\n.mp4: empty (0 bytes)" in capsys.readouterr().out.splitlines()
    assert "not a plain file" in manifest.records[-1].detail
    refused = [record for record in manifest.records if record.reason == "unreadable"]
    assert all("permissions" in record.detail for record in refused)
    assert read_manifest(uri) == manifest
    locked.chmod(0o600)
    assert [record.key for record in index(job)[0].usable()] == [
        "closed/hidden.mp4",
        "run/good.mp4",
        "run/locked.mp4",
    ], "what may be read by now is tried again"


def test_a_place_of_which_nothing_may_be_read_is_an_error(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "videos").mkdir(exist_ok=True)
        (tmp_path / "videos" / name).write_bytes(b"locked")
        (tmp_path / "videos" / name).chmod(0)
    job = IndexJob(uri=tmp_path / "videos", state_dir=tmp_path / "state")
    with without_privileges():
        with pytest.raises(UserError, match=r"cannot be read \(Permission denied"):
            index(job)
        (tmp_path / "videos").chmod(0)
        with pytest.raises(UserError, match=r"/videos may not be read \(Permission denied"):
            index(job)
    (tmp_path / "videos").chmod(0o700)
