"""Frames through the node's cache: equal to the bit, decoded once, verdicts kept, prefetched."""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from prp_core.data.cache.cached_frames import CachedFrames
from prp_core.data.cache.frame_cache import FrameCache
from prp_core.data.cache.node_cache import NodeCache
from prp_core.data.clip_config import ClipConfig
from prp_core.data.fetch_ahead import fetch_until
from prp_core.data.frame_source import FrameSource
from prp_core.data.indexing import index_videos
from prp_core.data.loader import SpanLoader
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import Parts, VideoRecord
from prp_core.data.object_store import LocalStore
from prp_core.data.readers import READERS
from prp_core.data.transforms import resize_antialiased
from prp_core.data.video_source import VideoSource
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.errors import BrokenVideo
from prp_core.evaluation.evaluation_config import Evaluations
from prp_core.evaluation.retrieval import Retrieval
from prp_core.evaluation.views import ViewsConfig
from prp_core.pretext.playback_rate import PlaybackRate
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.reporting import MemoryReporter
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.loop import pretrain
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.pretrain_data import PretrainData
from prp_core.training.training_config import TrainingConfig
from prp_core.world import World
from tests.far_store import FarStore
from tests.span_sampling import sampling_of
from tests.tiny_corpus import LOADER, make_corpus, open_source
from tests.video_factory import make_class_folders

CLIP = ClipConfig(
    length=8, resize_height=20, resize_width=23, crop=16, random_crop=True, flip_probability=0.5
)
GENEROUS = 1 << 30


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder, num_train=8, num_val=4)
    return folder


def parts_of(corpus: Path) -> Parts:
    return make_corpus(corpus, num_train=0, num_val=0)


def cached(
    source: FrameSource, root: Path, capacity: int = GENEROUS, clip: ClipConfig = CLIP
) -> CachedFrames:
    return CachedFrames(source, FrameCache(root, capacity), clip, made_by="test")


@pytest.mark.parametrize("size", [(36, 43), (128, 171)])
@pytest.mark.parametrize("reader", sorted(READERS))
def test_cached_frames_are_what_the_learner_would_make(
    corpus: Path, tmp_path: Path, size: tuple[int, int], reader: str
) -> None:
    clip = ClipConfig(length=8, resize_height=size[0], resize_width=size[1], crop=32)
    unknown = parts_of(corpus).train[0]
    with (
        VideoSource(LocalStore(corpus), None, replace(LOADER, reader=reader)) as plain,
        cached(plain, tmp_path, clip=clip) as source,
    ):
        for record in (
            unknown,
            replace(unknown, width=64, height=40),
        ):  # a size nobody knows, and the true one
            for positions in ([0, 1, 2], [43, 5, 5, 17], list(range(0, 44, 3))):
                found, raw = source.frames(record, positions), plain.frames(record, positions)
                assert found.shape == (len(positions), *size, 3) and found.dtype == torch.uint8
                assert torch.equal(resize_antialiased(found, *size), resize_antialiased(raw, *size))
        assert source.counters["data/frames_misses"] == 1, (
            "the key does not hold what is merely known about the video"
        )


def pretrained(
    corpus: Path, source: FrameSource, folder: Path
) -> tuple[list[tuple[int, dict[str, float]]], dict[str, float]]:
    """What was logged of two epochs (without times and counters), and the last evaluation."""
    config = PretrainConfig(
        encoder=EncoderConfig(name="c3d_small"),
        pretext=PretextTasks(playback_rate=PlaybackRate(rates="1-2-4")),
        clip=CLIP,
        training=TrainingConfig(
            num_epochs=2, batch_size=4, first_rung_epochs=1, reduction_factor=2, log_every_steps=1
        ),
        evaluation=Evaluations(
            views=ViewsConfig(num_clips=2, clip_length=8), retrieval=Retrieval(ks="1-2")
        ),
        loader=LOADER,
        seed=3,
    )
    reporter = MemoryReporter()
    checkpoints = CheckpointFolder(LocalStore(folder))
    outcome = pretrain(
        config,
        PretrainData(source, parts_of(corpus)),
        World.alone(),
        checkpoints=checkpoints,
        reporter=reporter,
    )
    kept = ("train/", "epoch/", "retrieval/", "linear_probe/")
    logged = [
        (step, {name: value for name, value in metrics.items() if name.startswith(kept)})
        for step, metrics in reporter.logged
    ]
    return logged, dict(outcome.metrics)


def test_training_and_evaluation_from_the_cache_are_bit_identical(
    corpus: Path, tmp_path: Path
) -> None:
    with open_source(corpus) as plain:
        expected = pretrained(corpus, plain, tmp_path / "plain")
    for name in ("cold", "warm"):
        with cached(open_source(corpus), tmp_path / "cache") as source:
            assert pretrained(corpus, source, tmp_path / name) == expected
            counters = source.counters
            assert counters["data/frames_misses"] == (12 if name == "cold" else 0)
    assert counters["data/frames_hits"] >= 2 * 8 and counters["data/decoder_starts"] == 0, (
        "a warm cache decodes nothing at all"
    )
    frames_file_bytes = max(
        path.stat().st_size for path in (tmp_path / "cache" / "objects").glob("*/*")
    )
    with cached(open_source(corpus), tmp_path / "small", 5 * frames_file_bytes) as source:
        assert pretrained(corpus, source, tmp_path / "small-run") == expected
        assert source.counters["data/frames_evicted"] > 0
    with cached(open_source(corpus), tmp_path / "tiny", frames_file_bytes - 1) as source:
        assert pretrained(corpus, source, tmp_path / "tiny-run") == expected
        assert (
            source.counters["data/frames_bypassed"] > 0
            and source.counters["data/frames_misses"] == 0
        )


