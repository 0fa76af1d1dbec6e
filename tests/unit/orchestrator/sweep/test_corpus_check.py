"""What a trial would refuse of its videos is refused before a sweep starts."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from orchestrator.config.run_config import load_config, with_values
from orchestrator.data.sweep_videos import SweepVideos, divided
from orchestrator.sweep.corpus_check import check_parts, other_judges_named, where_lines
from orchestrator.sweep.evidence import smallest_difference
from orchestrator.sweep.label_free_config import without_labels
from prp_core.data.manifest import Manifest, Parts, VideoRecord
from prp_core.errors import UserError
from prp_core.evaluation.intervals import MIN_GROUPS

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


def of(split: Parts, *others: VideoRecord) -> SweepVideos:
    """A sweep's videos with the parts `split`, and `others` that are in none."""
    records = (*split.train, *split.val, *split.test, *others)
    renamed = (replace(record, key=f"{place}") for place, record in enumerate(records))
    manifest = Manifest("/videos", tuple(renamed))
    return SweepVideos(manifest, split, manifest)


def test_two_classes_are_taken_and_what_their_videos_can_show_is_said() -> None:
    both = ("walk", "run")
    split = Parts(videos(200, both), videos(100, both), ())
    (line,) = check_parts(of(split), CONFIG)
    least = smallest_difference([1] * 100, 3, 2)
    assert line == (
        "100 validation videos in 100 groups: one seed each, without --confirm K, decides nothing; "
        f"confirmed with 3 seeds they show a difference in recall@1 of {least:.2f} or more"
    )
    confirmed = with_values(CONFIG, {"confirm.num_candidates": 3, "confirm.max_seeds": 6})
    (line,) = check_parts(of(split), confirmed)
    assert re.search(
        r"of 0\.\d\d or more with 3 seeds, 0\.\d\d or more with 6 seeds \(80% of", line
    )


def test_videos_without_a_class_and_those_that_no_part_has_are_counted() -> None:
    both = ("walk", "run")
    train = (*videos(150, both), *videos(50, (None,)))
    lines = check_parts(of(Parts(train, videos(100, both), ()), *videos(7, both)), CONFIG)
    assert lines[0].startswith("50 of the 200 training videos have no class: they are trained on")
    assert lines[1].startswith("7 usable videos are in no part") and len(lines) == 3


def test_few_groups_can_show_nothing_and_more_of_everything_shows_more() -> None:
    both = ("walk", "run")
    (line,) = check_parts(of(Parts(videos(200, both), videos(7, both), ())), CONFIG)
    assert line.startswith(
        "7 validation videos in 7 groups: no difference can be shown, because an"
    )
    # 48 independent videos, 3 seeds, 2 candidates: 2 x 0.03^2 / 3 and 0.25 / 48, 51 degrees
    assert smallest_difference([1] * 48, 3, 2) == pytest.approx(2.86 * 0.0761, abs=0.002)
    least = [
        smallest_difference(sizes, num_seeds, 2)
        for sizes, num_seeds in (
            ([41, *[1] * 7], 3),  # one group has nearly all
            ([6] * 8, 3),
            ([1] * 48, 3),
            ([10] * 48, 3),
            ([10] * 48, 6),
        )
    ]
    assert least == sorted(least, reverse=True)


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
        check_parts(of(Parts(train, val, ())), CONFIG)


def test_a_pruner_that_compares_queries_is_refused_without_groups_for_a_standard_error() -> None:
    paired = with_values(CONFIG, {"sweep.pruner": "paired"})
    both = ("walk", "run")
    few = Parts(videos(200, both), videos(MIN_GROUPS - 1, both), ())
    assert check_parts(of(few), CONFIG)
    text = "sweep.pruner = 'paired' compares .* there are 7, and 8 are needed .* sweep.pruner=asha"
    with pytest.raises(UserError, match=text):
        check_parts(of(few), paired)
    enough = Parts(videos(200, both), videos(MIN_GROUPS, both), ())
    assert check_parts(of(enough), paired) == check_parts(of(enough), CONFIG)


def stated(labels: dict[int, str], split_of: dict[int, str] | None = None) -> Manifest:
    """60 videos of as many scenes, of which those in `labels` have a class."""
    known = split_of or {}
    return Manifest(
        "/v",
        tuple(
            replace(one, label=labels.get(place), split=known.get(place, ""), group=f"{place}")
            for place, one in enumerate(videos(60, (None,)))
        ),
    )


