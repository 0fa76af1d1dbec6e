"""The loader on real videos: the same samples for any number of threads, workers, prefetches."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from prp_core.data.augmentation import AugmentationConfig
from prp_core.data.augmentation.rate_jitter import RateJitter
from prp_core.data.clip_config import ClipConfig
from prp_core.data.indexing import index_videos
from prp_core.data.loader import SpanLoader
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.data.object_store import LocalStore
from prp_core.data.spans import SpanBatch, SpanSample
from prp_core.data.transforms import resize_antialiased
from prp_core.data.video_source import VideoSource
from prp_core.errors import BrokenVideo, UserError
from prp_core.world import World
from tests.span_sampling import sampling_of
from tests.video_factory import make_class_folders, shown_numbers

CLIP = ClipConfig(length=8, resize_height=48, resize_width=64, crop=48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_class_folders(
        tmp_path_factory.mktemp("loader"), ("jump", "run"), num_videos=5, num_frames=40
    )


@pytest.fixture(scope="module")
def source(folder: Path) -> Iterator[VideoSource]:
    with VideoSource(LocalStore(folder), None, LoaderConfig(num_decoders=2)) as source:
        yield source


@pytest.fixture(scope="module")
def records(source: VideoSource) -> list[VideoRecord]:
    return list(index_videos(source))


def _loader(
    source: VideoSource,
    records: list[VideoRecord],
    *,
    world: World | None = None,
    clip: ClipConfig = CLIP,
    **kwargs: object,
) -> SpanLoader:
    settings: dict[str, object] = {
        "batch_size": 4,
        "seed": 7,
        "world": world or World.alone(),
    }
    return SpanLoader(
        source, records, clip, sampling_of((1, 2, 4), clip.length), **(settings | kwargs)
    )


def _same(first: SpanSample, second: SpanSample) -> bool:
    alike = replace(first, frames_NHWC=None) == replace(second, frames_NHWC=None)
    return alike and torch.equal(first.frames_NHWC, second.frames_NHWC)


def test_samples_hold_the_frames_they_say(source: VideoSource, records: list[VideoRecord]) -> None:
    loader = _loader(source, records)
    batches = list(loader.batches(0))
    assert loader.steps_per_epoch == len(batches) == 2
    for sample in (sample for batch in batches for sample in batch.samples):
        assert sample.frames_NHWC.dtype == torch.uint8 and sample.frames_NHWC.shape == (
            len(sample.positions),
            64,
            96,
            3,
        )
        assert shown_numbers(sample.frames_NHWC.numpy()) == [
            sample.start + position for position in sample.positions
        ]
        assert sample.rate == (1, 2, 4)[sample.rate_label]
    assert [sample.index for batch in batches for sample in batch.samples] == list(range(8))
    assert (
        loader.counters["data/samples"] == 8
        and loader.counters["data/quarantined"] == loader.counters["data/replaced"] == 0
    )


@pytest.mark.parametrize(
    ("num_decoders", "num_prefetched", "size"), [(1, 1, 1), (4, 3, 1), (3, 2, 2), (2, 1, 4)]
)
def test_threads_and_workers_change_nothing(
    source: VideoSource,
    records: list[VideoRecord],
    folder: Path,
    num_decoders: int,
    num_prefetched: int,
    size: int,
) -> None:
    expected = list(_loader(source, records).batches(3))
    config = LoaderConfig(num_decoders=num_decoders, num_prefetched_batches=num_prefetched)
    found: dict[int, SpanSample] = {}
    with VideoSource(LocalStore(folder), None, config) as other:
        for rank in range(size):
            world = World(rank, size, torch.device("cpu"))
            for batch in _loader(other, records, world=world).batches(3):
                assert len(batch) == 4 // size
                found |= {sample.index: sample for sample in batch.samples}
    assert sorted(found) == list(range(8))
    assert all(_same(found[sample.index], sample) for batch in expected for sample in batch.samples)


def test_an_epoch_can_be_entered_anywhere(source: VideoSource, records: list[VideoRecord]) -> None:
    whole = list(_loader(source, records).batches(1))
    rest = list(_loader(source, records).batches(1, first_step=1))
    assert len(rest) == 1 and all(
        _same(first, second)
        for first, second in zip(whole[1].samples, rest[0].samples, strict=True)
    )


def test_jittered_spans_hold_the_frames_at_their_own_rate(
    source: VideoSource, records: list[VideoRecord]
) -> None:
    """The same on two workers, and when the epoch is entered later, as a resume does."""
    jitter = AugmentationConfig(rate_jitter=RateJitter(strength=0.2))
    clip = replace(CLIP, augmentation=jitter)
    loader = _loader(source, records, clip=clip)
    whole = {sample.index: sample for batch in loader.batches(1) for sample in batch.samples}
    percents = set()
    for sample in whole.values():
        draw = loader.dataset.draw(sample.epoch, sample.index)
        percents.add(draw.percent)
        assert shown_numbers(sample.frames_NHWC.numpy()) == [
            sample.start + (position * draw.percent + 50) // 100 for position in sample.positions
        ]
    assert len(percents) > 4
    for rank in range(2):
        world = World(rank, 2, torch.device("cpu"))
        rest = _loader(source, records, clip=clip, world=world).batches(1, first_step=1)
        assert all(_same(whole[one.index], one) for batch in rest for one in batch.samples)


def test_leaving_early_ends_threads_and_close_ends_processes(
    folder: Path, records: list[VideoRecord]
) -> None:
    before = set(threading.enumerate())
    with VideoSource(LocalStore(folder), None, LoaderConfig(num_decoders=2)) as source:
        loader = _loader(source, records)
        batches = loader.batches(0)
        assert isinstance(next(batches), SpanBatch)
        pids = [decoder.pid for decoder in source._decoders if decoder.pid]
        assert pids
        with pytest.raises(ZeroDivisionError):
            _break_in(loader)
        batches.close()  # type: ignore[attr-defined]
        own = set(threading.enumerate()) - before
        assert 1 <= len(own) <= 2, "the loader's, which serve the next epoch"
        assert len(list(loader.batches(1))) == loader.steps_per_epoch
        assert own <= set(threading.enumerate()) and len(set(threading.enumerate()) - before) <= 2
        loader.close()
        assert set(threading.enumerate()) <= before
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_what_was_quarantined_before_a_resume_stays_so(
    source: VideoSource, records: list[VideoRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault that has passed meanwhile: without the memory of it two samples were others."""
    read, faults = source.frames, [records[3].key]

    def frames(record: VideoRecord, positions: Sequence[int]) -> torch.Tensor:
        if record.key in faults:
            faults.remove(record.key)
            raise BrokenVideo(record.key, "changed")
        return read(record, positions)

    monkeypatch.setattr(source, "frames", frames)
    whole, resumed, forgetful = (_loader(source, records, batch_size=5) for _ in range(3))
    list(whole.batches(0))
    assert whole.quarantined == {records[3].key: "changed"} and not faults
    resumed.quarantine_again(whole.quarantined)
    expected, found, others = (
        [sample for batch in loader.batches(1) for sample in batch.samples]
        for loader in (whole, resumed, forgetful)
    )
    assert all(_same(one, other) for one, other in zip(expected, found, strict=True))
    assert not all(_same(one, other) for one, other in zip(expected, others, strict=True))
    assert resumed.counters["data/quarantined"] == resumed.counters["data/changed"] == 1
    for loader in (whole, resumed, forgetful):
        loader.close()


