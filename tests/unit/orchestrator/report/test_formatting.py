"""Text formatting: units, names, ordinals, and what no line break may divide."""

from __future__ import annotations

import math

import pytest

from orchestrator.report import formatting


@pytest.mark.parametrize(
    ("largest", "expected"),
    [(2.0, (1, "GPU h")), (0.5, (60, "GPU min")), (0.01, (3600, "GPU s")), (0.0, (3600, "GPU s"))],
)
def test_a_unit_that_reads_well(largest: float, expected: tuple[float, str]) -> None:
    assert formatting.readable_unit("GPU h", largest) == expected


def test_a_path_has_a_name_of_its_own_or_its_last_two_words() -> None:
    assert formatting.short_name("training.learning_rate") == "learning rate"
    assert formatting.short_name("optimiser.weight_decay") == "optimiser weight decay"
    assert formatting.short_name("clip.length") == "clip length"


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (21, "21st")],
)
def test_ordinals(number: int, text: str) -> None:
    assert formatting.ordinal(number) == text


def test_what_is_no_number_is_empty() -> None:
    assert formatting.number_text(0.5) == "0.500"
    assert formatting.number_text(None) == formatting.number_text(math.nan) == ""
    assert formatting.share_text(None, None) == "" and formatting.share_text(0.5, None) == "0.500"
    assert formatting.share_text(math.nan, None) == "not a number"


def test_rate_sets_intervals_and_trials_are_not_divided() -> None:
    pieces = formatting.unbreakable_pieces("a <b> 1-2-4 & trial 7: 0.5 [0.4, 0.6] of e-2-x")
    assert pieces == [
        ("a <b> ", False),
        ("1-2-4", True),
        (" & ", False),
        ("trial 7", True),
        (": 0.5 ", False),
        ("[0.4, 0.6]", True),
        (" of e-2-x", False),
    ]
    assert formatting.unbreakable_pieces("") == []
