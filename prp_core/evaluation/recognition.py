"""Recognition: the whole encoder fine-tuned to classify videos (method §5, §6.1).

The usual measure of a pretrained video network.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from prp_core.agreement import together
from prp_core.data.clip_config import ClipConfig
from prp_core.data.device_feed import DeviceFeed
from prp_core.data.dilated_sampling import num_starts
from prp_core.data.manifest import VideoRecord
from prp_core.data.transfer import (
    PackedFrames,
    PackedNumbers,
    allocate_for,
    pack_frames,
    pack_numbers,
)
from prp_core.data.transforms import Placement, cropped_pieces, draws_flip, random_offsets
from prp_core.eager_optimisers import eager
from prp_core.errors import BrokenVideo, UserError
from prp_core.evaluation.decode_ahead import decode_ahead
from prp_core.evaluation.downstream import EvaluatedConfig, EvaluationVideos
from prp_core.evaluation.evaluation_config import RecognitionConfig
from prp_core.evaluation.features import extract_tables, in_evaluation_mode
from prp_core.evaluation.views import clip_positions
from prp_core.randomness import draw_below, permutation, seed_everything, shares
from prp_core.reporting import Reporter
from prp_core.step_numbers import EPOCH, StepNumbers, StepSums
from prp_core.world import World, share_buffers

MAX_REPLACEMENTS = 10


class Recogniser(nn.Module):
    """`encoder`, global average pool, linear layer to one logit for each class; no dropout."""

    def __init__(self, encoder: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        channels = int(encoder.feature_channels)  # type: ignore[arg-type]
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, clip_BCTHW: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of clips in [0, 1]."""
        return self.linear(self.encoder(clip_BCTHW).mean(dim=(2, 3, 4)))


