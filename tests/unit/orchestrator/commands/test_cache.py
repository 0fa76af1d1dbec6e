"""``prp cache``: status, verify and clear, on a terminal and in a script."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import torch

from orchestrator.commands.prp import main
from prp_core.data.cache.frame_cache import FrameCache
from prp_core.data.cache.frames_file import FramesKey
from prp_core.data.cache.node_cache import NodeCache
from prp_core.data.object_store import ObjectRef
from tests.far_store import FarStore

KEYS = [FramesKey(f"{number}".rjust(40, "e"), 4, 8, 8) for number in range(3)]


def decode() -> Generator[torch.Tensor, None, None]:
    yield torch.arange(4 * 8 * 8 * 3, dtype=torch.uint8).view(4, 8, 8, 3)


@pytest.fixture
def cache_dir(tmp_path: Path) -> Iterator[Path]:
    """A cache with two objects of a far store and three videos' frames, written by a process that
    has ended.
    """
    store = FarStore(tmp_path / "far")
    objects = NodeCache(tmp_path / "cache", 1_000_000, store)
    for name in ("a", "b"):
        info = store.write(name, name.encode() * 1000)
        with objects.open(
            ObjectRef(
                name, info.num_bytes, info.etag, hashlib.sha256(name.encode() * 1000).hexdigest()
            )
        ):
            pass
    frames = FrameCache(tmp_path / "cache" / "frames", 2_000_000)
    for key in KEYS:
        frames.fill(key, "video", decode)
        assert frames.read(key, [0, 3]) is not None
    objects.close()
    frames.close()
    yield tmp_path / "cache"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["cache", *arguments])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_status_says_what_is_there(cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "status", "--dir", str(cache_dir))
    assert (
        code == 0
        and "objects   2 files, 0.00 GB of 0.00 GB, the oldest loaded 0.0 hours ago" in text
    )
    assert "frames    3 files" in text and "50.0% hits of 6 so far" in text
    found = json.loads(run(capsys, "status", "--dir", str(cache_dir), "--json")[1])
    assert found["objects"]["num_bytes"] == 2000 and found["objects"]["capacity_bytes"] == 1_000_000
    assert (
        found["frames"]["num_bytes"] == 3 * KEYS[0].num_bytes and found["frames"]["num_in_use"] == 0
    )
    assert (
        found["frames"]["counters"]["misses"] == 3
        and found["objects"]["counters"]["downloads"] == 2
    )


def test_verify_finds_and_removes_what_is_wrong(
    cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "verify", "--dir", str(cache_dir)) == (
        0,
        "objects   2 read from end to end, 0 wrong and removed\nframes    3 read from "
        "end to end, 0 wrong and removed\n",
    )
    victims = [sorted((cache_dir / tier).glob("*/*"))[0] for tier in ("objects", "frames/objects")]
    for victim in victims:
        data = bytearray(victim.read_bytes())
        data[-1] ^= 4
        victim.write_bytes(data)
    code, text = run(capsys, "verify", "--dir", str(cache_dir))
    assert (
        code == 1
        and text.count("1 wrong and removed") == 2
        and all(str(victim) in text for victim in victims)
    )
    assert not any(victim.exists() for victim in victims)
    assert run(capsys, "verify", "--dir", str(cache_dir), "--json")[0] == 0, (
        "what was wrong is gone"
    )


def test_clear_leaves_what_is_in_use(cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    used = sorted((cache_dir / "frames" / "objects").glob("*/*"))[1]
    with used.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert (
            json.loads(run(capsys, "status", "--dir", str(cache_dir), "--json")[1])["frames"][
                "num_in_use"
            ]
            == 1
        )
        code, text = run(capsys, "clear", "--dir", str(cache_dir))
    assert (
        code == 0
        and "objects   2 removed" in text
        and "frames    2 removed, 0.00 GB; 1 in use stay:" in text
        and str(used) in text
    )
    assert list(cache_dir.rglob("objects/*/*")) == [used]
    assert (
        json.loads(run(capsys, "clear", "--dir", str(cache_dir), "--json")[1])["frames"][
            "num_removed"
        ]
        == 1
    )


def test_a_folder_that_is_no_cache_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = run(capsys, "status", "--dir", str(tmp_path))
    assert code == 2 and text == (
        f"prp: error: {tmp_path} holds no cache; give the folder of cache.dir with --dir\n"
    )
    assert run(capsys, "clear", "--dir", str(tmp_path / "nowhere"))[0] == 2
    assert not (tmp_path / "nowhere").exists()
