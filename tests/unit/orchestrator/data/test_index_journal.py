"""The index journal: survives a kill at any byte, retries the machine's faults, has one writer."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.data.index import num_usable_cpus
from orchestrator.data.index_journal import VERDICTS, IndexJournal
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.errors import UserError

LOADER = LoaderConfig()
RECORDS = [
    VideoRecord(
        key=f"{number}.mp4",
        num_bytes=number,
        etag=f"e{number}",
        num_frames=30,
        fps=29.97,
        label="ä",
    )
    for number in range(4)
]


def _journal(folder: Path, loader: LoaderConfig = LOADER, uri: str = "s3://bucket") -> IndexJournal:
    return IndexJournal(folder, uri, loader)


def test_a_journal_cut_at_any_byte_keeps_its_whole_lines_and_goes_on(tmp_path: Path) -> None:
    with _journal(tmp_path) as journal:
        for record in RECORDS[:2]:
            journal.add(record)
    whole = journal.path.read_bytes()
    first_line = whole.index(b"\n") + 1
    for size in range(len(whole) + 1):
        journal.path.write_bytes(whole[:size])
        with _journal(tmp_path) as journal:
            num_whole = (size >= first_line) + (size == len(whole))
            assert journal.known == {record.key: record for record in RECORDS[:num_whole]}
            journal.add(RECORDS[3])
        with _journal(tmp_path) as journal:
            assert list(journal.known) == [*(record.key for record in RECORDS[:num_whole]), "3.mp4"]


def test_the_newest_record_of_a_key_counts(tmp_path: Path) -> None:
    with _journal(tmp_path) as journal:
        journal.add(RECORDS[0])
        journal.add(replace(RECORDS[0], etag="newer"))
    with _journal(tmp_path) as journal:
        assert journal.known["0.mp4"].etag == "newer"


def test_what_may_lie_with_the_machine_is_looked_at_again(tmp_path: Path) -> None:
    reasons = ("", "truncated", "too-slow", "crashed", "missing")
    with _journal(tmp_path) as journal:
        for reason in reasons:
            journal.add(replace(RECORDS[0], key=reason or "good", reason=reason))
    with _journal(tmp_path) as journal:
        assert list(journal.known) == ["good", "truncated"]


def test_what_an_earlier_release_set_aside_is_looked_at_again(tmp_path: Path) -> None:
    with _journal(tmp_path) as journal:
        for reason in ("", "truncated"):
            journal.add(replace(RECORDS[0], key=reason or "good", reason=reason))
    text = journal.path.read_text()
    assert text.count(f',"verdicts":{VERDICTS}') == 2
    journal.path.write_text(text.replace(f',"verdicts":{VERDICTS}', ""))
    with _journal(tmp_path) as journal:
        assert list(journal.known) == ["good"]


def test_other_limits_and_other_places_begin_anew(tmp_path: Path) -> None:
    with _journal(tmp_path) as journal:
        journal.add(RECORDS[0])
    with (
        _journal(tmp_path, replace(LOADER, max_pixels=100)) as other,
        _journal(tmp_path, uri="s3://bucket/x") as elsewhere,
    ):
        assert other.known == elsewhere.known == {}
    with _journal(tmp_path, replace(LOADER, num_decoders=9)) as same:
        assert list(same.known) == ["0.mp4"]


def test_two_runs_do_not_share_a_journal(tmp_path: Path) -> None:
    with (
        _journal(tmp_path),
        pytest.raises(UserError, match=r"s3://bucket is being indexed by another process"),
        _journal(tmp_path),
    ):
        pass


def test_all_cpus_count_where_the_system_does_not_say_which_may_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert num_usable_cpus() == len(os.sched_getaffinity(0))
    monkeypatch.delattr("os.sched_getaffinity")
    assert num_usable_cpus() == os.cpu_count()


def test_videos_are_indexed_where_there_is_no_proc(tiny_videos: Path, tmp_path: Path) -> None:
    """In a process of its own, in which `/proc`, `fcntl` and what Linux alone has are absent."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.tools.as_on_a_mac", "data", "index"),
            *(str(tiny_videos), "--out", str(tmp_path / "manifests")),
        ],
        cwd=Path(__file__).parents[4],
        env={**os.environ, "PRP_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "30 usable videos in 6 classes, 0 quarantined" in done.stderr
    assert done.stderr.count("run one process at a time with this PRP_HOME") == 1
