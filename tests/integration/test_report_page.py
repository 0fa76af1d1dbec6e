"""The report and the showcase in a browser, and the commands that read a sweep of 20 trials."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from wsgiref.simple_server import make_server

import numpy as np
import pytest

from orchestrator.commands.prp import main
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.config.typed_command import installed, prp
from orchestrator.report.page import report_html
from orchestrator.report.record import SweepRecord, load_record, read_confirmation
from orchestrator.report.scripts import own_script, plotly_script
from orchestrator.report.showcase import Clip, Strip
from orchestrator.report.showcase_page import showcase_html
from orchestrator.search.record import importance, read_study
from orchestrator.tracking.ui_server import MlflowUi, is_up
from prp_core.data.shards.jpeg_codec import encode_jpegs
from tests.journals import study_of
from tests.recorded_sweep import build_sweep
from tests.small_showcase import FOUND, SAMPLE
from tests.tools.browser import chromium
from tests.tools.study_process import REPOSITORY

NUM_TRIALS = 20
SECTIONS = [
    *("answer", "rate-sets", "explore", "importance", "cost"),
    *("trials", "failures", "data", "reproduce"),
]
LOADING = {"src", "srcset", "href", "xlink:href", "data", "action", "poster", "background"}


@dataclass(frozen=True)
class Recorded:
    home: Path
    spec: SweepSpec


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, empty_mlflow_database: Path) -> Recorded:
    home = tmp_path_factory.mktemp("home")
    shutil.copy(empty_mlflow_database, home / "mlflow.db")
    return Recorded(home, build_sweep(home, num_trials=NUM_TRIALS, ledger=True))


@pytest.fixture(scope="module")
def page(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that the command writes."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRP_HOME", str(recorded.home))
        assert main(["report", recorded.spec.sweep_id, "--out", str(path)]) == 0
    return path


class Elements(HTMLParser):
    """Every element of a page, and the text of each svg."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


class Server:
    """Serves a folder and remembers what was asked for."""

    def __init__(self, folder: Path) -> None:
        asked: list[str] = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                asked.append(self.path)

        self.asked = asked
        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
        )
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(page: Path) -> Iterator[Server]:
    server = Server(page.parent)
    yield server
    server.close()


def test_the_page_needs_nothing_but_itself(page: Path) -> None:
    whole = page.read_text()
    text = whole.replace(plotly_script(), "").replace(own_script(), "")
    assert len(text) < len(whole) - 4_000_000, "the library is in it, once"
    for tag, attributes in Elements(text).found:
        assert tag not in ("iframe", "object", "embed", "img"), tag
        for name, value in attributes.items():
            if tag == "a":  # a link loads nothing by itself
                continue
            assert name not in LOADING or (value or "").startswith(("#", "data:")), (
                tag,
                name,
                value,
            )
    assert re.findall(r"url\((?!#)", text) == [] and "@import" not in text
    assert "default-src 'none'" in text


def test_a_browser_shows_every_section_without_a_complaint(
    page: Path, server: Server, tmp_path: Path
) -> None:
    done = chromium(tmp_path, "--dump-dom", f"{server.uri}/{page.name}")
    assert "CONSOLE" not in done.stderr, done.stderr
    assert server.asked == [f"/{page.name}"], "nothing else was loaded"
    found = Elements(done.stdout).found
    assert [
        attributes["id"] for tag, attributes in found if tag in ("header", "section")
    ] == SECTIONS
    pictures = [
        attributes for tag, attributes in found if tag == "svg" and attributes.get("role") == "img"
    ]
    assert len(pictures) == 5
    for name in ("parallel", "dimensions", "probe"):
        drawn = done.stdout.partition(f'id="plot-{name}"')[2].partition("</figure>")[0]
        assert "js-plotly-plot" in done.stdout and 'class="trace scatter' in drawn, name
    assert all(
        picture["role"] == "img" and len(picture["aria-label"] or "") > 40 for picture in pictures
    )
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert len(ids) == len(set(ids)), "ids are of one figure each"
    assert ">recall@1 on the validation part</text>" in done.stdout, "text stays text"


