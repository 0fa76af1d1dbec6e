"""Recognition: the whole encoder fine-tuned to classify videos (method §5, §6.1).

The usual measure of a pretrained video network.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from prp_core.data.carried_frames import carried_frames
from prp_core.data.clip_config import ClipConfig
from prp_core.data.device_feed import DeviceFeed
from prp_core.data.dilated_sampling import num_starts
from prp_core.data.manifest import VideoRecord
from prp_core.data.transfer import (
    PackedFrames,
    PackedNumbers,
    allocate_for,
    pack_numbers,
)
from prp_core.data.transforms import (
    Placement,
    cropped_pieces,
    draws_flip,
    pack_crops,
    random_offsets,
)
from prp_core.eager_optimisers import eager
from prp_core.errors import BrokenVideo, UserError
from prp_core.evaluation.decode_ahead import decode_ahead
from prp_core.evaluation.downstream import EvaluatedConfig, EvaluationVideos
from prp_core.evaluation.evaluation_config import RecognitionConfig
from prp_core.evaluation.features import extract_tables, in_evaluation_mode
from prp_core.evaluation.views import clip_positions
from prp_core.randomness import draw_below, permutation, seed_everything, shares
from prp_core.step_numbers import EPOCH, StepNumbers, StepSums
from prp_core.world import World, load_buffers, share_buffers

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
    """The frames and labels of a step, in two tensors, and where each clip is cropped.

    `num_replaced` counts the broken videos that others stand for.
    """

    frames: PackedFrames
    labels: PackedNumbers
    placements: tuple[Placement, ...]
    num_replaced: int

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


@dataclass(frozen=True)
class ReadClip:
    """The frames of a clip of video `index`, which stands for `num_replaced` broken ones."""

    index: int
    frames_NHWC: torch.Tensor
    num_replaced: int


class FineTuning:
    """The network and its optimiser, one step at a time.

    An epoch is `begin_epoch`, a `step` on each of `batches`, `end_epoch`; of one that was begun
    before `load_state`, the rest.
    """

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
        self.labels = tuple(sorted({record.label or "" for record in self._train}))
        seed_everything(self._seed, "recognition")
        self.network = Recogniser(copy.deepcopy(encoder), len(self.labels)).to(world.device)
        self._wrapped = world.wrap(self.network)
        self._optimiser = eager(torch.optim.SGD)(
            self.network.parameters(),
            lr=self.config.learning_rate,
            momentum=self.config.momentum,
            weight_decay=self.config.weight_decay,
        )
        self._sums = StepSums()
        self._steps_of_epoch = 0
        self.num_steps = 0
        self.num_replaced = 0

    def begin_epoch(self, epoch: int) -> None:
        """Set the learning rate of epoch `epoch`, counted from 0."""
        for group in self._optimiser.param_groups:
            group["lr"] = self.config.learning_rate_of(epoch + 1)

    def sizes_left(self) -> list[int]:
        """The sizes of the epoch's batches that were not learnt from yet, over all workers."""
        sizes = batch_sizes(len(self._train), self.config.batch_size, self._world.size)
        return sizes[self._steps_of_epoch :]

    def batches(self, epoch: int) -> Generator[PackedClips, None, None]:
        """This worker's share of each batch of the epoch that is left, on the device."""
        feed: DeviceFeed[PackedClips] = DeviceFeed(lambda packed: packed, self._world.device)
        with (
            closing(feed),
            closing(self._shares(epoch)) as own,
            closing(feed.batches(own)) as batches,
        ):
            yield from batches

    def end_epoch(self) -> dict[str, float]:
        """Mean loss and accuracy over all workers' clips of the epoch, and its learning rate.

        Raises `DivergedError` on every worker when a loss was not finite.
        """
        sums = self._sums.sums(EPOCH)
        self._sums.clear(EPOCH)
        self._steps_of_epoch = 0
        return {
            "recognition/train_loss": sums["recognition/train_loss"] / sums["clips"],
            "recognition/train_accuracy": sums["correct"] / sums["clips"],
            "recognition/learning_rate": float(self._optimiser.param_groups[0]["lr"]),
        }

    def state(self) -> dict[str, Any]:
        """What all workers have in common. Raises as `end_epoch` does."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "num_steps": self.num_steps,
            "steps_of_epoch": self._steps_of_epoch,
            "sums": self._sums.state(EPOCH),
        }

    def own_state(self) -> dict[str, Any]:
        """This worker's own running statistics and count of replaced videos."""
        return {"buffers": dict(self.network.named_buffers()), "num_replaced": self.num_replaced}

    def load_state(self, state: Mapping[str, Any], own: Mapping[str, Any] | None) -> None:
        """Continue where `state` and `own` (None: this worker had no predecessor) were taken."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.num_steps = int(state["num_steps"])
        self._steps_of_epoch = int(state["steps_of_epoch"])
        self._sums.load_state(EPOCH, state["sums"])
        if own is not None:
            load_buffers(self.network, own["buffers"])
            self.num_replaced = int(own["num_replaced"])

    def step(self, packed: PackedClips, batch_size: int) -> None:
        """One update on this worker's share of a batch; nothing waits for its numbers here."""
        clips_BCTHW, labels_B = packed.clips(self._clip)
        self.network.train()
        logits = self._wrapped(clips_BCTHW)
        loss = cross_entropy(logits, labels_B)
        self._optimiser.zero_grad(set_to_none=True)
        (
            loss * (len(labels_B) * self._world.size / batch_size)
        ).backward()  # the workers' mean is the whole batch's
        self._optimiser.step()
        self.num_steps += 1
        self.num_replaced += packed.num_replaced
        correct = (logits.argmax(dim=1) == labels_B).sum()
        sums = torch.stack([loss.detach() * len(labels_B), correct]).double()
        values = torch.cat([sums, sums.new_full((1,), len(labels_B))])
        self._steps_of_epoch += 1
        names = ("recognition/train_loss", "correct", "clips")
        self._sums.add(StepNumbers(self.num_steps, names, self._world.sum_tensor(values)))

    def _shares(self, epoch: int) -> Generator[PackedClips, None, None]:
        """This worker's share of each batch of the epoch that is left, in host memory."""
        order = permutation(len(self._train), self._seed, "recognition", epoch)
        own: list[list[int]] = []
        for size in batch_sizes(len(order), self.config.batch_size, self._world.size):
            own.append(shares(order[:size], self._world.rank, self._world.size))
            order = order[size:]
        own = own[self._steps_of_epoch :]
        reads = decode_ahead(
            [index for share in own for index in share],
            lambda index: self._read(index, epoch),
            self._source.loader.num_decoders,
        )
        for share in own:
            items = [_good(outcome) for _, outcome in (next(reads) for _ in share)]
            allocate = allocate_for(self._world.device)
            labels = [self.labels.index(self._train[item.index].label or "") for item in items]
            places = tuple(self._placement(item.index, epoch) for item in items)
            yield PackedClips(
                pack_crops(
                    [item.frames_NHWC for item in items], places, self._clip, self._world.device
                ),
                pack_numbers({"labels": labels}, allocate),
                places,
                sum(item.num_replaced for item in items),
            )

    def _read(self, index: int, epoch: int) -> ReadClip:
        """The clip of video `index`; of another video, by draw, for a broken one."""
        for attempt in range(MAX_REPLACEMENTS):
            record = self._train[index]
            starts = max(1, num_starts(record.num_frames, self._views.clip_length))
            start = draw_below(starts, self._seed, "recognition", epoch, index, "start")
            positions = clip_positions(start, self._views.clip_length, record.num_frames)
            distinct = tuple(sorted(set(positions)))
            try:
                frames_NHWC = carried_frames(self._source, record, distinct, self._clip)
            except BrokenVideo:
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
            shown = [distinct.index(position) for position in positions]
            return ReadClip(index, frames_NHWC[shown], attempt)
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
        guesses = [self.labels[number] for number in table.features_ND.argmax(dim=1).tolist()]
        num_hits = sum(guess == label for guess, label in zip(guesses, table.labels, strict=True))
        counts = {
            "recognition/num_videos": float(len(table)),
            "recognition/num_broken": float(len(table.broken)),
        }
        return {"recognition/accuracy": num_hits / len(table), **counts}


def _good(outcome: ReadClip | BrokenVideo) -> ReadClip:
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
