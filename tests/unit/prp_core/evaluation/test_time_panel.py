"""The time panel on planted encoders: some that cannot see time, one that sees only motion."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from prp_core.data.clip_config import ClipConfig
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.errors import UserError
from prp_core.evaluation.downstream import EvaluationVideos, evaluate_encoder, time_panel
from prp_core.evaluation.evaluation_config import Evaluations
from prp_core.evaluation.time_panel import (
    SHARE_NEEDING_ORDER,
    SHARE_NEEDING_TIME,
    TimePanel,
    evenly_chosen,
    one_frame,
    share_lost,
    shuffled,
)
from prp_core.evaluation.views import ViewsConfig
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.world import World

ALONE = World.alone()
SIDE = 16
CONFIG = PretrainConfig(
    clip=ClipConfig(length=8, resize_height=SIDE, resize_width=SIDE, crop=SIDE),
    evaluation=Evaluations(views=ViewsConfig(num_clips=2, clip_length=8)),
)


class Bars:
    """A source of bars that move one pixel a frame, to the left or to the right, on grounds whose
    brightness is the video's own; they begin anywhere.
    """

    loader = LoaderConfig(num_decoders=1)

    @property
    def counters(self) -> dict[str, float]:
        return {}

    def frames(self, record: VideoRecord, positions: Sequence[int]) -> torch.Tensor:
        number = int(record.key)
        pictures = torch.full((len(positions), SIDE, SIDE, 3), 20 + 3 * number, dtype=torch.uint8)
        way = 1 if record.label == "right" else -1
        for row, position in enumerate(positions):
            for line in range(0, SIDE, 2):
                pictures[row, line : line + 2, (5 * number + 3 * line + way * position) % SIDE] = (
                    255
                )
        return pictures

    def close(self) -> None:
        pass


class Stills(nn.Module):
    """A fixed random projection of each frame: of the middle one alone, or the mean over all."""

    def __init__(self, *, averages: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("weights", torch.randn(8, 3 * SIDE * SIDE, generator=generator))
        self.averages = averages

    def forward(self, clips_BCTHW: torch.Tensor) -> torch.Tensor:
        frames_BTD = clips_BCTHW.transpose(1, 2).flatten(2).double()
        middle = frames_BTD.shape[1] // 2
        seen_BD = frames_BTD.mean(dim=1) if self.averages else frames_BTD[:, middle]
        return (seen_BD @ self.weights.double().T)[:, :, None, None, None]


class Flow(nn.Module):
    """Sees motion alone: how well the next frame is this one shifted to the left or right."""

    def forward(self, clips_BCTHW: torch.Tensor) -> torch.Tensor:
        now, after = clips_BCTHW[:, :, :-1], clips_BCTHW[:, :, 1:]
        ways = [(now.roll(step, dims=4) - after).abs().mean(dim=(1, 2, 3, 4)) for step in (-1, 1)]
        return torch.stack(ways, dim=1)[:, :, None, None, None]


def record(number: int) -> VideoRecord:
    label = ("left", "right")[number % 2]
    return VideoRecord(
        key=str(number), num_bytes=1, etag="e", num_frames=24, label=label, group=f"g{number}"
    )


VIDEOS = EvaluationVideos(
    [record(number) for number in range(20)], [record(number) for number in range(20, 40)], Bars()
)


def test_an_encoder_that_cannot_see_time_gets_0_and_one_that_sees_motion_gets_more() -> None:
    still = time_panel(Stills(averages=False), CONFIG, VIDEOS, ALONE)
    average = time_panel(Stills(averages=True), CONFIG, VIDEOS, ALONE)
    moving = time_panel(Flow(), CONFIG, VIDEOS, ALONE)
    assert still["time_panel/recall_in_order"] == still["time_panel/recall_one_frame"] > 0
    assert still[SHARE_NEEDING_TIME] == 0.0
    assert average["time_panel/recall_in_order"] == average["time_panel/recall_shuffled"] > 0
    assert average["time_panel/recall_in_order"] == average["time_panel/recall_reversed"]
    assert average[SHARE_NEEDING_ORDER] == 0.0
    assert average["time_panel/arrow_of_time_accuracy"] == 0.5
    assert moving["time_panel/recall_in_order"] == 1.0
    assert moving["time_panel/recall_reversed"] == 0.0, "what runs backwards moves the other way"
    assert moving["time_panel/recall_one_frame"] == 0.5, "two classes"
    assert moving[SHARE_NEEDING_TIME] == 0.5 and moving[SHARE_NEEDING_ORDER] > 0.25


def test_a_constraint_has_the_panel_measured_at_a_trials_end_and_not_before() -> None:
    evaluation = dataclasses.replace(
        CONFIG.evaluation, time_panel=TimePanel(least_share=0.2, max_videos=8)
    )
    config = dataclasses.replace(CONFIG, evaluation=evaluation)
    for bound, is_final, is_measured in (
        (config, True, True),
        (config, False, False),
        (CONFIG, True, False),
    ):
        found = evaluate_encoder(Flow(), bound, VIDEOS, ALONE, is_final=is_final)
        assert (SHARE_NEEDING_TIME in found) == is_measured


def test_frames_are_shuffled_by_their_own_pixels() -> None:
    clips_BCTHW = torch.rand(3, 3, 8, 4, 4, generator=torch.Generator().manual_seed(1))
    mixed = shuffled(clips_BCTHW)
    assert torch.equal(mixed, shuffled(clips_BCTHW))
    orders = []
    for before, after in zip(clips_BCTHW, mixed, strict=True):
        order = [
            next(now for now in range(8) if torch.equal(before[:, now], after[:, place]))
            for place in range(8)
        ]
        assert sorted(order) == list(range(8)) != order
        orders.append(order)
    assert orders[0] != orders[1] != orders[2], "each clip has an order of its own"
    assert torch.equal(one_frame(clips_BCTHW), clips_BCTHW[:, :, 4:5].expand_as(clips_BCTHW))


def test_the_share_lies_between_0_and_1_and_few_videos_are_chosen_evenly() -> None:
    assert share_lost(0.5, 0.2) == pytest.approx(0.6)
    assert share_lost(0.5, 0.6) == share_lost(0.0, 0.0) == 0.0
    assert evenly_chosen(range(10), 4) == (0, 2, 5, 7)
    assert evenly_chosen([3, 1], 4) == (3, 1)
    for name, value in (("max_videos", 1), ("least_share", 1.0)):
        with pytest.raises(UserError, match=f"evaluation.time_panel.{name}"):
            TimePanel(**{name: value})
