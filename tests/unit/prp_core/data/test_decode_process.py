"""The decode process: what it answers, what it survives, and what it never opens."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from prp_core.data.decode_process import DecodeProcess
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.readers.decode_server import Progress, inspect, limit_memory
from prp_core.errors import BrokenVideo, UserError
from tests.video_factory import (
    ENCODINGS,
    Encoding,
    cut_short,
    cut_without_reencoding,
    make_video,
    shown_numbers,
    with_display_matrix,
    with_edit_list,
    with_empty_block,
    with_index_first,
    with_packet,
    with_packets,
    write_playlist,
)


def _reason(process: DecodeProcess, path: Path) -> str:
    with pytest.raises(BrokenVideo) as caught:
        process.inspect(path)
    assert caught.value.detail or caught.value.reason == "empty"
    return caught.value.reason


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("decode") / "whole.mp4", 50)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video that takes long to decode."""
    return make_video(tmp_path_factory.mktemp("long") / "long.mp4", 200, size=(640, 480))


@pytest.fixture(scope="module")
def decoders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DecodeProcess]]:
    """A process for each reader, which may read the files of all tests."""
    folders = [tmp_path_factory.getbasetemp()]
    readers = ("decord", "pyav")
    made = {name: DecodeProcess(LoaderConfig(reader=name), folders) for name in readers}
    yield made
    for process in made.values():
        process.close()


@pytest.mark.parametrize(("platform", "is_refused"), [("darwin", False), ("linux", True)])
def test_a_kernel_that_limits_no_memory_is_gone_on_with_on_a_mac_alone(
    platform: str, is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("current limit exceeds maximum limit")  # what a Mac's Python says

    monkeypatch.setattr(resource, "setrlimit", refuse)
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(ValueError) if is_refused else nullcontext():
        limit_memory(1 << 30)


def test_reads_any_frames_in_any_order(video: Path) -> None:
    with DecodeProcess(LoaderConfig()) as process:
        assert shown_numbers(process.read(video, [3, 4, 9])) == [3, 4, 9]
        assert shown_numbers(process.read(video, [9, 4, 4, 0])) == [9, 4, 4, 0]
        info = process.inspect(video)
        assert (info.num_frames, info.fps, info.width, info.height, info.codec) == (
            50,
            25.0,
            96,
            64,
            "h264",
        )
        assert process.num_starts == 1
    assert process.pid is None


def test_an_unknown_reader_is_named_before_anything_starts() -> None:
    with pytest.raises(
        UserError,
        match=r"Unknown video reader 'decort'; known: decord, pyav. Did you mean 'decord'\?",
    ):
        DecodeProcess(LoaderConfig(reader="decort"))


def test_a_reader_whose_package_is_not_installed_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("prp_core.data.readers.find_spec", lambda name: None)
    with pytest.raises(
        UserError,
        match=r"loader.reader = 'decord': the package decord is not installed here \(pip install "
        r"'prp\[decord\]', .*; or choose loader.reader = 'pyav'",
    ):
        DecodeProcess(LoaderConfig(reader="decord"))


@pytest.mark.parametrize("reader", ["decord", "pyav"])
def test_reasons_of_broken_files(tmp_path: Path, reader: str) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "pointer.mp4").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "noise.mp4").write_bytes(
        b"\0\0\0\x18ftypisom" + np.random.default_rng(0).bytes(5000)
    )
    tail_lost = cut_short(with_index_first(make_video(tmp_path / "tail.mp4", 60)), 0.6)
    index_lost = cut_short(make_video(tmp_path / "index.mp4", 60), 0.6)
    avi_cut = cut_short(
        make_video(tmp_path / "cut.avi", 60, encoding=ENCODINGS["MPEG-4 in AVI, GOP 12"]), 0.5
    )
    large = make_video(tmp_path / "large.mp4", 2, size=(640, 480))
    playlist = write_playlist(
        tmp_path / "playlist.mp4",
        make_video(tmp_path / "secret.ts", 5, encoding=Encoding(suffix=".ts")),
    )
    expected = {
        tmp_path / "empty.mp4": "empty",
        tmp_path / "pointer.mp4": "not-a-video",
        playlist: "not-a-video",
        tmp_path / "noise.mp4": "truncated",
        tail_lost: "truncated",
        index_lost: "truncated",
        avi_cut: "truncated",
        large: "too-large",
    }
    with DecodeProcess(LoaderConfig(reader=reader, max_pixels=320 * 240)) as process:
        assert {path.name: _reason(process, path) for path in expected} == {
            path.name: reason for path, reason in expected.items()
        }
        with pytest.raises(BrokenVideo, match="not-a-video"):
            process.read(playlist, [0])
        assert process.num_starts == 1


