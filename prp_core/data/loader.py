"""The training data loader: batches of spans, decoded ahead by threads, in a reproducible order."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from prp_core.checks import check
from prp_core.data.carried_frames import read_carried
from prp_core.data.clip_config import ClipConfig
from prp_core.data.clip_dataset import ClipDataset, SampleDraw
from prp_core.data.colour import Frames
from prp_core.data.fetch_ahead import FetchAhead
from prp_core.data.frame_source import FrameSource, PlanarSource
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.data.spans import SpanBatch, SpanSample, SpanSampling
from prp_core.errors import BrokenVideo, UserError
from prp_core.randomness import shares
from prp_core.world import World

log = logging.getLogger(__name__)

MAX_REPLACEMENTS = 50


class SpanLoader:
    """Batches of spans for one worker of `world`, in the order that (seed, epoch) decides.

    `batch_size` counts samples over all workers; the last incomplete batch is dropped. Threads and
    prefetching follow the settings that `source` was opened with; the threads live until `close`.
    A video that turns out broken is quarantined for this loader's life: logged once with its
    reason, counted, and replaced by a draw that depends on the sample alone. Raises `UserError`
    when the records cannot fill one batch or cannot be drawn at all rates.
    """

    def __init__(
        self,
        source: FrameSource,
        records: Sequence[VideoRecord],
        clip: ClipConfig,
        sampling: SpanSampling,
        *,
        batch_size: int,
        seed: int,
        world: World,
    ) -> None:
        check(
            batch_size % world.size == 0,
            "training.batch_size",
            batch_size,
            f"must be a multiple of the number of workers, {world.size}",
        )
        if len(records) < batch_size:
            raise UserError(
                f"training.batch_size = {batch_size}: only {len(records)} usable training videos; "
                "lower it or add videos"
            )
        self.dataset = ClipDataset(tuple(records), clip, sampling, seed)
        self.steps_per_epoch = len(records) // batch_size
        self.quarantined: dict[str, str] = {}
        self._source = source
        self._clip = clip
        self._loader = source.loader
        self._read = _frames_of(source, self._loader)
        self._batch_size = batch_size
        self._world = world
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(
            self._loader.num_decoders, thread_name_prefix="span-loader"
        )

    def close(self) -> None:
        """End the threads; no batch is read any more."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    @property
    def counters(self) -> dict[str, float]:
        """Totals of this worker since the loader was made, by metric name."""
        with self._lock:
            names = (
                "data/samples",
                "data/quarantined",
                "data/changed",
                "data/replaced",
                "data/shrunk",
                "data/prefetch_failures",
            )
            return {name: float(self._counts[name]) for name in names}

    def _count(self, name: str, amount: int = 1) -> None:
        with self._lock:
            self._counts[name] += amount

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[SpanBatch]:
        """This worker's share of each batch of `epoch`, from `first_step` on.

        Leaving the loop early ends what is being read.
        """
        indices = [self._indices(step) for step in range(first_step, self.steps_per_epoch)]
        place_of = {
            index: place
            for place, index in enumerate(index for share in indices for index in share)
        }
        ahead: deque[list[Future[SpanSample]]] = deque()
        with self._fetching_ahead(epoch, list(place_of)) as fetching:

            def load(index: int) -> SpanSample:
                fetching.reach(place_of[index])
                return self._load(epoch, index)

            try:
                for share in indices:
                    ahead.append([self._threads.submit(load, index) for index in share])
                    if len(ahead) > self._loader.num_prefetched_batches:
                        yield self._wait(ahead)
                while ahead:
                    yield self._wait(ahead)
            finally:
                left = [future for futures in ahead for future in futures]
                wait([future for future in left if not future.cancel()])
                self._count("data/prefetch_failures", fetching.num_failures)

    def _fetching_ahead(self, epoch: int, indices: list[int]) -> FetchAhead:
        """The prefetcher of this worker's samples of the epoch, in order.

        Drawing a sample again costs little; the video of a replaced one is fetched by its decoder.
        """
        dataset = self.dataset
        num_ahead = self._loader.num_prefetched_videos
        return FetchAhead(
            self._source,
            len(indices),
            num_ahead,
            lambda place: dataset.records[dataset.draw(epoch, indices[place]).video_index],
        )

    def _indices(self, step: int) -> list[int]:
        first = step * self._batch_size
        return shares(range(first, first + self._batch_size), self._world.rank, self._world.size)

    def _wait(self, ahead: deque[list[Future[SpanSample]]]) -> SpanBatch:
        samples = tuple(future.result() for future in ahead[0])
        ahead.popleft()
        self._count("data/samples", len(samples))
        return SpanBatch(samples)

    def _load(self, epoch: int, index: int) -> SpanSample:
        for attempt in range(MAX_REPLACEMENTS):
            draw = self.dataset.draw(epoch, index, attempt)
            record = self.dataset.records[draw.video_index]
            if record.key not in self.quarantined:
                try:
                    return self._sample(draw, record)
                except BrokenVideo as error:
                    self._quarantine(error)
            self._count("data/replaced")
        raise UserError(
            f"{len(self.quarantined)} of {len(self.dataset.records)} training videos are broken "
            f"and {MAX_REPLACEMENTS} draws found no other (the last: {record.key}: "
            f"{self.quarantined[record.key]}); index the corpus again"
        )

    def _sample(self, draw: SampleDraw, record: VideoRecord) -> SpanSample:
        positions, numbers = self.dataset.positions(draw)
        frames, is_shrunk = read_carried(self._read, record, numbers, self._clip, self._loader)
        self._count("data/shrunk", int(is_shrunk))
        return draw.sample(frames, positions)

    def quarantine_again(self, reasons: Mapping[str, str]) -> None:
        """Leave out the videos that this run found broken before it was interrupted."""
        with self._lock:
            for key, reason in reasons.items():
                self.quarantined[key] = reason
                self._counts["data/quarantined"] += 1
                self._counts["data/changed"] += reason == "changed"

    def _quarantine(self, error: BrokenVideo) -> None:
        with self._lock:
            if error.key in self.quarantined:
                return
            self.quarantined[error.key] = error.reason
            self._counts["data/quarantined"] += 1
            self._counts["data/changed"] += error.reason == "changed"
        log.warning("quarantined %s: %s. %s", error.key, error.reason, error.detail)


def _frames_of(
    source: FrameSource, loader: LoaderConfig
) -> Callable[[VideoRecord, Sequence[int]], Frames]:
    """The function that reads a sample's frames, by `loader.colour`.

    Raises `UserError` where the source stores RGB.
    """
    if loader.colour == "decoder":
        return source.frames
    if not isinstance(source, PlanarSource):
        raise UserError(
            f"loader.colour = {loader.colour!r}: these frames are stored as RGB; "
            "set it to 'decoder'"
        )
    return source.planes
