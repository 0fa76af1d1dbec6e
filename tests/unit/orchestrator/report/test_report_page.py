"""The report's page from plain values: what its sections say, and that every text is escaped."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from html import unescape
from html.parser import HTMLParser
from xml.etree import ElementTree

from orchestrator.confirmation import ConfirmationOutcome
from orchestrator.cost.ledger import LedgerEntry
from orchestrator.report import confirmed
from orchestrator.report.content import Row
from orchestrator.report.detail_sections import reproduction_section
from orchestrator.report.page import report_html, report_page, svg_files
from orchestrator.report.record import Candidate, DataFacts, SweepRecord
from orchestrator.report.rendering import TEMPLATES
from orchestrator.report.scripts import json_in_html, own_script, plotly_script
from orchestrator.search.record import Importance
from orchestrator.trial_state import TrialState
from tests.small_sweep import (
    CONFIRMED,
    LEDGER,
    TEST_PART,
    TRIALS,
    UNTRAINED,
    record,
    trial,
)

UNKNOWN = Importance(missing="0 trials reached the first rung; 12 are needed")
# Closes an attribute, an element and a style, and asks matplotlib for a formula.
EVIL = """<script>alert('x')</script>"><b>&lt;</style></title><svg>$\\frac{1}$"""


class Texts(HTMLParser):
    """The elements of a page, its texts and the values of its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.scripts: list[list[tuple[str, str | None]]] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.scripts += [attrs] if tag == "script" else []
        self.links += [value or "" for name, value in attrs if tag == "a" and name == "href"]
        self.texts += [value for _, value in attrs if value]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def evil(mark: str) -> str:
    return f"{EVIL}{mark}"


def hostile_record() -> SweepRecord:
    """A sweep in which every text that a person or a file can choose tries to be markup."""
    spec = dataclasses.replace(
        record().spec,
        sweep_id=evil("sweep"),
        tracking_uri="http://host/" + evil("tracking"),
        manifest_uri=evil("manifest"),
        storage_uri=evil("storage"),
    )
    metrics = {f"data/{evil('counter')}": 3.0, "rate_confusion/1_as_1": 1.0}
    finished = trial(
        0,
        evil("rates"),
        0.5,
        run_id=evil("run"),
        values={evil("path"): evil("value")},
        metrics=metrics,
    )
    pruned = trial(1, "1-4", 0.2, TrialState.PRUNED, reason=evil("pruned"))
    failed = trial(2, "1-2", 0.1, TrialState.FAILED, reason=evil("failed"))
    tags = {
        "prp.git_commit": evil("commit"),
        "prp.lock_sha256": evil("lock"),
        "prp.protocol_hash": evil("protocol"),
        "prp.config_digest": evil("config"),
    }
    return record(
        finished,
        pruned,
        failed,
        spec=spec,
        tags=tags,
        parent_run_id=evil("parent"),
        experiment_id="7",
        baselines=UNTRAINED,
        unfit=(({"clip.length": evil("sampled")}, evil("infeasible")),),
        data=DataFacts(evil("hash"), 400, 200, 100, 6, 4, {evil("quarantined"): 2}, 1 / 6),
        ledger=LEDGER,
        showcases=(0,),
        confirmation=dataclasses.replace(CONFIRMED, text=evil("note")),
    )


def test_nothing_in_a_page_is_markup_but_the_templates() -> None:
    path = evil("dimension")
    whole = report_html(hostile_record(), Importance(3, 20, {path: 0.6}, {path: 0.2}))
    page = Texts(whole)
    html = whole.replace(plotly_script(), "")
    assert "b" not in page.tags
    assert [dict(attributes) for attributes in page.scripts] == [
        {"type": "application/json", "id": "plots"},  # which no browser runs
        {},
        {},
    ]
    assert all(link.startswith("http://host/") for link in page.links) and len(page.links) == 5
    assert html.count("</title>") == 1
    assert html.count("<svg ") == html.count("</svg>") == 5
    assert html.count("</style>") == 6, "the page's own, and matplotlib's in each drawing"
    shown = " ".join(page.texts)
    marks = (
        *("sweep", "tracking", "manifest", "storage", "counter", "rates", "run", "path", "value"),
        *("pruned", "failed", "commit", "lock", "protocol", "config", "parent", "sampled"),
        *("infeasible", "hash", "quarantined", "note"),
    )
    for mark in marks:
        assert evil(mark).split("$")[0] in shown and mark in shown, mark


def test_a_figure_takes_every_name_for_text() -> None:
    name = '<b>"$\\frac{1}$&lt;'
    found = record(trial(0, name, 0.5))
    html = report_html(found, Importance(3, 20, {name: 1.0}, {name: 0.0}))
    drawn = re.findall(r"<svg .*?</svg>", html, flags=re.DOTALL)
    for svg in drawn[:2]:
        shown = " ".join(Texts(svg).texts)
        assert shown.count(name) >= 2, "in the drawing, as no formula, and in its text alternative"
        assert "<b>" not in svg


def test_only_our_own_drawings_are_not_escaped() -> None:
    templates = {path.name: path.read_text() for path in TEMPLATES.glob("*.html")}
    unescaped = [
        (name, line.strip())
        for name, text in templates.items()
        for line in text.splitlines()
        if re.search(r"\|\s*safe|autoescape", line)
    ]
    assert sorted(unescaped) == [
        ("parts.html", "{{ figure.drawing.markup | safe }}"),
        (
            "report.html",
            '<script type="application/json" id="plots">{{ page.scripts.data | safe }}</script>',
        ),
    ]


def test_the_policy_lets_our_scripts_run_and_no_other() -> None:
    html = report_html(record(*TRIALS), UNKNOWN)
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert scripts == [plotly_script(), own_script()]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in scripts]
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    policy = unescape(policy)
    allowed = re.findall(r"'sha256-([^']+)'", policy.partition("script-src")[2])
    assert sorted(allowed) == sorted(digest.decode() for digest in digests)
    assert policy.startswith("default-src 'none';") and "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_the_figures_data_cannot_end_its_element() -> None:
    text = json_in_html({"a": "</script><!--&\u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--&\u2028"}


def test_a_page_without_a_figure_carries_no_library() -> None:
    html = report_html(record(), UNKNOWN)
    assert plotly_script() not in html and own_script() in html, "tables can be sorted"


def test_a_sweep_of_no_trials_is_still_a_page() -> None:
    html = report_html(record(), UNKNOWN)
    for text in (
        "No trial has finished yet: 0 of 8 ended.",
        "No trial has started.",
        "<h3>Hyperparameter importance is not known</h3>\n"
        '<p class="small">0 trials reached the first rung; 12 are needed.</p>',
        "No trial has reached a rung",
        "The cost of the trials is not known",
        "The rate confusion is not known",
        "No cost ledger was written",
        "No trial failed, and every sampled configuration was feasible.",
    ):
        assert text in html, text
    assert "<svg" not in html and 'id="confirmation"' not in html


def test_a_confirmation_is_shown_with_its_seeds_and_the_test_part() -> None:
    html = report_html(record(*TRIALS, confirmation=CONFIRMED), UNKNOWN)
    html = re.sub(r' data-head="[^"]*"', "", html)
    assert (
        "<td>0</td><td>1-2</td><td>1, 2</td><td>0.500, 0.600</td><td>0.550 [0.400, 0.700]</td>"
        in html
    )
    assert "The 100 test videos were not used for any selection" in html
    assert "2 videos that could not be read when the test part was measured." in html
    assert Candidate(0, (1, 2), (0.5, 0.6), 0.4, 0.7) in CONFIRMED.candidates
    assert CONFIRMED.outcome is ConfirmationOutcome.WINNER and CONFIRMED.test is TEST_PART
    table = confirmed.test_table(CONFIRMED)
    assert table.head == (
        "",
        "recall@1 [95 %]",
        "recall@5",
        "fine-tuned recognition",
    ), "what was measured"
    assert table.rows == (
        Row(("trial 0", "0.500 [0.400, 0.600]", "0.800", "0.700"), "best"),
        Row(("random initialisation", "0.200", "", ""), "soft"),
    )


def test_the_report_says_which_runs_hold_a_showcase() -> None:
    trials = (
        trial(0, "1-2", 0.5, run_id="aaa"),
        trial(1, "1-4", 0.6, run_id="bbb"),
        trial(2, "1-2", 0.4, run_id="ccc"),
    )
    facts = dict(reproduction_section(record(*trials, showcases=(0, 1))).facts)
    assert facts["showcases"] == (
        "showcase.html in the runs of trial 0 (aaa) and trial 1 (bbb): nearest neighbours and "
        "reconstructions"
    )
    assert "showcase" not in report_html(record(*trials), UNKNOWN)


def test_the_ledger_of_a_sweep_without_prices_shows_no_money() -> None:
    unpriced = LedgerEntry(trial=0, rung_epoch=3, attempt=1, started=0, ended=60, cpus=1, gpus=0)
    entries = (dataclasses.replace(unpriced, busy_seconds=60.0),)
    html = report_html(record(trial(0, "1-2", 0.5), ledger=entries), UNKNOWN)
    assert ">total</td>" in html and ">$</th>" not in html


def test_every_drawing_is_a_picture_of_its_own_for_mlflow() -> None:
    files = svg_files(report_page(record(*TRIALS), UNKNOWN))
    assert files.keys() == {"rate_sets", "learning_curves", "cost", "parallel", "dimensions"}
    assert ">recall@1<" in files["parallel"] and ">recall@1<" in files["dimensions"], "as text"
    for text in files.values():
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