def test_a_header_may_promise_a_few_frames_too_many(
    decoders: dict[str, DecodeProcess], tmp_path: Path
) -> None:
    path = make_video(tmp_path / "claims.avi", 100, encoding=ENCODINGS["MPEG-4 in AVI, GOP 12"])
    _claim_frames(path, 103)
    process = decoders["pyav"]
    assert process.inspect(path).num_frames == 100
    _claim_frames(make_video(path, 1, encoding=ENCODINGS["MPEG-4 in AVI, GOP 12"]), 16)
    with pytest.raises(BrokenVideo, match=r"truncated \(1 of 16 frames decode"):
        process.inspect(path)


def test_frames_that_an_edit_list_hides_are_not_missed(
    decoders: dict[str, DecodeProcess], tmp_path: Path
) -> None:
    whole = make_video(
        tmp_path / "whole.mp4", 60, encoding=Encoding(num_b_frames=3, keyframe_every=250)
    )
    cut = cut_without_reencoding(whole, tmp_path / "cut.mp4", 35)
    process = decoders["pyav"]
    assert process.inspect(cut).num_frames == 25
    assert shown_numbers(process.read(cut, [0, 7, 24], num_frames=25)) == [35, 42, 59]
    with pytest.raises(BrokenVideo, match="truncated"):
        process.inspect(cut_short(with_index_first(cut), 0.7))
    with pytest.raises(BrokenVideo, match="nothing-shown .*none of its 60 frames; .* drop the"):
        process.inspect(with_edit_list(whole, cut, []))


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_one_damaged_packet_costs_its_frame_in_every_container(
    decoders: dict[str, DecodeProcess], tmp_path: Path, suffix: str
) -> None:
    encoding = Encoding(suffix=suffix, options={"x264-params": "bframes=0"})
    whole = make_video(tmp_path / f"whole{suffix}", 60, encoding=encoding)
    damaged = with_packet(whole, tmp_path / f"damaged{suffix}", 10, b"\0\0\0\2\x41\x9a")
    process = decoders["pyav"]
    assert process.inspect(damaged).num_frames == 59
    shown = shown_numbers(process.read(damaged, [9, 11, 58], num_frames=59))
    assert shown == [9, 12, 59]
    if suffix == ".mkv":
        assert process.inspect(with_empty_block(whole, 10)).num_frames == 59
        assert shown_numbers(process.read(whole, [9, 11, 58], num_frames=59)) == [9, 12, 59]


def test_a_mirrored_video_is_refused_by_decord_which_would_turn_it(
    decoders: dict[str, DecodeProcess], tmp_path: Path
) -> None:
    path = with_display_matrix(make_video(tmp_path / "mirror.mp4", 12), -1, 0, 0, 1)
    with pytest.raises(BrokenVideo, match="shown mirrored, which decord does not do"):
        decoders["decord"].inspect(path)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mpeg2video"])
def test_many_damaged_packets_quarantine_the_video_in_matroska_too(
    tmp_path: Path, codec: str
) -> None:
    """MPEG's decoders pass over what holds no picture, and refuse nothing."""
    path = make_video(tmp_path / "whole.mkv", 30, encoding=Encoding(codec=codec, suffix=".mkv"))
    damaged = with_packets(
        path,
        tmp_path / "damaged.mkv",
        lambda number, _: b"no picture" if 5 <= number < 10 else None,
    )
    with pytest.raises(BrokenVideo, match=r"truncated \(25 of 30 frames decode"):
        inspect("pyav", str(damaged), 10**6, 10**9, Progress(lambda _: None))


@pytest.mark.parametrize(
    "encoding",
    [
        ENCODINGS["h264 in Matroska"],
        ENCODINGS["FLV"],
        Encoding(codec="wmv2", suffix=".asf"),
        Encoding(options={"movflags": "frag_keyframe+empty_moov"}),
    ],
    ids=lambda encoding: f"{encoding.codec}{encoding.suffix}",
)
def test_a_lost_tail_is_told_where_no_header_counts_frames(
    decoders: dict[str, DecodeProcess], tmp_path: Path, encoding: Encoding
) -> None:
    path = make_video(tmp_path / f"whole{encoding.suffix}", 40, encoding=encoding)
    process = decoders["pyav"]
    assert process.inspect(path).num_frames == 40
    with pytest.raises(BrokenVideo, match="truncated"):
        process.inspect(cut_short(path, 0.7))


def _claim_frames(path: Path, num_frames: int) -> None:
    """Set the number of frames in an AVI's stream header and main header."""
    data = bytearray(path.read_bytes())
    main, stream = data.index(b"avih"), data.index(b"strh")
    data[main + 8 + 16 : main + 8 + 20] = num_frames.to_bytes(4, "little")
    data[stream + 8 + 32 : stream + 8 + 36] = num_frames.to_bytes(4, "little")
    path.write_bytes(data)


