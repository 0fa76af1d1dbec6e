"""Recognition: the whole encoder fine-tuned to classify videos (method §5, §6.1).

The usual measure of a pretrained video network.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from prp_core.agreement import together
from prp_core.data.dilated_sampling import num_starts
from prp_core.data.manifest import VideoRecord
from prp_core.data.transforms import crop_frames, draws_flip, random_offsets, resize_antialiased
from prp_core.errors import BrokenVideo, DivergedError, UserError
from prp_core.evaluation.decode_ahead import decode_ahead
from prp_core.evaluation.downstream import EvaluatedConfig, EvaluationVideos
from prp_core.evaluation.evaluation_config import RecognitionConfig
from prp_core.evaluation.features import extract_tables, in_evaluation_mode
from prp_core.evaluation.views import clip_positions
from prp_core.randomness import draw_below, permutation, seed_everything, shares
from prp_core.reporting import Reporter
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
        self._optimiser = torch.optim.SGD(
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
        sums = {"loss": 0.0, "correct": 0.0, "clips": 0.0}
        batches = self._batches(epoch)
        for size in batch_sizes(len(self._train), self.config.batch_size, self._world.size):
            clips_BCTHW, labels_B = together(self._world, "reading videos", lambda: next(batches))
            for name, value in self._step(clips_BCTHW, labels_B, size).items():
                sums[name] += value
        return {
            "recognition/train_loss": sums["loss"] / sums["clips"],
            "recognition/train_accuracy": sums["correct"] / sums["clips"],
        }

    def _step(
        self, clips_BCTHW: torch.Tensor, labels_B: torch.Tensor, batch_size: int
    ) -> dict[str, float]:
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
        loss_value, num_correct = torch.stack([loss.detach(), correct.to(loss.dtype)]).tolist()
        total = self._world.sum(
            {"loss": loss_value * len(labels_B), "correct": num_correct, "clips": len(labels_B)}
        )
        if not math.isfinite(total["loss"]):
            raise DivergedError(self.num_steps, "recognition/train_loss", total["loss"])
        return total

    def _batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """This worker's share of each batch of the epoch: clips in [0, 1] and class numbers."""
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
            clips = [self._augment(frames_NHWC, index, epoch) for index, frames_NHWC in items]
            labels = [self._labels.index(self._train[index].label or "") for index, _ in items]
            yield torch.stack(clips), torch.tensor(labels, device=self._world.device)

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

    def _augment(self, frames_NHWC: torch.Tensor, index: int, epoch: int) -> torch.Tensor:
        """(3, T, crop, crop) with one random crop and one flip for the whole clip."""
        key = (self._seed, "recognition", epoch, index)
        clip = self._clip
        frames_NCHW = resize_antialiased(
            frames_NHWC.to(self._world.device), clip.resize_height, clip.resize_width
        )
        top, left = random_offsets(clip.resize_height, clip.resize_width, clip.crop, *key)
        return crop_frames(
            frames_NCHW, clip.crop, top, left, flip=draws_flip(clip, *key)
        ).transpose(0, 1)

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