TRAIN_AND_VAL = {place: "train" if place < 30 else "val" for place in range(60)}


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (stated({0: "a"}), "1 usable training videos with a class in 1 groups"),
        (stated({0: "a", 1: "a", 2: "b"}), "no query's class is among the gallery's 1 classes"),
        (stated(dict.fromkeys(range(60), "a")), "All videos are of one class"),
        (stated(dict.fromkeys(range(0, 60, 2), "a")), "All videos are of one class"),
        (stated({place: f"c{place}" for place in range(60)}), "no query's class is among"),
        (stated({place: "ab"[place % 2] for place in range(30)}, TRAIN_AND_VAL), "0 of 0 query"),
        (
            stated({place: "ab"[place % 2] for place in range(30, 60)}, TRAIN_AND_VAL),
            "0 usable training videos with a class",
        ),
    ],
)
def test_classes_that_cannot_judge_are_refused_with_a_way_out(
    manifest: Manifest, reason: str
) -> None:
    way_out = f"{reason}.*; or judge on another .*: --eval-data URI"
    with pytest.raises(UserError, match=way_out), other_judges_named(CONFIG):
        found = divided(manifest, CONFIG, 7)
        check_parts(found, without_labels(CONFIG, found.parts)[0])
    judged = with_values(CONFIG, {"eval_source.uri": "/b"})
    found = divided(manifest, judged, 7, labelled(40, "b", ("walk", "run")))
    check_parts(found, without_labels(judged, found.parts)[0])
    assert len(found.parts.train) == 60, "each of them trains"


def labelled(number: int, folder: str, labels: tuple[str | None, ...], **facts: str) -> Manifest:
    """A corpus of `number` videos of as many scenes."""
    records = (
        replace(one, key=f"{folder}/{place}", group=f"{folder}/{place}", sha256=f"{folder}{place}")
        for place, one in enumerate(videos(number, labels))
    )
    return Manifest(f"/{folder}", tuple(replace(one, **facts) for one in records))


def test_another_corpus_is_judged_on_and_all_of_the_first_is_trained_on() -> None:
    config = with_values(
        CONFIG,
        {
            "eval_source.uri": "/b",
            "eval_source.val_fraction": CONFIG.source.val_fraction,
            "source.where": "frames >= 90",
        },
    )
    other = labelled(40, "b", ("walk", "run"))
    unlabelled = labelled(30, "a", (None,))
    found = divided(unlabelled, config, 7, other)
    assert found.parts.train == unlabelled.records and found.num_copies == 0
    own = divided(other, config, 7).parts
    assert (found.parts.gallery, found.parts.val, found.parts.test) == (
        own.train,
        own.val,
        own.test,
    )
    (line,) = check_parts(found, config)
    assert line.startswith("8 validation videos in 8 groups: one seed each, without --confirm K")
    few = divided(unlabelled, config, 7, labelled(12, "b", ("walk", "run")))
    (line,) = check_parts(few, config)
    assert "raise eval_source.val_fraction (now 0.3)" in line
    said = list(where_lines(found, config, unlabelled, other))
    assert said == ["--where 'frames >= 90' keeps 30 of the 30 usable videos of /a"]


def test_copies_of_what_is_asked_are_not_trained_on() -> None:
    config = with_values(CONFIG, {"eval_source.uri": "/b"})
    other = labelled(40, "b", ("walk", "run"))
    asked = divided(other, config, 7).parts
    copy = replace(asked.test[0], key="copy", group="scene", label=None)
    beside = replace(copy, key="beside", sha256="another", num_frames=200)
    known = replace(asked.train[0], key="known", group="known")
    corpus = labelled(30, "a", (None,))
    found = divided(Manifest("/a", (*corpus.records, copy, beside, known)), config, 7, other)
    keys = {record.key for record in found.parts.train}
    assert found.num_copies == 2 and not keys & {"copy", "beside"} and "known" in keys
    (line, _) = check_parts(found, config)
    assert line.startswith("2 videos of /a are not trained on: they, or others of their group")
    with pytest.raises(UserError, match="none of its 2 usable videos is left to train on; all are"):
        divided(Manifest("/a", (copy, beside)), config, 7, other)


def test_a_corpus_without_any_class_is_judged_label_free() -> None:
    found = divided(labelled(40, "b", (None,)), CONFIG, 7)
    config, (line,) = without_labels(CONFIG, found.parts)
    assert "no video has a class: trials are ranked label-free, by label_free/recall_at_1" in line
    assert config.sweep.objective == config.sweep.recall_at_1 == "label_free/recall_at_1"
    assert config.evaluation.linear_probe is None and config.evaluation.label_free is not None
    assert config.evaluation.recognition is None and config.evaluation.time_panel is None
    assert without_labels(config, found.parts)[0] == config, "a resume finds nothing to change"
    (few,) = check_parts(found, config)
    assert "validation videos in" in few and len(found.parts.gallery) == len(found.parts.train)
    some = divided(labelled(40, "b", ("walk", "run", None)), CONFIG, 7)
    assert without_labels(CONFIG, some.parts) == (CONFIG, [])
    with pytest.raises(UserError, match=r"label_free/recall_at_1': is not measured; switch it on"):
        with_values(CONFIG, {"sweep.objective": "label_free/recall_at_1"})
