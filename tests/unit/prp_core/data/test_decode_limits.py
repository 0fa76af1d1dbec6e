"""The limits of a request: what a reply may announce, and what it may cost whatever came before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prp_core.data import decode_limits
from prp_core.data.decode_limits import (
    FrameShape,
    RequestLimit,
    Stalled,
    check_reply,
    frames_of_a_reply,
    seconds_allowed,
    seconds_of_inspection,
)
from prp_core.data.decode_process import DecodeProcess
from prp_core.data.loader_config import LoaderConfig
from prp_core.errors import BrokenVideo
from tests.video_factory import Encoding, make_video, shown_numbers

KNOWN = FrameShape(64, 96)


def test_where_no_cpu_time_is_told_a_hang_is_found_by_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(decode_limits, "_fields", lambda *_: [])
    monkeypatch.setattr(time, "monotonic", lambda: now)
    decode_limits._is_cpu_time_told.cache_clear()
    try:
        limit = RequestLimit("a", os.getpid(), 30.0, "lower it")
        for _ in range(3):
            now += 299.0
            limit.check()
            limit.renew()
        now += 301.0
        with pytest.raises(BrokenVideo, match=r"30\.1 CPU seconds at one place, 30 are allowed"):
            limit.check()
    finally:
        decode_limits._is_cpu_time_told.cache_clear()


@pytest.mark.parametrize("told", [[3, 64, 96, 3], [3, 96, 96]], ids=str)
def test_replies_of_the_manifest_s_size_are_read(told: list[int]) -> None:
    assert check_reply("a", told, 3, KNOWN, 96 * 64) == tuple(told)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ([3, 128, 192, 3], "too-large"),
        ([3, 1 << 40, 1 << 40, 3], "too-large"),
        ([3, 192, 192], "too-large"),
        ([3, 32, 48, 3], "undecodable"),
        ([4, 64, 96, 3], "undecodable"),
        ([3, 64, 96, 4], "undecodable"),
        ([3, 64, 96.0, 3], "undecodable"),
        ([3, -64, -96, 3], "undecodable"),
        ([], "undecodable"),
        ("3", "undecodable"),
        (None, "undecodable"),
    ],
    ids=str,
)
def test_any_other_reply_is_refused(told: Any, reason: str) -> None:
    with pytest.raises(BrokenVideo) as caught:
        check_reply("a", told, 3, KNOWN, 96 * 64)
    assert caught.value.reason == reason


def test_a_reply_takes_a_quarter_of_the_memory_and_work_is_given_time() -> None:
    uhd = FrameShape(2160, 3840)
    assert frames_of_a_reply(uhd, 3 << 30) == 32
    assert frames_of_a_reply(FrameShape(), 3 << 30) > 1 << 20
    assert seconds_allowed(30, FrameShape(), 10**6, 10**9) == 30
    assert seconds_allowed(30, FrameShape(1000, 1000), 100, 10**9) == 50
    assert seconds_allowed(30, uhd, 10**9, 10**9) == 230
    assert seconds_of_inspection(600, 2_000_000_000) == 10_600, "an hour of 4 Mbit/s"


@pytest.mark.parametrize("suffix", [".ts", ".h264"])
def test_a_video_that_changes_its_size_has_one_size_and_one_budget(
    tmp_path: Path, suffix: str
) -> None:
    container = {".ts": "mpegts", ".h264": "h264"}[suffix]
    encoding = Encoding(suffix=suffix, container=container, num_b_frames=2)
    small = make_video(tmp_path / f"small{suffix}", 15, encoding=encoding)
    large = make_video(tmp_path / f"large{suffix}", 15, size=(192, 128), encoding=encoding)
    both = tmp_path / f"both{suffix}"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with DecodeProcess(LoaderConfig()) as process:
        info = process.inspect(both)
        assert (info.num_frames, info.width, info.height) == (30, 96, 64)
        whole = process.read_next(both, 0, 30)
        process.close()
        late = process.read(both, [20, 28], num_frames=30, shape=KNOWN)
        np.testing.assert_array_equal(late, whole[[20, 28]])
    with DecodeProcess(LoaderConfig(max_pixels=96 * 64)) as process:
        for ask in (process.inspect, lambda path: process.read(path, [20])):
            with pytest.raises(BrokenVideo, match="192 x 128 pixels, the limit is 6144") as caught:
                ask(both)
            assert caught.value.reason == "too-large"


def test_a_span_fits_whatever_was_read_before(tmp_path: Path) -> None:
    fast = Encoding(options={"preset": "ultrafast"})
    size = (1280, 720)
    video = make_video(tmp_path / "large.mp4", 64, size=size, moving=False, encoding=fast)
    shape = FrameShape(720, 1280)
    with DecodeProcess(LoaderConfig(decode_memory_bytes=1 << 29)) as process:
        for first in (8, 0):  # 155 and 177 MB do not fit side by side, nor either of them whole
            frames_NHWC = process.read(video, range(first, 64), num_frames=64, shape=shape)
            assert frames_NHWC.shape == (64 - first, 720, 1280, 3)
        assert process.num_starts == 1
        planes = process.read_planes(video, range(64), num_frames=64, shape=shape)
        assert planes.planes_NHW.shape == (64, 1080, 1280)  # type: ignore[union-attr]


@pytest.fixture
def sleeper() -> Any:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_a_decoder_that_stands_still_is_told_from_one_that_waits_for_a_cpu(
    sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode_limits, "STALLED_SECONDS", 0.1)
    states = iter("RRRS")
    monkeypatch.setattr(decode_limits, "_state", lambda pid: next(states))
    monkeypatch.setattr(decode_limits, "cpu_seconds", lambda pid: 1.0)
    limit = RequestLimit("a", sleeper, 10, "")
    for _ in range(3):
        time.sleep(0.15)
        limit.check()  # starved by a busy machine
    time.sleep(0.15)
    with pytest.raises(Stalled):
        limit.check()


def test_a_stopped_decoder_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_limits, "STALLED_SECONDS", 0.5)
    video = make_video(tmp_path / "a.mp4", 12)
    with DecodeProcess(LoaderConfig()) as process:
        process.read(video, [0])
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        assert shown_numbers(process.read(video, [7])) == [7]
        assert process.num_starts == 2
