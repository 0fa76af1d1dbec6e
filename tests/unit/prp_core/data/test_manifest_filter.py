"""A filter of a manifest chooses videos by their facts, and a wrong one is named in one line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.data.manifest_filter import filtered, parse_filter
from prp_core.errors import UserError

VIDEOS = (
    VideoRecord(
        key="walk/a.mp4",
        num_bytes=900,
        etag="a",
        num_frames=75,
        fps=25.0,
        width=320,
        height=240,
        codec="h264",
        label="walk",
        group="g1",
        split="train",
    ),
    VideoRecord(
        key="run up/b.avi",
        num_bytes=100,
        etag="b",
        num_frames=40,
        fps=0.0,  # no rate is known, and so no length in seconds
        width=160,
        height=120,
        codec="mpeg4",
        label="run up",
        group="g2",
    ),
    VideoRecord(key="c.mp4", num_bytes=500, etag="c", num_frames=10, fps=10.0, group="c.mp4"),
    VideoRecord(key="broken.mp4", num_bytes=1, etag="d", reason="truncated"),
)
MANIFEST = Manifest("/videos", VIDEOS)
WALK, RUN, BARE = "walk/a.mp4", "run up/b.avi", "c.mp4"


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("frames >= 40", {WALK, RUN}),
        ("frames>=40 and frames<75", {RUN}),
        ("seconds = 3 or seconds == 1.0", {WALK, BARE}),
        ("seconds < 100", {WALK, BARE}),
        ("not seconds < 100", {RUN}),
        ("height >= 120 and not (label = walk or codec = mjpeg)", {RUN}),
        ("label in (walk, 'run up')", {WALK, RUN}),
        ("label not in (walk)", {RUN, BARE}),
        ('label = ""', {BARE}),
        ('label != ""', {WALK, RUN}),
        ("key ~ *.mp4", {WALK, BARE}),
        ("key ~ 'run ?p/*'", {RUN}),
        ("split = train", {WALK}),
        ("label = walk or label = x and frames > 1000", {WALK}),
        ("bytes in (100, 500) and fps != 10", {RUN}),
        ("", {WALK, RUN, BARE}),
    ],
)
def test_a_filter_keeps_the_videos_that_it_holds_of(expression: str, kept: set[str]) -> None:
    left = filtered(MANIFEST, expression)
    assert {record.key for record in left.usable()} == kept
    assert len(left.quarantined()) == 1, "nothing is known of a broken video: it stays counted"
    assert (left.videos_hash == MANIFEST.videos_hash) == (len(kept) == 3), "other data, other hash"


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("lenght > 3", "Unknown field 'lenght'; known: bytes, codec, fps, frames"),
        ("frame > 3", "Did you mean 'frames'?"),
        ("frames > many", "'frames' is a number, and 'many' is none"),
        ("label > walk", "'label' is text and has no order"),
        ("frames ~ 7*", "'frames' is a number; patterns match text only"),
        ("frames 3", "'3' after 'frames' is not a comparison"),
        ("frames >", "a value after '>' is missing at the end"),
        ("(frames > 3", "')' is missing before the end"),
        ("label in (walk run)", "')' is missing before 'run'"),
        ("frames > 3 label = walk", "'label' is left over; join comparisons with"),
        ("__import__('os').system('true')", "Unknown field '__import__'"),
        ("label = 'walk", '"\'walk" cannot be read'),
        ("  ", "it is empty"),
        ("frames > 999", "keeps none of the 3 usable videos of /videos"),
    ],
)
def test_a_wrong_filter_is_refused_in_one_line(expression: str, text: str) -> None:
    with pytest.raises(UserError) as refused:
        filtered(MANIFEST, expression, "--eval-where")
    assert text in str(refused.value) and str(refused.value).startswith("--eval-where ")
    assert "\n" not in str(refused.value)


def test_a_filter_chooses_what_is_prepared_also_of_videos_that_only_need_it() -> None:
    long = [replace(VIDEOS[0], key=f"{number}.mp4", reason="needs-prepare") for number in (1, 2)]
    manifest = Manifest("/videos", (*long, VIDEOS[3]))
    left = filtered(manifest, "key = 1.mp4", is_to_prepare=True)
    assert [record.key for record in left.records] == ["1.mp4", "broken.mp4"]
    with pytest.raises(UserError, match="none of the 2 videos that can be prepared of /videos"):
        filtered(manifest, "key = 3.mp4", is_to_prepare=True)


def test_deep_nesting_is_no_stack_overflow() -> None:
    with pytest.raises(UserError, match="too deep"):
        parse_filter("(" * 5000 + "frames > 1" + ")" * 5000)