@pytest.mark.parametrize("reader", ["decord", "pyav"])
def test_a_video_that_stands_still_is_no_broken_one(
    decoders: dict[str, DecodeProcess], tmp_path: Path, reader: str
) -> None:
    still = make_video(
        tmp_path / "still.mp4", 40, moving=False, encoding=ENCODINGS["h264 with B-frames"]
    )
    process = decoders[reader]
    frames_NHWC = process.read(still, [0, 20, 39])
    assert np.array_equal(frames_NHWC[1], frames_NHWC[2])
    assert process.inspect(still).num_frames == 40


def test_lost_frames_that_decord_fills_with_copies_are_found(
    decoders: dict[str, DecodeProcess], tmp_path: Path
) -> None:
    stream = make_video(
        tmp_path / "stream.ts",
        60,
        encoding=Encoding(suffix=".ts", num_b_frames=2, container="mpegts"),
    )
    assert _reason(decoders["decord"], stream) == "repeated-frames"
    assert decoders["pyav"].inspect(stream).num_frames == 60


def test_kill_9_costs_a_restart_and_no_frame(video: Path) -> None:
    with DecodeProcess(LoaderConfig()) as process:
        first = process.read(video, [1, 2])
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        np.testing.assert_array_equal(process.read(video, [1, 2]), first)
        assert process.num_starts == 2


def test_a_file_that_kills_its_decoder_twice_is_broken(video: Path) -> None:
    with DecodeProcess(LoaderConfig()) as process:
        process.read(video, [0])
        stop = threading.Event()
        killer = threading.Thread(target=_kill_whatever_starts, args=(process, stop))
        killer.start()
        try:
            with pytest.raises(BrokenVideo) as caught:
                for _ in range(100):
                    process.inspect(video)
        finally:
            stop.set()
            killer.join()
        assert caught.value.reason == "crashed" and "signal 9" in caught.value.detail
        assert shown_numbers(process.read(video, [5])) == [5]


def _kill_whatever_starts(process: DecodeProcess, stop: threading.Event) -> None:
    while not stop.wait(0.01):
        pid = process.pid
        if pid is not None:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def test_the_time_limit_kills_and_the_next_request_works(long: Path, video: Path) -> None:
    with DecodeProcess(LoaderConfig()) as process:
        process.read(video, [0])
        with pytest.raises(
            BrokenVideo, match=r"too-slow .* 0.01 are allowed; loader.decode_timeout"
        ) as caught:
            process.inspect(long, timeout_seconds=0.01)
        assert caught.value.reason == "too-slow"
        assert process.pid is None
        assert shown_numbers(process.read(video, [7])) == [7]


def test_the_memory_limit_holds_for_huge_pictures(tmp_path: Path, video: Path) -> None:
    huge = make_video(
        tmp_path / "huge.avi", 1, size=(8192, 8192), encoding=ENCODINGS["Motion JPEG"]
    )
    for reader in ("decord", "pyav"):
        with DecodeProcess(
            LoaderConfig(reader=reader, decode_memory_bytes=1 << 29, max_pixels=1 << 30)
        ) as process:
            with pytest.raises(BrokenVideo) as caught:
                process.read(huge, [0])
            # decord does not tell a failed allocation from a broken stream
            assert caught.value.reason in ("out-of-memory", "undecodable"), caught.value
            assert shown_numbers(process.read(video, [7])) == [7]
            assert process.inspect(video).num_frames == 50
    with DecodeProcess(LoaderConfig()) as process:
        assert _reason(process, huge) == "too-large"


def named_shared_memory() -> list[str]:
    """Python's shared memory that has a name: it stays when its processes have died. Other names in
    that folder are other processes' (Ray's, pytest's own).
    """
    return sorted(path.name for path in Path("/dev/shm").glob("psm_*"))


def test_the_decoder_dies_with_its_parent_and_leaves_nothing_behind(long: Path) -> None:
    before = named_shared_memory()
    program = f"""
        import threading
        from prp_core.data.decode_process import DecodeProcess
        from prp_core.data.loader_config import LoaderConfig
        process = DecodeProcess(LoaderConfig())
        threading.Thread(target=lambda: process.inspect({str(long)!r}, timeout_seconds=60)).start()
        while process.pid is None:
            pass
        print(process.pid, flush=True)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    decoder = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    waited = threading.Event()
    for _ in range(200):
        if not _is_running(decoder):
            break
        waited.wait(0.05)
    assert not _is_running(decoder)
    assert named_shared_memory() == before


def _is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_the_server_starts_without_torch() -> None:
    program = "import sys, prp_core.data.readers.decode_server; print('torch' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "False"
    )