def test_a_browser_shows_a_showcase_without_a_complaint_and_draws_every_picture(
    tmp_path: Path,
) -> None:
    pictures = tuple(encode_jpegs(np.full((6, 32, 32, 3), 90, dtype=np.uint8), 85))
    strips = dict.fromkeys(FOUND.strips, Strip(pictures[:2], (0, 29), 30))
    clips = [Clip(SAMPLE, dict.fromkeys(("clip", "target", "output", "attention"), pictures))]
    page = tmp_path / "showcase.html"
    page.write_text(showcase_html(dataclasses.replace(FOUND, strips=strips, clips=clips)))
    done = chromium(
        tmp_path, "--dump-dom", f"--print-to-pdf={tmp_path / 'showcase.pdf'}", page.as_uri()
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    found = Elements(done.stdout).found
    assert [attributes["id"] for tag, attributes in found if tag in ("header", "section")] == [
        "trial",
        "retrieval",
        "reconstruction",
    ]
    drawn = re.findall(rb"/Subtype\s*/Image", (tmp_path / "showcase.pdf").read_bytes())
    assert drawn, "the policy lets the pictures be drawn"


def test_a_click_on_a_head_sorts_a_table_and_the_dark_page_is_dark(
    page: Path, tmp_path: Path
) -> None:
    clicks = tmp_path / "clicked.html"
    script = """
    <iframe id="page" src="report.html"></iframe><pre id="out"></pre><script>
    document.getElementById("page").onload = function () {
      var inside = document.getElementById("page").contentDocument;
      var table = inside.querySelector("#trials table");
      var head = table.querySelectorAll("th")[0];
      function first() { return table.tBodies[0].rows[0].cells[0].textContent.trim(); }
      var seen = [first()];
      head.click(); seen.push(first());
      head.click(); seen.push(first());
      document.getElementById("out").textContent = seen.join(" ");
    };
    </script>"""
    clicks.write_text(script)
    shutil.copy(page, tmp_path / "report.html")
    server = Server(tmp_path)
    done = chromium(
        tmp_path, "--virtual-time-budget=20000", "--dump-dom", f"{server.uri}/clicked.html"
    )
    server.close()
    seen = re.findall(r'<pre id="out">([^<]*)</pre>', done.stdout)[0].split()
    assert seen[1:] == ["0", str(NUM_TRIALS - 1)], seen
    style = page.read_text().partition("<style>")[2].partition("</style>")[0]
    assert "prefers-color-scheme: dark" in style


def test_it_prints_on_at_most_six_pages(page: Path, tmp_path: Path) -> None:
    chromium(
        tmp_path,
        "--no-pdf-header-footer",
        f"--print-to-pdf={tmp_path / 'report.pdf'}",
        page.as_uri(),
    )
    pages = re.findall(rb"/Type\s*/Page\b(?!s)", (tmp_path / "report.pdf").read_bytes())
    assert 2 <= len(pages) <= 6


def test_a_confirmed_sweep_is_answered_by_its_confirmation_and_prints_on_at_most_six_pages(
    recorded: Recorded, tmp_path: Path
) -> None:
    record = load_record(recorded.spec)
    best, other = (
        record.finished[0],
        next(trial for trial in record.trials if trial.rates != record.finished[0].rates),
    )
    rows = [
        (best.number, [0.6, 0.62, 0.64], 0.57, 0.67),
        (other.number, [0.4, 0.41, 0.42], 0.37, 0.44),
    ]
    note = {
        "candidates": [
            {"trial": trial, "seeds": [1, 2, 3], "recall_at_1": scores, "low": low, "high": high}
            for trial, scores, low, high in rows
        ],
        "outcome": "winner",
        "taken": best.number,
        "text": f"trial {best.number} wins: better than every other candidate on 3 new seeds",
        "test": {
            "test/retrieval/recall_at_1": 0.55,
            "test/baseline/random_init/retrieval/recall_at_1": 0.3,
            "test/recognition/accuracy": 0.7,
        },
    }
    confirmed = dataclasses.replace(record, confirmation=read_confirmation(json.dumps(note)))
    path = tmp_path / "report.html"
    path.write_text(report_html(confirmed, importance(recorded.spec)))
    done = chromium(tmp_path, "--dump-dom", path.as_uri())
    assert "CONSOLE" not in done.stderr, done.stderr
    sections = [
        attributes["id"]
        for tag, attributes in Elements(done.stdout).found
        if tag in ("header", "section")
    ]
    assert sections == [*SECTIONS[:3], "confirmation", *SECTIONS[3:]]
    words = " ".join(re.sub(r"<[^>]*>", "", done.stdout).split())
    assert (
        f"Rates {best.rates} are best: trial {best.number} reaches recall@1 0.620 "
        "[0.570, 0.670] on 3 new seeds, significantly above every other"
    ) in words
    assert "recall@1 0.550, fine-tuned recognition 0.700." in words and "Not confirmed" not in words
    chromium(
        tmp_path,
        "--no-pdf-header-footer",
        f"--print-to-pdf={tmp_path / 'report.pdf'}",
        path.as_uri(),
    )
    assert (
        2 <= len(re.findall(rb"/Type\s*/Page\b(?!s)", (tmp_path / "report.pdf").read_bytes())) <= 6
    )


def test_what_the_page_says(recorded: Recorded, page: Path) -> None:
    record, text = load_record(recorded.spec), page.read_text()
    assert len(record.trials) == NUM_TRIALS and record.unfit == ()
    assert f"trial {record.best.number}" in text and record.parent_run_id in text
    assert "Not confirmed" in text
    assert "DivergedError: train/loss is nan at step 17" in text, "a failure has its reason"
    pruned = next(trial for trial in record.trials if trial.state == "pruned")
    assert pruned.reason.split(",")[0].replace("<", "&lt;") in text, "and so has a pruned trial"
    assert (
        "truncated" in text
        and record.data.content_hash in text
        and record.tags["prp.lock_sha256"] in text
    )
    assert (
        "Source: the cost ledger." in text
        and "recomputed steps" in text
        and "training from epoch 3 to 6" in text
        and "Cost per point: " in text
    )
    assert prp(f"reproduce {record.best.run_id}") in text
    assert "Pretext accuracy is not a score" in text


def test_the_record_joins_the_database_and_mlflow(recorded: Recorded) -> None:
    record, study = load_record(recorded.spec), read_study(recorded.spec)
    assert isinstance(record, SweepRecord)
    states = {trial.number: trial.state for trial in study.trials if not trial.unfit}
    assert {trial.number: trial.state for trial in record.trials} == states
    assert set(states.values()) == {"finished", "pruned", "failed"}
    assert record.baselines["baseline/random_init/retrieval/recall_at_1"] == 0.30
    best = record.best
    assert (
        best is not None
        and best.metrics["data/samples"] == 1440
        and best.rungs[12] == best.objective
    )
    assert best.metrics["linear_probe/accuracy"] == pytest.approx(best.objective - 0.05)
    assert all(trial.run_id and trial.ended >= trial.started > 0 for trial in record.trials)


def test_importance_says_when_it_cannot_know(recorded: Recorded) -> None:
    spec = recorded.spec
    known = importance(spec)
    assert (
        sum(known.shares.values()) == pytest.approx(1)
        and known.num_trials == NUM_TRIALS
        and known.epoch == 3
    )
    assert (
        known.shares.keys() == known.noise.keys()
        and "pretext.slow_motion.attention.high" in known.shares
    ), "conditional dimensions too"
    unknown = importance(spec, min_trials=NUM_TRIALS + 1)
    assert (
        unknown.shares == {}
        and unknown.missing
        == "20 trials reached the first rung; 21 are needed to tell importance from luck"
    )
    elsewhere = dataclasses.replace(spec, database_url=f"sqlite:///{recorded.home / 'none.db'}")
    assert importance(elsewhere).num_trials == 0
    assert not (recorded.home / "none.db").exists(), "looking makes no database"


def test_status_after_a_disconnect(
    recorded: Recorded, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRP_HOME", str(recorded.home))
    assert main(["status"]) == 0
    assert f"{recorded.spec.sweep_id}  ended" in capsys.readouterr().out
    assert main(["status", recorded.spec.sweep_id, "--once"]) == 0
    out = capsys.readouterr().out
    assert "20 of 20 trials ended" in out and f"report: {prp('report')}" in out
    assert main(["status", "no-such-sweep"]) == 2
    assert f"it has {recorded.spec.sweep_id}" in capsys.readouterr().err


def test_status_of_a_sweep_whose_driver_died(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = build_sweep(tmp_path, num_trials=3, failing=(), with_end=False, state_of_last="running")
    monkeypatch.setenv("PRP_HOME", str(tmp_path))
    assert main(["status", spec.sweep_id]) == 0, "it does not wait for what will not come"
    out = capsys.readouterr().out
    assert "2 of 3 trials ended" in out and "waiting" in out
    assert (
        f"its driver is no longer running; resume with: {installed('python')} "
        f"sweeps/YOUR_STUDY.py --resume {spec.sweep_id}"
    ) in " ".join(out.split())
    assert main(["report", spec.sweep_id]) == 0
    text = Path(capsys.readouterr().out.strip()).read_text()
    assert "No ledger: a trial&#39;s cost is its duration" in text
    assert "Hyperparameter importance is not known" in text


# Runs `prp` with each list of words, one after the other, and says what was imported by then.
COMMANDS_IN_TURN = """
import contextlib, json, sys
from orchestrator.commands.prp import main
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(sys.stderr):
        code = main(words)
    print(json.dumps([code, sorted(name for name in sys.modules if "." not in name)]))
"""


def test_commands_that_read_a_sweep_import_what_reading_needs(
    recorded: Recorded, tmp_path: Path
) -> None:
    name, page = recorded.spec.sweep_id, str(tmp_path / "page.html")
    in_turn = [["status"], ["status", name, "--once"], ["report", name, "--out", page]]
    said = subprocess.run(
        [sys.executable, "-c", COMMANDS_IN_TURN, json.dumps(in_turn)],
        cwd=REPOSITORY,
        env={**os.environ, "PRP_HOME": str(recorded.home)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    answers = [json.loads(line) for line in said.stdout.splitlines()]
    assert [code for code, _ in answers] == [0, 0, 0], said.stderr
    # joblib comes with scikit-learn, whose own name is there also where its import is refused
    of_status, of_watching, of_report = (set(packages) for _, packages in answers)
    assert of_status >= {"optuna", "mlflow"}
    assert of_watching & {"ray", "torch", "matplotlib"} == set()
    assert "matplotlib" in of_report and of_report & {"ray", "torch", "joblib"} == set()


def test_optuna_dashboard_shows_the_study_that_is_exported(
    recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import optuna_dashboard  # here, or every test process imports it

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRP_HOME", str(recorded.home))
        words = ["export-study", recorded.spec.sweep_id, str(tmp_path / "study.db")]
        assert main([*words, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert main(words) == 2 and "study.db exists; name another" in capsys.readouterr().err
        assert main([*words, "--force"]) == 0
    assert f"uvx optuna-dashboard {answer['url']}" in capsys.readouterr().out
    assert answer["study"] == recorded.spec.sweep_id and answer["num_trials"] >= NUM_TRIALS
    assert [path.name for path in tmp_path.glob("study*")] == ["study.db"]
    with make_server("127.0.0.1", 0, optuna_dashboard.wsgi(answer["url"])) as dashboard:
        threading.Thread(target=dashboard.serve_forever, args=(0.05,), daemon=True).start()
        study = shown_study(f"http://127.0.0.1:{dashboard.server_port}/api/studies")
        dashboard.shutdown()
    ours = study_of(recorded.home, recorded.spec.sweep_id).get_trials(deepcopy=False)
    assert study["name"] == recorded.spec.sweep_id
    assert study["directions"] == ["maximize"]
    assert [trial["state"].upper() for trial in study["trials"]] == [
        trial.state.name for trial in ours
    ]
    assert [trial.get("values") for trial in study["trials"]] == [trial.values for trial in ours]


def shown_study(api: str) -> dict[str, Any]:
    """The only study that a dashboard serves at `api`, with its trials."""
    with urllib.request.urlopen(api, timeout=60) as answer:
        (summary,) = json.load(answer)["study_summaries"]
    with urllib.request.urlopen(f"{api}/{summary['study_id']}", timeout=60) as answer:
        return dict(json.load(answer))


def test_prp_ui_serves_the_runs_at_a_free_port_until_it_is_closed(recorded: Recorded) -> None:
    spec = recorded.spec
    with socket.create_server(("127.0.0.1", 0)) as other:
        ui = MlflowUi(spec.tracking_uri, other.getsockname()[1])
        link = ui.link(str(spec.config["sweep"]["name"]), spec.sweep_id, "retrieval/recall_at_1")
        assert ui.is_ours and link.startswith(f"{ui.server}/#/experiments/")
        assert not ui.server.endswith(f":{other.getsockname()[1]}")
        with ui:
            with urllib.request.urlopen(ui.server, timeout=60) as page:
                assert "MLflow" in page.read().decode()
            experiment = f"{ui.server}/ajax-api/2.0/mlflow/experiments/get?experiment_id=1"
            with urllib.request.urlopen(experiment, timeout=60) as answer:
                tags = json.load(answer)["experiment"]["tags"]
    assert f"prp-{spec.sweep_id}" in link
    assert any(tag["key"] == f"mlflow.sharedViewState.prp-{spec.sweep_id}" for tag in tags)
    assert not is_up(ui.server), "its end is the server's"
