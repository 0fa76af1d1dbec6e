"""The showcase's page from plain values: its texts, escaping, and missing content."""

from __future__ import annotations

import dataclasses
import html
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from orchestrator.config.run_config import load_config
from orchestrator.report.showcase import Clip
from orchestrator.report.showcase_page import showcase_html
from orchestrator.sweep.leaderboard import showcases_line
from prp_core.evaluation.neighbours import Neighbour, QueryNeighbours
from tests.small_showcase import EVIL, FOUND, JPEG, RETRIEVED, SAMPLE


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, Any]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.found if name == tag]

    def of_class(self, tag: str, word: str) -> list[dict[str, Any]]:
        return [
            attributes
            for attributes in self.of(tag)
            if word in (attributes.get("class") or "").split()
        ]


def test_it_says_what_was_found() -> None:
    page = showcase_html(FOUND)
    assert (
        "<title>Trial 6 of sweep rate-search-1 &lt;i&gt;: retrieval and reconstruction</title>"
    ) in page
    assert "<h1>Trial 6: 1 of 2 queries have a correct nearest neighbour</h1>" in page
    assert (
        "over all 8 validation videos is 0.250 " in page
        and "[0.071, 0.591]" in page
        and "among 20 training videos" in page
    )
    assert (
        "1 video of these parts could not be read and is left out." in page
        and "run/wrong.mp4 (undecodable)" in page
    )
    assert "rates 1-2, rate loss weight 0.123" in page
    assert (
        "8 of 16 target frames are supervised. Weighted error 0.1250 (baselines: mean colour "
        "0.2500, repeated frames 0.0000). Predicted rate 2x with probability 0.62: incorrect."
    ) in page
    assert "rates 1x and 2x of this trial" in page


def test_correct_and_incorrect_differ_by_sign_and_by_line_not_by_colour_alone() -> None:
    page = showcase_html(FOUND)
    spoken = [one["aria-label"] for one in Elements(page).of_class("figure", "correct")]
    assert spoken == [
        "neighbour 1, walk, correct, similarity 0.9877",
        "neighbour 2, walk, correct, similarity 0.9877",
    ]
    assert len(Elements(page).of_class("figure", "incorrect")) == 2
    assert re.search(r"card correct(.|\n)*?✓</span> walk", page)
    assert re.search(r"card incorrect(.|\n)*?✗</span> run", page)
    assert ".card.correct { border: 3px solid" in page
    assert ".card.incorrect { border: 2px dashed" in page


def test_interpolated_frames_are_marked_and_moments_between_the_clips_faded() -> None:
    page = showcase_html(FOUND)
    assert re.findall(r'<th scope="col">([^<]*)</th>', page) == [
        "frame",
        "11",
        "≈ 12.5",
        "14",
        "≈ 15.5",
        "17",
        "≈ 18.5",
    ]
    assert [one["alt"] for one in Elements(page).of_class("img", "filled")] == [
        f"target at frame {at}, interpolated" for at in ("12.5", "15.5", "18.5")
    ]
    assert [one["alt"] for one in Elements(page).of_class("img", "held")] == [
        f"clip at frame {at}, most recent frame before it" for at in ("12.5", "15.5", "18.5")
    ]


def test_nothing_of_a_name_is_markup_and_nothing_is_loaded() -> None:
    page = showcase_html(FOUND)
    elements = Elements(page)
    assert not {"script", "i", "iframe", "object", "embed"} & {tag for tag, _ in elements.found}
    assert EVIL not in page and "&lt;script&gt;" in page and "run/&lt;b&gt;.mp4" in page
    pictures = elements.of("img")
    assert len(pictures) == 2 * 4 + 6 * 4 and all(
        one["src"].startswith("data:image/jpeg;base64,") and one["alt"] for one in pictures
    )
    assert [attributes["href"] for _, attributes in elements.found if "href" in attributes] == [
        "data:,"
    ]
    assert "url(" not in page and "@import" not in page
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page


def test_every_text_that_a_file_or_a_config_chooses_is_escaped() -> None:
    neighbour = Neighbour(f"{EVIL} key", f"{EVIL} class", 0.5, is_correct=False)
    query = QueryNeighbours(f"{EVIL} query", EVIL, (neighbour,))
    sample = dataclasses.replace(SAMPLE, key=f"{EVIL} clip", label=f"{EVIL} label")
    found = dataclasses.replace(
        FOUND,
        sweep_id=f"{EVIL} sweep",
        values={f"{EVIL} path": f"{EVIL} value"},
        retrieved=dataclasses.replace(RETRIEVED, shown=(query,)),
        clips=[Clip(sample, {f"{EVIL} row": (JPEG,) * 6})],
        left_out=((f"{EVIL} left", f"{EVIL} reason"),),
    )
    page = showcase_html(found)
    assert EVIL not in page and "script" not in {tag for tag, _ in Elements(page).found}
    words = ("query", "key", "class", "clip", "label", "sweep", "path", "value", "row")
    for word in (*words, "left", "reason"):
        assert f"{html.escape(EVIL, quote=False).replace(chr(34), '&#34;')} {word}" in page, word


def test_without_the_playback_rate_task_no_rate_is_predicted() -> None:
    sample = dataclasses.replace(SAMPLE, predicted_rate=None, predicted_probability=0.0)
    clips = [Clip(sample, {"clip": (JPEG,) * 6})]
    assert "Predicted rate 2x with probability" in showcase_html(FOUND)
    assert "Predicted rate" not in showcase_html(dataclasses.replace(FOUND, clips=clips))


def test_a_video_whose_frames_are_gone_keeps_its_place() -> None:
    assert showcase_html(FOUND).count("its frames could not be read") == 2


@pytest.mark.parametrize(
    ("settings", "clips", "text"),
    [
        (
            ["pretext.slow_motion.loss_weight=0"],
            [],
            "The slow-motion task was off in this trial (pretext.slow_motion.loss_weight = 0)",
        ),
        ([], [], "None of the training videos chosen for this could be read."),
        (
            [],
            [Clip(SAMPLE, {"clip": (JPEG,) * 6})],
            "This trial weights all pixels equally, so there is no motion attention to show.",
        ),
    ],
)
def test_where_there_is_nothing_to_draw_it_says_why(
    settings: list[str], clips: list[Clip], text: str
) -> None:
    assert text in showcase_html(
        dataclasses.replace(FOUND, config=load_config("demo", settings), clips=clips)
    )


def test_a_page_of_no_answers_is_still_a_page() -> None:
    assert "0 of 0 queries" in showcase_html(
        dataclasses.replace(FOUND, retrieved=dataclasses.replace(RETRIEVED, shown=()))
    )


def test_the_sweeps_last_lines_say_where() -> None:
    assert showcases_line([6]) == "showcase.html in the artifacts of the MLflow run of trial 6"
    assert (
        showcases_line([0, 3, 6])
        == "showcase.html in the artifacts of the MLflow runs of trials 0, 3 and 6"
    )