def _break_in(loader: SpanLoader) -> None:
    for _ in loader.batches(0):
        raise ZeroDivisionError


def test_broken_videos_are_counted_and_replaced_by_pure_draws(
    tmp_path: Path, records: list[VideoRecord], folder: Path
) -> None:
    for record in records:
        (tmp_path / record.key).parent.mkdir(exist_ok=True)
        (tmp_path / record.key).hardlink_to(folder / record.key)
    victims = [records[2].key, records[7].key]
    (tmp_path / victims[0]).unlink()
    (tmp_path / victims[1]).unlink()
    (tmp_path / victims[1]).write_bytes(b"other bytes")
    runs = []
    for num_decoders in (1, 3):
        with VideoSource(
            LocalStore(tmp_path), None, LoaderConfig(num_decoders=num_decoders)
        ) as source:
            loader = _loader(source, records, batch_size=10)
            runs.append(
                [
                    sample
                    for epoch in range(2)
                    for batch in loader.batches(epoch)
                    for sample in batch.samples
                ]
            )
            assert loader.quarantined == {victims[0]: "missing", victims[1]: "changed"}
            assert (
                loader.counters["data/quarantined"] == 2 and loader.counters["data/replaced"] >= 4
            )
    assert len(runs[0]) == 20 and all(
        _same(first, second) for first, second in zip(*runs, strict=True)
    )
    assert not {records[sample.video_index].key for sample in runs[0]} & set(victims)


def test_nothing_but_broken_videos_is_an_error(tmp_path: Path, records: list[VideoRecord]) -> None:
    with (
        VideoSource(LocalStore(tmp_path), None, LoaderConfig(num_decoders=2)) as source,
        pytest.raises(UserError, match=r"of 10 training videos are broken .*missing"),
    ):
        list(_loader(source, records).batches(0))


def test_killed_decoders_cost_no_sample(source: VideoSource, records: list[VideoRecord]) -> None:
    expected = [sample for batch in _loader(source, records).batches(0) for sample in batch.samples]
    starts = source.counters["data/decoder_starts"]
    loader = _loader(source, records)
    pids = [decoder.pid for decoder in source._decoders if decoder.pid]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    found = [sample for batch in loader.batches(0) for sample in batch.samples]
    assert all(_same(first, second) for first, second in zip(expected, found, strict=True))
    assert source.counters["data/decoder_starts"] == starts + len(pids) and loader.quarantined == {}


def test_large_frames_are_carried_at_the_clips_size(
    source: VideoSource, records: list[VideoRecord], folder: Path
) -> None:
    whole = [sample for batch in _loader(source, records).batches(0) for sample in batch.samples]
    limited = LoaderConfig(num_decoders=2, max_carried_pixels=95 * 64)
    with VideoSource(LocalStore(folder), None, limited) as other:
        loader = _loader(other, records)
        small = [sample for batch in loader.batches(0) for sample in batch.samples]
    assert loader.counters["data/shrunk"] == 8 and small[0].frames_NHWC.shape[1:] == (48, 64, 3)
    for first, second in zip(whole, small, strict=True):
        assert torch.equal(
            resize_antialiased(first.frames_NHWC, 48, 64),
            resize_antialiased(second.frames_NHWC, 48, 64),
        )


def test_what_cannot_be_loaded_is_refused(source: VideoSource, records: list[VideoRecord]) -> None:
    with pytest.raises(
        UserError, match=r"training.batch_size = 16: only 10 usable training videos"
    ):
        _loader(source, records, batch_size=16)
    with pytest.raises(
        UserError, match=r"training.batch_size = 4: must be a multiple of the number of workers, 3"
    ):
        _loader(source, records, world=World(0, 3, torch.device("cpu")))
    with pytest.raises(AssertionError):
        source.frames(records[0], [40])
