"""The cache of decoded frames: one decode, every damage found, bounded, never torn."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from prp_core.data.cache.frame_cache import (
    NUM_KEPT_MAPPED,
    REMEMBERED_SECONDS,
    FrameCache,
    most_kept_mapped,
)
from prp_core.data.cache.frame_checksums import frame_checksums
from prp_core.data.cache.frames_file import PAGE, FramesKey, key_of_file
from prp_core.errors import QUARANTINE_REASONS, BrokenVideo

NUM_FRAMES, HEIGHT, WIDTH = 30, 33, 40  # 3960 bytes a frame: no whole number of pages
FORK = multiprocessing.get_context("fork")


def key_of(number: int) -> FramesKey:
    return FramesKey(
        f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}".ljust(40, "a"), NUM_FRAMES, HEIGHT, WIDTH
    )


FILE_BYTES = key_of(0).num_bytes


def frames_of(number: int) -> torch.Tensor:
    return torch.from_numpy(
        np.random.default_rng(number).integers(
            0, 256, (NUM_FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8
        )
    )


def decoding(
    number: int, journal: Path | None = None
) -> Callable[[], Generator[torch.Tensor, None, None]]:
    """A decode in chunks of 7 frames, noted in `journal` when it begins."""

    def decode() -> Generator[torch.Tensor, None, None]:
        if journal is not None:
            with journal.open("a") as file:
                file.write(f"{number}\n")
        yield from frames_of(number).split(7)

    return decode


def get(
    cache: FrameCache, number: int, positions: list[int], journal: Path | None = None
) -> torch.Tensor | None:
    """As `CachedFrames` does: read, else fill and read."""
    found = cache.read(key_of(number), positions)
    if found is None:
        outcome = cache.fill(key_of(number), f"video-{number}", decoding(number, journal))
        found = cache.read(key_of(number), positions, counts_as_hit=outcome == "waited")
    return found


def bytes_on_disk(root: Path) -> int:
    found = {}
    for path in [*(root / "unfinished").glob("*"), *(root / "objects").glob("*/*")]:
        try:
            found[path.stat().st_ino] = path.stat().st_size
        except FileNotFoundError:
            continue
    return sum(found.values())


def place(cache: FrameCache, number: int) -> Path:
    return cache.root / "objects" / key_of(number).identity[:2] / key_of(number).identity


@pytest.mark.parametrize(
    "positions", [[0], [29, 0, 7, 7], list(range(0, 30, 4)), list(range(30)) * 3]
)
def test_what_is_read_is_what_was_decoded(tmp_path: Path, positions: list[int]) -> None:
    cache = FrameCache(tmp_path, 1 << 30)
    assert cache.read(key_of(1), positions) is None
    found = get(cache, 1, positions)
    assert found is not None and torch.equal(found, frames_of(1)[positions])
    again = cache.read(key_of(1), positions)
    assert again is not None and torch.equal(again, found)
    assert key_of_file(place(cache, 1)) == key_of(1)
    assert (
        cache.counters["hits"] == 1
        and cache.counters["misses"] == 1
        and cache.counters["bytes_filled"] == FILE_BYTES
    )


@pytest.mark.parametrize(
    ("positions", "stride"),
    [
        (range(0, 30, 4), 4),
        ([7], 1),
        (range(30), 1),
        ([0, 1, 3], None),
        ([5, 4, 3], None),
        ([2, 2], None),
    ],
)
def test_frames_at_an_even_pace_are_strided_views_of_the_file(
    tmp_path: Path, positions: list[int], stride: int | None
) -> None:
    cache = FrameCache(tmp_path, 1 << 30)
    found = get(cache, 1, list(positions))
    assert found is not None and torch.equal(found, frames_of(1)[list(positions)])
    if stride is not None and len(positions) > 1:
        assert found.stride() == (stride * HEIGHT * WIDTH * 3, WIDTH * 3, 3, 1)
    cache.close()
    assert is_mapped(place(cache, 1)) == (stride is not None), "a copy needs no map any more"
    del found
    assert not is_mapped(place(cache, 1))


def is_mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


def test_files_stay_mapped_while_all_fit_into_the_sticky_part(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path, 1000 * FILE_BYTES, sticky_share=0.003)
    for number in (0, 1, 2, 3, 4):
        get(cache, number, [0, 1, 3])
    assert [is_mapped(place(cache, number)) for number in range(5)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    get(another := FrameCache(tmp_path, 1000 * FILE_BYTES, sticky_share=0.003), 4, [0, 1, 3])
    another.close()
    assert not is_mapped(place(cache, 4)), "another process counts the same files"
    used_at = place(cache, 1).stat().st_atime_ns
    assert torch.equal(cache.read(key_of(1), [2, 9, 2]), frames_of(1)[[2, 9, 2]])
    cache.close()
    assert not any(is_mapped(place(cache, number)) for number in range(5))
    assert place(cache, 1).stat().st_atime_ns > used_at, (
        "whoever makes room sees that it was used until now"
    )


def test_mapped_files_leave_most_descriptors_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "prp_core.data.cache.frame_cache.SHARE_OF_DESCRIPTORS",
        2.5 / resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )
    cache = FrameCache(tmp_path, 1000 * FILE_BYTES)
    for number in (0, 1, 2):
        get(cache, number, [0, 1, 3])
    assert [is_mapped(place(cache, number)) for number in range(3)] == [True, True, False]
    monkeypatch.setattr(
        resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    )
    assert most_kept_mapped() == NUM_KEPT_MAPPED


def test_nothing_stays_mapped_where_nobody_knows_how_much_the_node_has(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path, 1000 * FILE_BYTES)
    cache.fill(key_of(1), "video-1", decoding(1))
    (tmp_path / "usage").unlink()
    assert torch.equal(cache.read(key_of(1), [0, 1, 3]), frames_of(1)[[0, 1, 3]])
    assert not is_mapped(place(cache, 1))


def test_who_writes_into_a_view_harms_no_file_and_no_later_read(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path, 1 << 30)
    found = get(cache, 1, [0, 1, 2])
    assert found is not None
    found += 1
    for _ in range(2):
        assert torch.equal(cache.read(key_of(1), [1, 2]), frames_of(1)[[1, 2]])
    assert cache.counters["corrupt"] == 0 and place(cache, 1).exists()


def test_a_file_that_a_view_shows_is_in_use_until_the_view_is_gone(tmp_path: Path) -> None:
    view = get(FrameCache(tmp_path, 1 << 30), 1, [0, 2, 4])
    cache = FrameCache(tmp_path, FILE_BYTES)
    assert cache.fill(key_of(2), "video-2", decoding(2)) == "bypassed" and cache.has(key_of(1))
    assert view is not None and torch.equal(view, frames_of(1)[[0, 2, 4]])
    del view
    assert cache.fill(key_of(2), "video-2", decoding(2)) == "filled" and not cache.has(key_of(1))


def test_a_small_cache_hands_out_copies_so_that_what_batches_hold_can_make_room(
    tmp_path: Path,
) -> None:
    cache = FrameCache(tmp_path, FILE_BYTES)
    held = [get(cache, number, [0, 2, 4]) for number in range(3)]
    assert all(
        torch.equal(frames, frames_of(number)[[0, 2, 4]])
        for number, frames in enumerate(held)
        if frames is not None
    )
    assert all(frames is not None for frames in held) and cache.counters["bypassed"] == 0


@pytest.mark.parametrize("num_bytes", [24, 3960, 5128, 6075, 65664])
def test_a_checksum_sees_every_changed_bit_and_what_changed_places(num_bytes: int) -> None:
    draw = np.random.default_rng(num_bytes)
    frame_1F, first = draw.integers(0, 256, (1, num_bytes), dtype=np.uint8), np.array([0])
    good = frame_checksums(frame_1F, 5, first)
    for place in draw.integers(0, num_bytes, 200):
        bad_1F = frame_1F.copy()
        bad_1F[0, place] ^= 1 << draw.integers(8)
        assert frame_checksums(bad_1F, 5, first) != good
    for length in (8, 64, 512, PAGE):
        blocks = num_bytes // length
        if blocks >= 2:
            for _ in range(20):
                one, other = draw.choice(blocks, 2, replace=False) * length
                bad_1F = frame_1F.copy()
                bad_1F[0, one : one + length], bad_1F[0, other : other + length] = (
                    frame_1F[0, other : other + length],
                    frame_1F[0, one : one + length],
                )
                assert frame_checksums(bad_1F, 5, first) != good
    assert (
        frame_checksums(frame_1F, 6, first) != good
        and frame_checksums(frame_1F, 5, first + 1) != good
    )
    assert frame_checksums(np.zeros_like(frame_1F), 5, first) != 0, (
        "a file of zeros is no file of ours"
    )


@pytest.mark.parametrize("stays_mapped", [False, True])
def test_all_corruption_is_found_when_it_is_read(tmp_path: Path, stays_mapped: bool) -> None:
    cache, draw = FrameCache(tmp_path, 1 << 30), np.random.default_rng(0)
    everything = list(range(NUM_FRAMES))
    key, size = key_of(3), FILE_BYTES
    header = (
        () if stays_mapped else range(len(key.header.rstrip()))
    )  # is read when a file is mapped
    used = (*header, *range(PAGE, PAGE + 8 * NUM_FRAMES), *range(key.frames_offset, size))
    damages: list[Callable[[bytearray], object]] = [
        *(
            lambda data, at=int(at), bit=int(bit): data.__setitem__(at, data[at] ^ 1 << bit)
            for at, bit in zip(draw.choice(used, 60), [0, 7] * 30)  # noqa: B905
        ),
        lambda data: data.__setitem__(
            slice(key.frames_offset, key.frames_offset + PAGE), bytes(PAGE)
        ),
        lambda data: data.__setitem__(slice(PAGE, size), bytes(size - PAGE)),
        lambda data: data.__setitem__(slice(0, size), bytes(size)),
        lambda data: data.__delitem__(slice(size - 100, size)),
    ]
    for number, damage in enumerate(damages, start=1):
        assert torch.equal(get(cache, 3, everything), frames_of(3))
        if not stays_mapped:
            cache.close()
        data = bytearray(place(cache, 3).read_bytes())
        damage(data)
        place(cache, 3).write_bytes(data)
        assert cache.read(key, everything) is None, f"damage {number} was handed out"
        assert not place(cache, 3).exists()
    assert cache.counters["corrupt"] == len(damages) - 1, (
        "the file that is too short is no entry at all"
    )
    assert cache.counters["misses"] == len(damages)


def test_damage_elsewhere_does_not_touch_the_frames_that_are_asked_for(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path, 1 << 30)
    get(cache, 3, [0])
    data = bytearray(place(cache, 3).read_bytes())
    data[key_of(3).frames_offset + 5] ^= 1
    place(cache, 3).write_bytes(data)
    assert cache.read(key_of(3), [1, 2]) is not None
    assert cache.read(key_of(3), [0, 1]) is None


def _walk(
    root: Path,
    capacity: int,
    journal: Path,
    seed: int,
    results: multiprocessing.Queue[tuple[int, int]],
) -> None:
    cache, wrong, most = FrameCache(root, capacity), 0, 0
    for number in np.random.default_rng(seed).permutation(12).tolist():
        positions = list(range(seed, NUM_FRAMES, seed + 1))
        found = get(cache, number, positions, journal)
        wrong += found is not None and not torch.equal(found, frames_of(number)[positions])
        most = max(most, bytes_on_disk(root))
    results.put((wrong, most))


@pytest.mark.parametrize(("capacity_files", "expected_most"), [(100, 12), (4, 4)])
def test_processes_share_one_decode_and_keep_the_bound(
    tmp_path: Path, capacity_files: int, expected_most: int
) -> None:
    results: multiprocessing.Queue[tuple[int, int]] = FORK.Queue()
    arguments = (tmp_path / "cache", capacity_files * FILE_BYTES, tmp_path / "journal")
    walkers = [FORK.Process(target=_walk, args=(*arguments, seed, results)) for seed in range(4)]
    for walker in walkers:
        walker.start()
    found = [results.get(timeout=60) for _ in walkers]
    for walker in walkers:
        walker.join()
    assert [wrong for wrong, _ in found] == [0] * 4
    assert max(most for _, most in found) <= expected_most * FILE_BYTES
    decodes = (tmp_path / "journal").read_text().split()
    assert set(decodes) == {str(number) for number in range(12)}
    if capacity_files == 100:
        assert len(decodes) == 12, "whole-video decodes per video: 1.0"
    assert not list((tmp_path / "cache" / "unfinished").iterdir())


def test_kill_9_of_the_filler_lets_the_next_one_fill(tmp_path: Path) -> None:
    started = FORK.Event()

    def stall() -> None:
        def decode() -> Generator[torch.Tensor, None, None]:
            yield frames_of(1)[:7]
            started.set()
            signal.pause()

        FrameCache(tmp_path, 1 << 30).fill(key_of(1), "video", decode)

    victim = FORK.Process(target=stall)
    victim.start()
    assert started.wait(30) and victim.pid is not None
    cache = FrameCache(tmp_path, 1 << 30)
    assert cache.read(key_of(1), [0]) is None, "nobody sees a half-written file"
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    assert torch.equal(get(cache, 1, [0, 29]), frames_of(1)[[0, 29]])
    (left,) = (tmp_path / "unfinished").iterdir()
    os.utime(left, (0, 0))  # as if it lay there for a while
    FrameCache(tmp_path, 1 << 30)
    assert not list((tmp_path / "unfinished").iterdir()), "whoever opens the cache next tidies up"


@contextmanager
def being_read(path: Path) -> Generator[None, None, None]:
    """Another process holds the file, as a reader does."""
    import fcntl

    holding, done = FORK.Event(), FORK.Event()

    def hold() -> None:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            holding.set()
            done.wait(60)

    reader = FORK.Process(target=hold)
    reader.start()
    assert holding.wait(30)
    yield
    done.set()
    reader.join()


def test_what_is_read_is_never_evicted_and_what_does_not_fit_is_bypassed(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path, 2 * FILE_BYTES)
    get(cache, 0, [0])
    get(cache, 1, [0])
    with being_read(place(cache, 0)), being_read(place(cache, 1)):
        assert cache.fill(key_of(2), "video", decoding(2)) == "bypassed"
        assert (
            place(cache, 0).exists()
            and place(cache, 1).exists()
            and bytes_on_disk(tmp_path) == 2 * FILE_BYTES
        )
    assert cache.fill(key_of(2), "video", decoding(2)) == "filled"
    assert (
        FrameCache(tmp_path, FILE_BYTES - 1).fill(key_of(5), "video", decoding(5)) == "bypassed"
    ), "larger than the whole cache"
    assert cache.counters["bypassed"] == 1 and cache.counters["evicted"] == 1


def test_two_sweeps_of_other_sizes_and_budgets_share_a_folder(tmp_path: Path) -> None:
    large, small = FrameCache(tmp_path, 10 * FILE_BYTES), FrameCache(tmp_path, 3 * FILE_BYTES)
    for number in range(6):
        get(large, number, [0])
    other_size = FramesKey("f" * 40, NUM_FRAMES, HEIGHT // 3, WIDTH)
    assert (
        small.fill(
            other_size, "video", lambda: (chunk[:, : HEIGHT // 3] for chunk in decoding(9)())
        )
        == "filled"
    )
    assert bytes_on_disk(tmp_path) <= 3 * FILE_BYTES, (
        "the smaller budget holds for what the smaller sweep writes"
    )
    assert small.read(other_size, [3]) is not None and large.read(other_size, [3]) is not None
    left = [number for number in range(6) if place(large, number).exists()]
    assert left and all(
        torch.equal(small.read(key_of(number), [4]), frames_of(number)[[4]]) for number in left
    )


def test_a_full_disk_is_a_bypass_and_nothing_torn(tmp_path: Path) -> None:
    def fill_small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES // 2, FILE_BYTES // 2))
        cache = FrameCache(tmp_path, 10 * FILE_BYTES)
        ok = (
            cache.fill(key_of(1), "video", decoding(1)) == "bypassed"
            and cache.counters["disk_full"] == 1
        )
        os._exit(0 if ok and bytes_on_disk(tmp_path) == 0 else 1)

    process = FORK.Process(target=fill_small_disk)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert torch.equal(get(FrameCache(tmp_path, 10 * FILE_BYTES), 1, [0]), frames_of(1)[[0]])


def _breaking(reason: str, journal: list[str]) -> Callable[[], Generator[torch.Tensor, None, None]]:
    def decode() -> Generator[torch.Tensor, None, None]:
        journal.append(reason)
        yield frames_of(0)[:5]
        raise BrokenVideo("video", reason, "at frame 5")

    return decode


def test_a_verdict_is_shared_and_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal: list[str] = []
    for number, reason in enumerate(("undecodable", "too-slow")):
        for cache in (FrameCache(tmp_path, 1 << 30), FrameCache(tmp_path, 1 << 30)):
            with pytest.raises(BrokenVideo) as caught:
                cache.fill(key_of(number), "video", _breaking(reason, journal))
            assert (caught.value.key, caught.value.reason, caught.value.detail) == (
                "video",
                reason,
                "at frame 5",
            )
    assert journal == ["undecodable", "too-slow"] and cache.counters["verdicts_reused"] == 1
    assert bytes_on_disk(tmp_path) == 0
    later = time.time() + 700
    monkeypatch.setattr(time, "time", lambda: later)
    assert cache.fill(key_of(1), "video", decoding(1)) == "filled", (
        "a busy machine's verdict is asked again"
    )
    with pytest.raises(BrokenVideo):
        cache.fill(key_of(0), "video", _breaking("undecodable", journal))
    assert len(journal) == 2, "what is wrong with the bytes stays wrong"
    assert set(REMEMBERED_SECONDS) <= set(QUARANTINE_REASONS)


def test_an_error_of_the_decode_leaves_nothing(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path, FILE_BYTES)

    def decode() -> Generator[torch.Tensor, None, None]:
        yield frames_of(0)[:5]
        raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            cache.fill(key_of(0), "video", decode)
    assert (
        bytes_on_disk(tmp_path) == 0 and cache.fill(key_of(0), "video", decoding(0)) == "filled"
    ), "what was reserved was given back"
