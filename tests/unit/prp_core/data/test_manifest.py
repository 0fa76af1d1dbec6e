"""Manifests: their hash, their parts, and what rates a corpus can carry."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from prp_core.data.clip_config import ClipConfig
from prp_core.data.copies import describe_copies
from prp_core.data.feasibility import check_feasible, eligible_counts
from prp_core.data.manifest import Manifest, VideoRecord, group_copies, parts
from prp_core.errors import UserError


def _record(key: str, **kwargs: object) -> VideoRecord:
    fields: dict[str, object] = {
        "num_bytes": 10,
        "etag": "e",
        "num_frames": 40,
        "label": key.split("/")[0],
        "group": key,
    }
    return VideoRecord(key=key, **(fields | kwargs))  # type: ignore[arg-type]


def _corpus(
    num_classes: int = 4, num_groups: int = 6, videos_per_group: int = 4, **kwargs: object
) -> Manifest:
    records = [
        _record(f"class{label}/g{group}_{number}.avi", group=f"class{label}/g{group}", **kwargs)
        for label in range(num_classes)
        for group in range(num_groups)
        for number in range(videos_per_group)
    ]
    return Manifest("file:///corpus", tuple(records))


def test_the_hash_names_the_content() -> None:
    corpus = _corpus()
    shuffled = Manifest(corpus.uri, corpus.records[::-1])
    assert corpus.content_hash == shuffled.content_hash and len(corpus.content_hash) == 16
    moved = Manifest(
        "s3://bucket", tuple(replace(record, etag="other") for record in corpus.records)
    )
    assert moved.content_hash != corpus.content_hash and moved.videos_hash == corpus.videos_hash
    longer = Manifest(corpus.uri, (replace(corpus.records[0], num_frames=41), *corpus.records[1:]))
    assert longer.videos_hash != corpus.videos_hash
    with pytest.raises(UserError, match="names 'class0/g0_0.avi' twice"):
        Manifest(corpus.uri, (*corpus.records, corpus.records[0]))


def test_quarantined_videos_stay_in_the_manifest_and_out_of_the_parts() -> None:
    corpus = _corpus()
    broken = replace(corpus.records[0], reason="truncated", detail="3 of 40")
    manifest = Manifest(corpus.uri, (broken, *corpus.records[1:]))
    assert manifest.quarantined() == (broken,) and len(manifest.usable()) == len(corpus.records) - 1
    found = parts(manifest, val_fraction=0.2, seed=1)
    assert broken not in found.train + found.val + found.test
    with pytest.raises(UserError, match="reason of k"):
        _record("k", reason="bad mood")


@pytest.mark.parametrize("seed", range(5))
def test_carved_parts_share_no_group_and_lack_no_class(seed: int) -> None:
    corpus = _corpus()
    found = parts(corpus, val_fraction=0.2, seed=seed)
    assert found.shared_groups == ()
    assert sorted(found.train + found.val + found.test, key=lambda record: record.key) == list(
        corpus.records
    )
    for part in (found.train, found.val, found.test):
        assert {record.label for record in part} == set(corpus.labels)
    assert Counter(record.label for record in found.test) == dict.fromkeys(corpus.labels, 8), (
        "0.2 of 24, in whole groups of 4"
    )
    assert Counter(record.label for record in found.val) == dict.fromkeys(corpus.labels, 4), (
        "0.2 of the 16 left"
    )
    assert found == parts(Manifest(corpus.uri, corpus.records[::-1]), val_fraction=0.2, seed=seed)
    assert found != parts(corpus, val_fraction=0.2, seed=seed + 1)


def test_stated_splits_are_kept() -> None:
    split_of_group = {
        "g0": "test",
        "g1": "test",
        "g2": "",
        "g3": "train",
        "g4": "train",
        "g5": "train",
    }
    stated = [
        replace(record, split=split_of_group[record.group.split("/")[1]])
        for record in _corpus().records
    ]
    found = parts(Manifest("file:///x", tuple(stated)), val_fraction=0.3, seed=0)
    assert {record.split for record in found.test} == {"test"} and len(found.test) == 32
    assert {record.split for record in found.train + found.val} == {"train"}, (
        "once some say train, those that say nothing are unused"
    )
    assert found.val and found.shared_groups == ()
    with_val = [
        replace(record, split="val") if record.group.endswith("g5") else record for record in stated
    ]
    assert {
        record.group[-2:]
        for record in parts(Manifest("file:///x", tuple(with_val)), val_fraction=0.3, seed=0).val
    } == {"g5"}


def test_groups_that_span_classes_are_never_cut() -> None:
    records = tuple(
        _record(f"class{label}/s{person}.avi", group=f"person{person}")
        for label in range(3)
        for person in range(5)
    )
    found = parts(Manifest("file:///x", records), val_fraction=0.2, seed=3)
    assert found.shared_groups == () and found.train and found.val and found.test


def test_copies_of_a_video_are_one_group_and_never_in_two_parts() -> None:
    records = [
        _record(f"a/{number}{copy}.mp4", sha256=f"{number:064x}")
        for number in range(12)
        for copy in ("", " (1)")
    ]
    manifest = Manifest("file:///x", tuple(records))
    for seed in range(5):
        found = parts(manifest, val_fraction=0.2, seed=seed)
        contents = [{record.sha256 for record in part} for part in (found.train, found.val)]
        contents.append({record.sha256 for record in found.test})
        assert sum(map(len, contents)) == 12 and found.shared_groups == ()
    chain = [
        _record("1", group="c", sha256="x"),
        _record("2", group="b", sha256="x"),
        _record("3", group="b", sha256="y"),
        _record("4", group="a", sha256="y"),
        _record("5", group="d"),
        _record("6", group="e"),
    ]
    assert [record.group for record in group_copies(chain)] == ["a", "a", "a", "a", "d", "e"]


def test_copies_in_stated_splits_are_kept_and_told() -> None:
    records = (
        _record("a/1.mp4", sha256="x", split="train"),
        _record("a/2.mp4", sha256="y", split="train"),
        _record("a/3.mp4", sha256="z", split="val"),
        _record("b/1 (1).mp4", sha256="x", split="test"),
    )
    found = parts(Manifest("file:///x", records), val_fraction=0.2, seed=0)
    assert [record.key for record in found.test] == ["b/1 (1).mp4"]
    assert found.shared_groups == ("a/1.mp4",)
    assert describe_copies(records) == (
        "1 videos are byte for byte copies of others ('b/1 (1).mp4' of 'a/1.mp4'); "
        "copies are one group, which is never divided; "
        "1 videos have copies with other labels, which are kept; "
        "1 videos have copies in other stated splits, which are kept: leakage"
    )
    assert describe_copies(records[:3]) == ""


def test_too_few_groups_are_counted() -> None:
    records = (_record("a/1.avi"), _record("a/2.avi"), _record("a/3.avi", reason="empty"))
    with pytest.raises(
        UserError,
        match=r"2 usable training videos in 2 groups \(1 quarantined\), but 3 groups are needed",
    ):
        parts(Manifest("file:///x", records), val_fraction=0.2, seed=0)
    with pytest.raises(UserError, match="val_fraction = 1.5"):
        parts(_corpus(), val_fraction=1.5, seed=0)


def test_feasibility_counts_the_videos_long_enough() -> None:
    records = [
        _record(f"a/{length}", num_frames=length) for length in (15, 16, 31, 32, 64, 127, 128)
    ]
    assert eligible_counts(records, (1, 2, 4, 8), ClipConfig()) == {1: 6, 2: 4, 4: 3, 8: 1}
    check_feasible(records, (1, 2, 4, 8), ClipConfig())
    published = ClipConfig(sampling="published")  # wants one frame more (method 1.2)
    assert eligible_counts(records, (1, 2, 4, 8), published) == {1: 5, 2: 3, 4: 2, 8: 0}
    message = (
        r"no video long enough for rate 8 x clip length 24 = 192 frames "
        r"\(long enough: rate 1: 5 of 7, rate 8: 0 of 7; the longest has 128\)"
    )
    with pytest.raises(UserError, match=message):
        check_feasible(records, (1, 8), ClipConfig(length=24))
    check_feasible(records, (1, 8), ClipConfig(length=24, short_videos="max-rate"))
    check_feasible(records[:1], (1, 8), ClipConfig(length=24, short_videos="loop"))
    with pytest.raises(UserError, match="rate 1 x clip length 24"):
        check_feasible(records[:1], (1, 8), ClipConfig(length=24, short_videos="max-rate"))


def test_videos_without_a_class_are_trained_on_and_nothing_is_measured_on_them() -> None:
    labelled = _corpus()
    nameless = tuple(_record(f"{number}.mp4", label=None) for number in range(30))
    found = parts(Manifest(labelled.uri, (*labelled.records, *nameless)), val_fraction=0.2, seed=1)
    alone = parts(labelled, val_fraction=0.2, seed=1)
    assert (found.val, found.test) == (alone.val, alone.test)
    assert (found.gallery, set(found.train)) == (alone.train, {*alone.train, *nameless})
    assert alone.gallery == alone.train


def test_a_video_without_a_class_does_not_show_the_scene_of_a_query() -> None:
    labelled = _corpus()
    beside = tuple(
        replace(record, key=f"{record.key}-extra", label=None) for record in labelled.records[::4]
    )
    found = parts(Manifest(labelled.uri, (*labelled.records, *beside)), val_fraction=0.2, seed=1)
    assert found.shared_groups == ()
    assert all(record.label is not None for record in (*found.val, *found.test))
    held = {record.group for record in (*found.val, *found.test)}
    assert {record for record in beside if record.group not in held} == {
        record for record in found.train if record.label is None
    }


def test_stated_parts_are_judged_on_their_videos_with_a_class() -> None:
    records = tuple(
        _record(f"walk/{split}{number}.mp4", split=split, label=None if number % 2 else "walk")
        for split in ("train", "val", "test")
        for number in range(4)
    )
    found = parts(Manifest("file:///corpus", records), val_fraction=0.2, seed=1)
    assert [len(part) for part in (found.train, found.gallery, found.val, found.test)] == [
        4,
        2,
        2,
        2,
    ]


def test_groups_with_a_class_are_counted_where_parts_are_carved() -> None:
    records = (_record("walk/1.mp4"), *(_record(f"{n}.mp4", label=None) for n in range(9)))
    with pytest.raises(UserError, match="1 usable training videos with a class in 1 groups"):
        parts(Manifest("file:///corpus", records), val_fraction=0.2, seed=1)