@pytest.mark.parametrize("reader", sorted(READERS))
def test_a_whole_video_is_one_pass_of_one_decoder(corpus: Path, reader: str) -> None:
    record = parts_of(corpus).train[0]
    with VideoSource(LocalStore(corpus), None, replace(LOADER, reader=reader)) as source:
        chunks = source.read_through(record, 10)
        first = next(chunks)
        assert source._idle.empty(), "the decoder is kept between the chunks"
        rest = list(chunks)
        assert [len(chunk) for chunk in (first, *rest)] == [10, 10, 10, 10, 4]
        assert torch.equal(
            torch.cat([first, *rest]), source.frames(record, list(range(record.num_frames)))
        )
        path, decoder = corpus / record.key, source._decoders[0]
        assert torch.equal(
            torch.from_numpy(decoder.read_next(path, 17, 3)), source.frames(record, [17, 18, 19])
        ), "anywhere, too"
        assert torch.equal(
            torch.from_numpy(decoder.read_next(path, 5, 2)), source.frames(record, [5, 6])
        )
        with pytest.raises(BrokenVideo, match="truncated .frame 44 was asked for"):
            decoder.read_next(path, 40, 10)


def loader_of(source: FrameSource, records: list[VideoRecord], **kwargs: object) -> SpanLoader:
    settings: dict[str, object] = {
        "batch_size": 2,
        "seed": 7,
        "world": World.alone(),
    }
    return SpanLoader(
        source, records, CLIP, sampling_of((1, 2), CLIP.length), **(settings | kwargs)
    )  # type: ignore[arg-type]


def test_a_broken_video_is_decoded_once_for_all_trials(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    for record in parts_of(corpus).train:
        (folder / record.key).parent.mkdir(parents=True, exist_ok=True)
        (folder / record.key).write_bytes((corpus / record.key).read_bytes())
        os.utime(folder / record.key, ns=((corpus / record.key).stat().st_mtime_ns,) * 2)
    records = list(parts_of(corpus).train)
    broken = records[3]
    records[3] = replace(
        broken, num_frames=400
    )  # as if the index had promised frames that do not decode
    heard = 0.0
    for _ in range(3):
        with cached(VideoSource(LocalStore(folder), None, LOADER), tmp_path / "cache") as source:
            loader = loader_of(source, records, batch_size=8)
            samples = [sample for batch in loader.batches(0) for sample in batch.samples]
            assert len(samples) == 8 and loader.quarantined == {broken.key: "truncated"}
            heard += source.counters["data/frames_verdicts_reused"]
    assert heard == 2, "one decode, and twice the verdict"


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[VideoRecord]]:
    folder = make_class_folders(
        tmp_path_factory.mktemp("far"), ("jump", "run"), num_videos=10, num_frames=24
    )
    with VideoSource(LocalStore(folder), None, LOADER) as source:
        return folder, list(index_videos(source))


def wait_until(condition: object, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_objects_are_fetched_before_the_decoder_asks(
    records: tuple[Path, list[VideoRecord]], tmp_path: Path
) -> None:
    folder, videos = records
    store = FarStore(folder)
    config = LoaderConfig(num_decoders=1, num_prefetched_batches=1, num_prefetched_videos=6)
    cache = NodeCache(tmp_path / "cache", 64 * sum(record.num_bytes for record in videos), store)
    with closing(VideoSource(store, cache, config)) as source:
        loader = loader_of(source, videos)
        batches = loader.batches(0)
        order = [videos[loader.dataset.draw(0, index).video_index].key for index in range(20)]
        next(
            batches
            # two batches of two are decoded, or about to be: the six videos after them come without
            # being asked for
        )
        wait_until(lambda: len(store.fetched) >= 4 + 6)
        assert set(store.fetched) == set(order[:10])
        list(batches)
        assert sorted(store.fetched) == sorted(order), "each object once"
        # the very first is waited for; on a busy machine the decoder may overtake a second one
        assert cache.counters["misses"] + cache.counters["prefetched"] == 20
        assert cache.counters["misses"] <= 3 and loader.counters["data/prefetch_failures"] == 0


def test_fetching_ahead_pushes_nothing_out_before_its_use(
    records: tuple[Path, list[VideoRecord]], tmp_path: Path
) -> None:
    folder, videos = records
    store, largest = FarStore(folder), max(record.num_bytes for record in videos)
    config = LoaderConfig(num_decoders=1, num_prefetched_batches=1, num_prefetched_videos=20)
    cache = NodeCache(tmp_path / "cache", 10 * largest, store)
    with closing(VideoSource(store, cache, config)) as source:
        list(loader_of(source, videos).batches(0))
    assert cache.counters["evicted"] >= 8 and cache.counters["prefetched"] >= 10
    assert len(store.fetched) == len(set(store.fetched)) == 20, (
        "each object once, though half of them fit"
    )


def test_how_far_ahead() -> None:
    sizes = [5, 1, 1, 1, 9, 1, 1]

    def until(reached: int, fetched: int, num_ahead: int, capacity: int) -> int:
        return fetch_until(
            reached, fetched, len(sizes), num_ahead, capacity, lambda place: sizes[place]
        )

    assert until(0, 0, 3, 100) == 4, "three videos after the first"
    assert until(0, 0, 3, 2) == 3, "as many as there is room for"
    assert until(3, 4, 3, 8) == 4, "a large one waits until there is room"
    assert until(0, 5, 3, 100) == 5, "what was fetched was fetched"
    assert until(5, 6, 9, 100) == 7, "the epoch ends"
    assert until(0, 0, 0, 100) == 1 and until(0, 0, 9, 0) == 1