@dataclass(frozen=True)
class PackedClips:
    """The frames and labels of a step, in two tensors, and where each clip is cropped."""

    frames: PackedFrames
    labels: PackedNumbers
    placements: tuple[Placement, ...]

    def to(self, device: torch.device) -> PackedClips:
        """The same on `device`, in two copies."""
        return replace(self, frames=self.frames.to(device), labels=self.labels.to(device))

    @property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What was copied: the pixels and the labels."""
        return self.frames.packed, self.labels.packed

    def clips(self, clip: ClipConfig) -> tuple[torch.Tensor, torch.Tensor]:
        """Clips (B, 3, T, crop, crop) in [0, 1], and class numbers (B,)."""
        clips_CTHW = [
            piece_NCHW.transpose(0, 1)
            for piece_NCHW in cropped_pieces(self.frames, self.placements, clip)
        ]
        return torch.stack(clips_CTHW), self.labels.tables()["labels"]


def fine_tune(
    encoder: nn.Module,
    config: EvaluatedConfig,
    videos: EvaluationVideos,
    world: World,
    reporter: Reporter,
) -> dict[str, float]:
    """Fine-tune a copy of `encoder` on the gallery; ``recognition/accuracy`` on the queries.

    ``config.evaluation.recognition`` is not None. Every layer learns, the linear one from new
    weights. Training sees one random clip of ``views.clip_length`` consecutive frames of each video
    and epoch, with a random crop; all videos count, also the last incomplete batch. Accuracy is
    top-1 of the mean of the logits over ``views.num_clips`` clips, with the weights after the last
    epoch: none are chosen by looking at the queries. Raises `UserError` as `check_labels` does, or
    for too few videos.
    """
    videos.check_labels()
    num_videos = len(videos.gallery)
    if num_videos < 2 * world.size:
        raise UserError(
            f"{num_videos} training videos are too few to fine-tune on {world.size} "
            "workers; each needs two"
        )
    tuning = FineTuning(encoder, config, videos, world)
    for epoch in range(tuning.config.num_epochs):
        metrics = tuning.train_epoch(epoch)
        _log(world, reporter, metrics, tuning.num_steps)
    metrics = {
        **tuning.evaluate(videos.queries),
        "recognition/num_replaced": world.sum({"replaced": len(tuning.replaced)})["replaced"],
    }
    _log(world, reporter, metrics, tuning.num_steps)
    return metrics


def _log(world: World, reporter: Reporter, metrics: dict[str, float], step: int) -> None:
    together(world, "logging", lambda: reporter.log(metrics, step=step) if world.is_first else None)


class FineTuning:
    """The network and its optimiser, one epoch at a time."""

    def __init__(
        self, encoder: nn.Module, config: EvaluatedConfig, videos: EvaluationVideos, world: World
    ) -> None:
        assert config.evaluation.recognition is not None
        self.config: RecognitionConfig = config.evaluation.recognition
        self._train = videos.gallery
        self._source = videos.source
        self._clip = config.clip
        self._views = config.evaluation.views
        self._world = world
        self._seed = config.seed
        self._labels = tuple(sorted({record.label or "" for record in self._train}))
        seed_everything(self._seed, "recognition")
        self.network = Recogniser(copy.deepcopy(encoder), len(self._labels)).to(world.device)
        self._wrapped = world.wrap(self.network)
        self._optimiser = eager(torch.optim.SGD)(
            self.network.parameters(),
            lr=self.config.learning_rate,
            momentum=self.config.momentum,
            weight_decay=self.config.weight_decay,
        )
        self.num_steps = 0
        self.replaced: list[BrokenVideo] = []

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Epoch `epoch`, counted from 0; mean loss and accuracy over all workers' clips."""
        for group in self._optimiser.param_groups:
            group["lr"] = self.config.learning_rate_of(epoch + 1)
        feed: DeviceFeed[PackedClips] = DeviceFeed(lambda packed: packed, self._world.device)
        steps = StepSums()
        with closing(feed), closing(feed.batches(self._batches(epoch))) as batches:
            for size in batch_sizes(len(self._train), self.config.batch_size, self._world.size):
                packed = together(self._world, "reading videos", lambda: next(batches))
                clips_BCTHW, labels_B = packed.clips(self._clip)
                steps.add(self._step(clips_BCTHW, labels_B, size))
        sums = steps.sums(EPOCH)
        return {
            "recognition/train_loss": sums["recognition/train_loss"] / sums["clips"],
            "recognition/train_accuracy": sums["correct"] / sums["clips"],
        }

    def _step(
        self, clips_BCTHW: torch.Tensor, labels_B: torch.Tensor, batch_size: int
    ) -> StepNumbers:
        """One update; sums over all workers' clips, which nothing waits for here."""
        self.network.train()
        logits = self._wrapped(clips_BCTHW)
        loss = cross_entropy(logits, labels_B)
        self._optimiser.zero_grad(set_to_none=True)
        (
            loss * (len(labels_B) * self._world.size / batch_size)
        ).backward()  # the workers' mean is the whole batch's
        self._optimiser.step()
        self.num_steps += 1
        correct = (logits.argmax(dim=1) == labels_B).sum()
        sums = torch.stack([loss.detach() * len(labels_B), correct]).double()
        values = torch.cat([sums, sums.new_full((1,), len(labels_B))])
        names = ("recognition/train_loss", "correct", "clips")
        return StepNumbers(self.num_steps, names, self._world.sum_tensor(values))

    def _batches(self, epoch: int) -> Iterator[PackedClips]:
        """This worker's share of each batch of the epoch."""
        order = permutation(len(self._train), self._seed, "recognition", epoch)
        own: list[list[int]] = []
        for size in batch_sizes(len(order), self.config.batch_size, self._world.size):
            own.append(shares(order[:size], self._world.rank, self._world.size))
            order = order[size:]
        reads = decode_ahead(
            [index for share in own for index in share],
            lambda index: self._read(index, epoch),
            self._source.loader.num_decoders,
        )
        for share in own:
            items = [_good(outcome) for _, outcome in (next(reads) for _ in share)]
            allocate = allocate_for(self._world.device)
            labels = [self._labels.index(self._train[index].label or "") for index, _ in items]
            yield PackedClips(
                pack_frames([frames_NHWC for _, frames_NHWC in items], allocate),
                pack_numbers({"labels": labels}, allocate),
                tuple(self._placement(index, epoch) for index, _ in items),
            )

    def _read(self, index: int, epoch: int) -> tuple[int, torch.Tensor]:
        """(the video's index, its clip's frames); another video, by draw, for a broken one."""
        for attempt in range(MAX_REPLACEMENTS):
            record = self._train[index]
            starts = max(1, num_starts(record.num_frames, self._views.clip_length))
            start = draw_below(starts, self._seed, "recognition", epoch, index, "start")
            positions = clip_positions(start, self._views.clip_length, record.num_frames)
            distinct = tuple(sorted(set(positions)))
            try:
                frames_NHWC = self._source.frames(record, distinct)
            except BrokenVideo as broken:
                self.replaced.append(broken)
                index = draw_below(
                    len(self._train),
                    self._seed,
                    "recognition",
                    epoch,
                    index,
                    "replacement",
                    attempt,
                )
                continue
            return index, frames_NHWC[[distinct.index(position) for position in positions]]
        raise UserError(
            f"{MAX_REPLACEMENTS} videos in a row cannot be read, the last "
            f"{record.key!r}; index the videos again"
        )

    def _placement(self, index: int, epoch: int) -> Placement:
        """One random crop and one flip for a whole clip."""
        key = (self._seed, "recognition", epoch, index)
        clip = self._clip
        offsets = random_offsets(clip.resize_height, clip.resize_width, clip.crop, *key)
        return Placement(*offsets, draws_flip(clip, *key))

    def evaluate(self, records: Sequence[VideoRecord]) -> dict[str, float]:
        """Top-1 of the mean logits over the views.

        A class that training lacks counts as a miss; a broken video is counted apart.
        """
        share_buffers(self.network, self._world)
        with in_evaluation_mode(self.network):
            table = extract_tables(
                {"logits": self.network},
                records,
                self._source,
                self._clip,
                self._views,
                self._world,
            )["logits"]
        guesses = [self._labels[number] for number in table.features_ND.argmax(dim=1).tolist()]
        num_hits = sum(guess == label for guess, label in zip(guesses, table.labels, strict=True))
        counts = {
            "recognition/num_videos": float(len(table)),
            "recognition/num_broken": float(len(table.broken)),
        }
        return {"recognition/accuracy": num_hits / len(table), **counts}


def _good(outcome: tuple[int, torch.Tensor] | BrokenVideo) -> tuple[int, torch.Tensor]:
    if isinstance(outcome, BrokenVideo):
        raise outcome
    return outcome


def batch_sizes(num_videos: int, batch_size: int, num_workers: int) -> list[int]:
    """Sizes of the batches that hold `num_videos` in order.

    A rest that would leave a worker fewer than two joins the batch before: a worker without a clip
    would hang the others, and batch norm needs more than one value.
    """
    sizes = [batch_size] * (num_videos // batch_size)
    rest = num_videos % batch_size
    if rest and sizes and rest < 2 * num_workers:
        sizes[-1] += rest
    elif rest:
        sizes.append(rest)
    return sizes
