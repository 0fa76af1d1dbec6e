"""The record of a sweep: its corpus, its ledger and its confirmation as they were stored."""

from __future__ import annotations

import json

import pytest

from orchestrator.confirmation import ConfirmationOutcome
from orchestrator.data.sweep_videos import divided
from orchestrator.report.record import (
    Candidate,
    ConfirmationRecord,
    chance_level,
    data_facts,
    read_confirmation,
)
from prp_core.data.manifest import Parts, VideoRecord
from tests.recorded_sweep import NUM_VAL_GROUPS, manifest_of
from tests.small_sweep import CONFIG


def test_chance_is_the_share_of_lucky_draws() -> None:
    def videos(*labels: str) -> tuple[VideoRecord, ...]:
        return tuple(
            VideoRecord(key=f"{n}", num_bytes=1, etag="e", num_frames=9, label=label)
            for n, label in enumerate(labels)
        )

    split = Parts(train=videos("a", "a", "b", "c"), val=videos("a", "b"), test=())
    assert chance_level(split, 1) == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert chance_level(split, 2) == pytest.approx(
        ((1 - (2 / 4) * (1 / 3)) + (1 - (3 / 4) * (2 / 3))) / 2
    )
    assert chance_level(split, 9) == 1.0


def test_the_videos_of_a_sweep() -> None:
    facts = data_facts(CONFIG, divided(manifest_of(), CONFIG, CONFIG.seed))
    assert (facts.num_train, facts.num_val, facts.num_test, facts.num_classes) == (72, 24, 24, 6)
    assert facts.num_val_groups == NUM_VAL_GROUPS
    assert facts.quarantined == {"truncated": 1, "empty": 1} and facts.chance == pytest.approx(
        1 / 6
    )


def test_a_confirmation_counts_once_it_has_an_outcome() -> None:
    tree = {
        "candidates": [
            {"trial": 3, "seeds": [1, 2], "recall_at_1": [0.5, 0.6], "low": 0.4, "high": 0.7}
        ],
        "outcome": "tie",
        "text": "A tie.",
    }
    only = (Candidate(3, (1, 2), (0.5, 0.6), 0.4, 0.7),)
    assert read_confirmation(json.dumps(tree)) == ConfirmationRecord(
        only, ConfirmationOutcome.TIE, 3, (3,), "A tie.", {}
    )
    assert read_confirmation(json.dumps(tree | {"taken": 3, "tied": []})) == ConfirmationRecord(
        only, ConfirmationOutcome.TIE, 3, (), "A tie.", {}
    )
    more = {"lost": {"7": "nan"}, "num_unread": 2, "num_uncovered": 3}
    read = read_confirmation(json.dumps(tree | more))
    assert read is not None
    assert (read.lost, read.num_unread, read.num_uncovered) == ({7: "nan"}, 2, 3)
    assert read_confirmation(None) is None
    assert read_confirmation(json.dumps({"candidates": []})) is None
