"""Sentinels: each failure is planted, and the one that is meant for it rings."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from orchestrator.config.run_config import load_config
from orchestrator.coordinator.shown_metrics import alarm_tag
from orchestrator.report.answer import answer
from orchestrator.sweep.trial_rows import event_line
from orchestrator.trial.messages import TrialView
from orchestrator.trial.worker import permanent_failure
from orchestrator.trial_state import TrialState
from prp_core.data.clip_config import ClipConfig
from prp_core.data.manifest import Manifest, VideoRecord, parts
from prp_core.data.metadata_probe import metadata_accuracy, metadata_rate_metrics
from prp_core.data.spans import SpanSampling
from prp_core.errors import FeaturesNotFinite
from prp_core.evaluation.feature_health import feature_health
from prp_core.evaluation.features import FeatureTable, check_finite
from prp_core.evaluation.sentinels import SENTINELS, alarms, leakage
from prp_core.pretext.slow_motion import contrast_share
from tests.small_sweep import record, trial

HEALTHY = {
    "feature/spread": 0.4,
    "feature/effective_rank": 20.0,
    "epoch/reconstruction_contrast": 0.6,
    "epoch/rate_accuracy_over_chance": 0.8,
    "held_out/rate_accuracy_over_chance": 0.6,
    "metadata/rate_accuracy": 0.52,
    "metadata/rate_chance": 0.5,
}


def table(features_ND: torch.Tensor) -> FeatureTable:
    names = tuple(f"{number}.mp4" for number in range(len(features_ND)))
    return FeatureTable(features_ND=features_ND, labels=names, keys=names, groups=names)


def test_nothing_rings_over_a_healthy_training_or_one_that_measured_nothing() -> None:
    assert alarms(HEALTHY) == [] and alarms({}) == []


@pytest.mark.parametrize("noise", [0.0, 1e-7, 3e-7])
def test_collapsed_features_ring_whatever_rounding_makes_of_them(noise: float) -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.rand(64, generator=generator)
    equal = one * (1 + noise * torch.randn(40, 64, generator=generator))
    health = feature_health(table(equal))
    assert health["feature/effective_rank"] == 0.0
    (alarm,) = alarms({**HEALTHY, **health})
    assert alarm.startswith("the features have collapsed (spread ") and "learning_rate" in alarm
    lively = feature_health(table(torch.randn(40, 64, generator=generator)))
    assert lively["feature/effective_rank"] > 30 and alarms({**HEALTHY, **lively}) == []


@pytest.mark.parametrize("scale", [1e-4, 0.1, 1.0, 5.0, 20.0, 100.0])
def test_features_of_which_one_dimension_varies_ring(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    features_ND = torch.rand(64, generator=generator).repeat(48, 1)
    features_ND[:, 3] += scale * torch.randn(48, generator=generator)
    assert len(alarms({**HEALTHY, **feature_health(table(features_ND))})) == 1
    features_ND[:, :3] += scale * torch.randn(48, 3, generator=generator)
    assert scale < 0.1 or alarms({**HEALTHY, **feature_health(table(features_ND))}) == []


def test_a_flat_reconstruction_rings() -> None:
    target = torch.rand(2, 3, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    flat = target.mean(dim=(2, 3, 4), keepdim=True).expand_as(target)
    assert float(contrast_share(flat, target)) == pytest.approx(0.0, abs=1e-6)
    assert float(contrast_share(0.5 * target, target)) == pytest.approx(0.5)
    (alarm,) = alarms({**HEALTHY, "epoch/reconstruction_contrast": 0.01})
    assert alarm.startswith("the reconstruction is one flat colour (contrast 1.0% of the target's)")


def video(number: int, num_frames: int) -> VideoRecord:
    return VideoRecord(
        key=f"{number}.mp4", num_bytes=9, etag="e", num_frames=num_frames, fps=25, codec="h264"
    )


@pytest.mark.parametrize(("short", "rings"), [(600, False), (20, True)])
def test_a_rate_that_the_length_gives_away_rings(short: int, rings: bool) -> None:
    clip = ClipConfig(length=16, short_videos="max-rate")
    sampling = SpanSampling((1, 4), {1: tuple(range(16)), 4: tuple(range(64))})
    lengths = [short if number % 2 else 600 for number in range(200)]
    videos = [video(number, length) for number, length in enumerate(lengths)]
    found = metadata_rate_metrics(videos[:150], videos[150:], clip, sampling, 0)
    assert bool(alarms({**HEALTHY, **found})) == rings, found
    if rings:
        assert found["metadata/rate_accuracy"] == pytest.approx(0.75, abs=0.1)
    assert metadata_rate_metrics(videos, [video(9, 3)], clip, sampling, 0) == {}


@pytest.mark.parametrize(
    "changed", [{"codec": "vp9"}, {"fps": 29.97}, {"width": 160}, {"num_frames": 599}]
)
@pytest.mark.parametrize("one_in", [2, 40])
def test_each_fact_alone_gives_a_label_away(changed: dict, one_in: int) -> None:
    usual = dataclasses.replace(video(0, 600), fps=30.0, width=320, height=240)
    other = dataclasses.replace(usual, **changed)
    asked = [(other if place % one_in == 0 else usual, place % one_in) for place in range(400)]
    known = [(record, number == 0) for record, number in asked]
    assert metadata_accuracy(known, known) == 1


def test_a_rate_that_is_named_on_training_videos_alone_rings() -> None:
    (alarm,) = alarms({**HEALTHY, "held_out/rate_accuracy_over_chance": 0.05})
    assert alarm.startswith("the rate is named on training videos alone (over chance 0.80, held")


def test_every_sentinel_names_a_cause_and_what_to_do() -> None:
    assert len(SENTINELS) == 4
    assert all("; " in one.cause for one in SENTINELS.values())


def test_what_rings_is_on_the_screen_in_mlflow_and_in_the_answer() -> None:
    flat = {**HEALTHY, "epoch/reconstruction_contrast": 0.01}
    view = TrialView(3, {}, state=TrialState.FINISHED, epoch=2, num_epochs=2, metrics=flat)
    assert "ALARM: the reconstruction is one flat colour" in event_line(view, "recall")
    view.state = TrialState.RUNNING
    assert "ALARM" not in event_line(view, "recall"), "the training may still recover"
    assert alarm_tag(flat)["prp.alarms"].startswith("the reconstruction is one flat colour")
    assert alarm_tag(HEALTHY) == {}
    found = record(trial(3, "1-2", 0.5, metrics=flat))
    data = dataclasses.replace(found.data, leakage="2 groups are in several parts")
    notes = answer(dataclasses.replace(found, data=data)).notes
    assert "ALARM: 2 groups are in several parts." in notes
    assert any(note.startswith("ALARM: trial 3: the reconstruction is one") for note in notes)


def labelled(split: str, group: str, number: int, sha256: str = "") -> VideoRecord:
    return VideoRecord(
        key=f"{split}/{number}.mp4",
        num_bytes=9,
        etag="e",
        label="ab"[number % 2],
        split=split,
        group=group,
        sha256=sha256,
    )


def test_groups_and_equal_bytes_in_several_parts_are_leakage() -> None:
    apart = [
        labelled(split, f"{split}{number}", number)
        for split in ("train", "val", "test")
        for number in range(4)
    ]
    assert leakage(parts(Manifest("x", tuple(apart)), val_fraction=0.2, seed=0)) == ""
    same_group = [*apart, labelled("val", "train0", 9)]
    found = leakage(parts(Manifest("x", tuple(same_group)), val_fraction=0.2, seed=0))
    assert found.startswith("1 groups, or copies of one video, are in several parts (train0)")
    copies = [*apart, labelled("train", "t", 7, "0f"), labelled("test", "u", 8, "0f")]
    found = leakage(parts(Manifest("x", tuple(copies)), val_fraction=0.2, seed=0))
    assert "(t)" in found


def test_a_feature_that_is_no_number_ends_the_trial_for_good_and_names_the_video() -> None:
    features_ND = torch.ones(3, 4)
    check_finite(features_ND, ["a", "b", "c"])
    features_ND[1, 2] = float("nan")
    with pytest.raises(FeaturesNotFinite, match=r"feature of 'b' is not finite \(1 of 3") as it:
        check_finite(features_ND, ["a", "b", "c"])
    assert str(copy.copy(it.value)) == str(it.value), "it crosses processes"
    reason = permanent_failure(it.value, load_config("demo"))
    assert reason is not None and reason.startswith("FeaturesNotFinite: the feature of 'b'")
