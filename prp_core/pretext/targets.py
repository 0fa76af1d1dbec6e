"""Batches on the device: clips and every task's targets from the native frames of spans.

The frames of all samples lie in one tensor; tables of row numbers, worked out in integers, say
which of them each task looks at. So the rates of a batch may differ and no pixel is touched item by
item. A batch is made in two steps: `pack_batch` on the CPU, one tensor of pixels and one of
numbers; `assemble_batch` on the device, where nothing waits for a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from prp_core.data.augmentation.batches import augment_frames, draw_for_inputs, draw_for_spans
from prp_core.data.clip_config import ClipConfig
from prp_core.data.dilated_sampling import input_positions
from prp_core.data.spans import SpanBatch, SpanSample
from prp_core.data.transfer import (
    PackedFrames,
    PackedNumbers,
    allocate_for,
    pack_numbers,
)
from prp_core.data.transforms import (
    Placement,
    crop_offsets,
    cropped_pieces,
    draws_flip,
    pack_crops,
)
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.task import SpanRows, Tables

INPUT = "input"
SPAN_DRAWS = "span "
INPUT_DRAWS = "frame "


@dataclass(frozen=True)
class PretextBatch:
    """The clips of a step, and the targets of each task that is on.

    `clip_BCTHW` is (B, 3, T, H, W), float32 in [0, 1]; `targets` maps a task's name to its own
    type.
    """

    clip_BCTHW: torch.Tensor
    targets: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.clip_BCTHW)


@dataclass(frozen=True)
class PackedBatch:
    """The spans of a step with all that their clips and targets depend on, in two tensors.

    `placements` are those of the samples of `spans`.
    """

    spans: SpanBatch
    frames: PackedFrames
    numbers: PackedNumbers
    placements: tuple[Placement, ...]

    def to(self, device: torch.device) -> PackedBatch:
        """The same on `device`, in two copies."""
        return replace(self, frames=self.frames.to(device), numbers=self.numbers.to(device))

    @property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What was copied: the pixels and the numbers."""
        return self.frames.packed, self.numbers.packed


def build_pretext_batch(
    spans: SpanBatch,
    clip: ClipConfig,
    tasks: PretextTasks,
    device: torch.device | str,
    generator_key: tuple[int | str, ...],
) -> PretextBatch:
    """Resize, crop and flip the spans, then arrange clips and targets on `device`.

    Each span has one crop and one flip, drawn for (*generator_key, epoch, index) of its sample.
    """
    device = torch.device(device)
    return assemble_batch(
        pack_batch(spans, clip, tasks, device, generator_key).to(device), clip, tasks
    )


def pack_batch(
    spans: SpanBatch,
    clip: ClipConfig,
    tasks: PretextTasks | None,
    device: torch.device,
    generator_key: tuple[int | str, ...],
) -> PackedBatch:
    """All that `assemble_batch` needs, on the CPU, in memory from which `device` copies best.

    Without `tasks` it is enough for `cropped_frames` alone.
    """
    samples = spans.samples
    rows = span_rows(samples, clip.length)
    keys = sample_keys(samples, generator_key)
    num_frames = [len(sample.frames_NHWC) for sample in samples]
    tables: Tables = {INPUT: input_rows(rows)} if tasks else {}
    for name, task in (tasks.active if tasks else {}).items():
        tables |= {f"{name}.{table}": values for table, values in task.tables(rows).items()}
    of_spans = draw_for_spans(num_frames, keys, clip.augmentation)
    of_inputs = draw_for_inputs(keys, clip.length, clip.augmentation)
    tables |= {SPAN_DRAWS + name: draws for name, draws in of_spans.items()}
    tables |= {INPUT_DRAWS + name: draws for name, draws in of_inputs.items()}
    allocate = allocate_for(device)
    places = tuple(Placement(*crop_offsets(clip, *key), draws_flip(clip, *key)) for key in keys)
    return PackedBatch(
        spans,
        pack_crops([sample.frames_NHWC for sample in samples], places, clip, device),
        pack_numbers(tables, allocate),
        places,
    )


@torch.no_grad()
def assemble_batch(packed: PackedBatch, clip: ClipConfig, tasks: PretextTasks) -> PretextBatch:
    """Clips and targets on the device of `packed`; nothing here waits for the device."""
    tables = packed.numbers.tables()
    frames_NCHW = cropped_frames(packed, clip, tables)
    clip_BTCHW = frames_NCHW[tables[INPUT]]
    if of_inputs := _named(tables, INPUT_DRAWS):
        changed_NCHW = augment_frames(
            clip_BTCHW.flatten(0, 1), of_inputs, clip.augmentation, per_frame=True
        )
        clip_BTCHW = changed_NCHW.unflatten(0, clip_BTCHW.shape[:2])
    targets = {
        name: task.targets(frames_NCHW, _named(tables, f"{name}."))
        for name, task in tasks.active.items()
    }
    # On a GPU as its convolutions want it; a CPU's rounding depends on the layout.
    is_gpu = clip_BTCHW.device.type == "cuda"
    layout = torch.channels_last_3d if is_gpu else torch.contiguous_format
    return PretextBatch(clip_BTCHW.transpose(1, 2).contiguous(memory_format=layout), targets)


def cropped_frames(
    packed: PackedBatch, clip: ClipConfig, tables: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """The frames of all samples in their order, float32 (N, 3, crop, crop) in [0, 1].

    Each sample has one crop, one flip, and one draw of each augmentation of whole clips. Neighbours
    that are alike are resized together.
    """
    pieces = cropped_pieces(packed.frames, packed.placements, clip)
    return augment_frames(
        torch.cat(pieces), _named(tables, SPAN_DRAWS), clip.augmentation, per_frame=False
    )


def crop_spans(
    samples: tuple[SpanSample, ...],
    clip: ClipConfig,
    device: torch.device,
    key: tuple[int | str, ...],
) -> torch.Tensor:
    """See `cropped_frames`: those of `samples`, on `device`."""
    packed = pack_batch(SpanBatch(samples), clip, None, device, key).to(device)
    return cropped_frames(packed, clip, packed.numbers.tables())


def _named(tables: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tables whose names begin with `prefix`, by the rest of their names."""
    return {
        name.removeprefix(prefix): table
        for name, table in tables.items()
        if name.startswith(prefix)
    }


def span_rows(samples: tuple[SpanSample, ...], clip_length: int) -> SpanRows:
    """Where each position of each sample lies in the concatenated frames of `samples`."""
    row_of = []
    first = 0
    for sample in samples:
        assert len(sample.positions) == len(sample.frames_NHWC), (
            sample.index,
            len(sample.positions),
            sample.frames_NHWC.shape,
        )
        row_of.append({position: first + row for row, position in enumerate(sample.positions)})
        first += len(sample.positions)
    return SpanRows(samples, clip_length, tuple(row_of))


def input_rows(spans: SpanRows) -> list[list[int]]:
    """The rows of each clip's frames, (B, T)."""
    return [
        [row_of[position] for position in input_positions(spans.clip_length, sample.rate)]
        for sample, row_of in spans
    ]


def sample_keys(
    samples: tuple[SpanSample, ...], key: tuple[int | str, ...]
) -> list[tuple[int | str, ...]]:
    """The key of each sample's draws on the device: (*`key`, epoch, index)."""
    return [(*key, sample.epoch, sample.index) for sample in samples]
