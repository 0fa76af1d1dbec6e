"""What a trial would refuse of its videos is refused before a sweep starts."""

from __future__ import annotations

import pytest

from orchestrator.config.run_config import load_config
from orchestrator.sweep.corpus_check import check_parts, smallest_difference
from prp_core.data.manifest import Parts, VideoRecord
from prp_core.errors import UserError

CONFIG = load_config("demo")


def videos(number: int, labels: tuple[str | None, ...]) -> tuple[VideoRecord, ...]:
    """`number` videos with the classes `labels` in turn."""
    return tuple(
        VideoRecord(
            key=f"{index}.mp4",
            num_bytes=9,
            etag="e",
            num_frames=90,
            label=labels[index % len(labels)],
        )
        for index in range(number)
    )


def test_enough_videos_of_two_classes_are_taken_without_a_word() -> None:
    both = ("walk", "run")
    assert (
        check_parts(Parts(videos(200, both), videos(100, both), ()), CONFIG, num_usable=300) == []
    )


def test_videos_without_a_class_and_those_that_no_part_has_are_counted() -> None:
    both = ("walk", "run")
    train = (*videos(150, both), *videos(50, (None,)))
    lines = check_parts(Parts(train, videos(100, both), ()), CONFIG, num_usable=307)
    assert lines[0].startswith("50 of the 200 training videos have no class: they are trained on")
    assert lines[1].startswith("7 usable videos are in no part") and len(lines) == 2


def test_few_validation_videos_are_warned_of_with_what_they_can_show() -> None:
    both = ("walk", "run")
    (line,) = check_parts(Parts(videos(200, both), videos(48, both), ()), CONFIG, num_usable=248)
    assert "only 48 validation videos: a difference in recall below 0.20 cannot" in line
    assert smallest_difference(100) == pytest.approx(0.1386, abs=1e-4)


@pytest.mark.parametrize(
    ("train", "val", "text"),
    [
        (videos(20, (None,)), videos(20, (None,)), "retrieval needs videos with a class: 0 of"),
        (videos(20, ("walk",)), videos(20, ("walk",)), r"All videos are of one class \('walk'\)"),
        (videos(20, ("a",)), videos(20, ("b",)), "no query's class is among the gallery's"),
        (videos(3, ("a", "b")), videos(20, ("a", "b")), "batch_size = 8: only 3 usable training"),
    ],
)
def test_what_no_trial_can_use_is_refused(
    train: tuple[VideoRecord, ...], val: tuple[VideoRecord, ...], text: str
) -> None:
    with pytest.raises(UserError, match=text):
        check_parts(Parts(train, val, ()), CONFIG, num_usable=len(train) + len(val))
