"""A trial trained again: its parameters as a config, code against code, value against value."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
from pathlib import Path

import pytest

from orchestrator.config.run_config import (
    RunConfig,
    load_config,
    to_tree,
    with_values,
)
from orchestrator.config.shipped import presets
from orchestrator.coordinator.run_starts import as_params
from orchestrator.tracking.reading import RunFacts
from orchestrator.tracking.tags import LONGEST_PARAM, shortened
from orchestrator.trial.reproduce_run import HistoryReporter
from orchestrator.trial.reproduction import (
    Point,
    agreement_of,
    agrees,
    check_can_repeat,
    check_endpoint,
    code_differences,
    compare,
    config_of_params,
    on_this_machine,
    reasons_to_differ,
    table_rows,
)
from prp_core.errors import UserError

PRESETS = sorted(presets())


def run_facts(state: str = "finished", **tags: str) -> RunFacts:
    return RunFacts("r1", "x", state, {}, {"epoch": 3.0}, {"prp.role": "trial", **tags}, 1.0, 2.0)


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_give_the_config_back_exactly(preset: str) -> None:
    config = with_values(
        load_config(preset),
        {
            "training.learning_rate": 1e-05 / 3,
            "clip.random_crop": False,
            "source.uri": "None",
            "evaluation.linear_probe": None,
            "store.region": "8",
        },
    )
    again = config_of_params(as_params(config))
    # What a resume may change belongs to no trial, and is no parameter of one.
    sweep = dataclasses.replace(again.sweep, num_trials=config.sweep.num_trials)
    changeable = {name: getattr(config, name) for name in ("budget", "confirm", "showcase")}
    assert dataclasses.replace(again, sweep=sweep, **changeable) == config
    assert to_tree(again)["training"]["learning_rate"] == 1e-05 / 3


def test_only_what_is_learnt_comes_from_the_run() -> None:
    recorded = with_values(
        load_config("demo"),
        {
            "store.endpoint_url": "http://127.0.0.1:9",
            "store.region": "xx-north-1",
            "store.profile": "production",
            "store.requester_pays": True,
            "cache.dir": "/srv/theirs",
            "source.uri": "/srv/videos",
            "source.labels_csv": "/srv/labels.csv",
            "source.where": "frames >= 32",
            "source.val_fraction": 0.3,
            "loader.reader": "decord",
            "loader.decode_memory_bytes": 1 << 40,
            "loader.max_pixels": 1 << 40,
            "loader.num_decoders": 999,
            "resources.num_workers": 2,
            "resources.max_failures": 99,
            "training.learning_rate": 0.0123,
            "clip.length": 16,
            "seed": 77,
        },
    )
    own = with_values(RunConfig(), {"store.region": "eu-1", "cache.dir": "/srv/mine"})
    here = on_this_machine(recorded, own)
    for table in ("store", "cache", "budget", "confirm", "showcase"):
        assert getattr(here, table) == getattr(own, table), table
    for table in ("encoder", "pretext", "clip", "training", "evaluation", "seed", "sweep"):
        assert getattr(here, table) == getattr(recorded, table), table
    assert here.loader == dataclasses.replace(own.loader, reader="decord")
    source = dataclasses.replace(own.source, where="frames >= 32", val_fraction=0.3)
    assert here.source == source, "which videos were learnt from, not where they were"
    assert here.resources == dataclasses.replace(own.resources, num_workers=2)


@pytest.mark.parametrize(
    ("theirs", "ours", "environment", "uris", "is_refused"),
    [
        (None, None, "", ["s3://b/v"], False),
        ("http://evil:1", None, "", ["s3://b/v"], True),
        ("http://evil:1", None, "", ["/srv/v", "s3://b/m.parquet"], True),
        ("http://evil:1", None, "http://our:1", ["s3://b/v"], True),
        ("http://evil:1", None, "", ["/srv/v", "file:///srv/m.parquet"], False),
        ("http://evil:1", "http://our:1", "", ["s3://b/v"], False),
        ("http://our:1/", None, "http://our:1", ["s3://b/v"], False),
    ],
)
def test_another_server_is_refused_in_one_line(
    theirs: str | None, ours: str | None, environment: str, uris: list[str], is_refused: bool
) -> None:
    recorded = with_values(load_config("demo"), {"store.endpoint_url": theirs})
    own = with_values(RunConfig(), {"store.endpoint_url": ours})
    if not is_refused:
        check_endpoint(run_facts(), recorded, own, uris, environment)
        return
    remote = next(uri for uri in uris if uri.startswith("s3:"))
    with pytest.raises(UserError) as caught:
        check_endpoint(run_facts(), recorded, own, uris, environment)
    assert str(caught.value) == (
        f"Run r1 read {remote} from http://evil:1, this machine reads from "
        f"{environment or 'Amazon S3'}; nothing was sent. Choose the server that gets your "
        "credentials with --endpoint-url: http://evil:1 if you trust it"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"clip.lenght": "8"},
            "cannot read the run's parameters: Unknown config key 'clip.lenght'",
        ),
        ({"clip.length": "many"}, "The run's parameter clip.length = 'many' is not a number"),
        (
            {"source.uri": shortened("x" * 9000, LONGEST_PARAM)},
            "source.uri is too long for MLflow and stands there shortened",
        ),
    ],
)
def test_parameters_that_cannot_be_read_back(change: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        config_of_params({**as_params(load_config("demo")), **change})


def test_only_a_trial_that_has_ended_can_be_repeated() -> None:
    assert check_can_repeat(run_facts("pruned")) == 3
    without_rung = RunFacts(
        "r1", "x", "failed", {}, {}, {"prp.role": "trial", "prp.reason": "out of memory"}, 1.0, 2.0
    )
    for facts, said in (
        (run_facts(**{"prp.role": "sweep"}), "r1 is not the run of a trial"),
        (run_facts("running"), "Run r1 is running: only a trial that has ended"),
        (without_rung, r"failed before its first rung \(out of memory\)"),
    ):
        with pytest.raises(UserError, match=said):
            check_can_repeat(facts)


def test_other_code_is_named_with_both_values(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(tmp_path), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    (tmp_path / "uv.lock").write_text("lock")
    git("init", "-q")
    git("add", "-A")
    git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "one")
    commit, lock = git("rev-parse", "HEAD"), hashlib.sha256(b"lock").hexdigest()
    same = {"prp.git_commit": commit, "prp.lock_sha256": lock}
    assert code_differences(run_facts(**same), tmp_path) == []
    assert code_differences(run_facts(**{**same, "prp.git_commit": "abc"}), tmp_path) == [
        f"commit was abc, here it is {commit}"
    ]
    assert code_differences(run_facts(**{**same, "prp.lock_sha256": "def"}), tmp_path) == [
        f"uv.lock was def, here it is {lock}"
    ]
    (tmp_path / "uv.lock").write_text("changed")
    (dirty, changed) = code_differences(run_facts(**same), tmp_path)
    assert dirty == f"commit was {commit}, here it is {commit}-dirty" and changed.startswith(
        f"uv.lock was {lock}"
    )
    (both,) = code_differences(
        run_facts(**{"prp.git_commit": f"{commit}-dirty", "prp.lock_sha256": changed.split()[-1]}),
        tmp_path,
    )
    assert "with uncommitted changes" in both


# (recorded, now, agreement)
AGREEMENTS = [
    (0.5, 0.5, "exact"),
    (0.5, 0.5000001, "close"),
    (0.5, 0.519, "close"),
    (0.5, 0.521, "differs"),
    (100.0, 101.0, "close"),
    (100.0, 103.0, "differs"),
]


@pytest.mark.parametrize(("recorded", "now", "expected"), AGREEMENTS)
def test_two_values(recorded: float, now: float, expected: str) -> None:
    assert agreement_of(recorded, now) == expected


def test_every_point_up_to_the_last_rung_is_compared() -> None:
    recorded = {
        "train/loss": {1: 1.0, 2: 0.5, 9: 7.0},
        "retrieval/recall_at_1": {2: 0.25},
        "epoch/loss": {2: 0.75},
        "time/step": {1: 1.0},
        "data/samples": {2: 9.0},
        "recognition/accuracy": {2: 0.5},
        "late": {9: 1.0},
    }
    now = {"train/loss": {1: 1.0, 2: 0.5}, "retrieval/recall_at_1": {2: 0.26}, "new": {1: 2.0}}
    points = compare(recorded, now, last_step=2)
    assert points == [
        Point("epoch/loss", 0, 2, 0.75, None, "missing"),
        Point("retrieval/recall_at_1", 1, 2, 0.25, 0.26, "close"),
        Point("train/loss", 2, 2, 0.5, 0.5, "exact"),
    ]
    assert table_rows(points, reasons=["why"], strict=False)[1] == [
        "retrieval/recall_at_1",
        "1",
        "0.25",
        "0.26",
        "within 0.02",
    ]
    assert table_rows(points, reasons=[], strict=False)[1][-1] == "differs"
    assert table_rows(points, reasons=["why"], strict=True)[0][2:] == ["0.75", "", "not measured"]


EXACT, CLOSE, MISSING = (Point("m", 1, 1, 0.5, 0.5, word) for word in ("exact", "close", "missing"))


@pytest.mark.parametrize(
    ("points", "reasons", "strict", "expected"),
    [
        ([EXACT], [], True, True),
        ([EXACT, CLOSE], [], False, False),
        ([EXACT, CLOSE], ["a GPU"], False, True),
        ([EXACT, CLOSE], ["a GPU"], True, False),
        ([EXACT, MISSING], ["a GPU"], False, False),
        ([], ["a GPU"], False, False),
    ],
)
def test_when_a_trial_came_out_the_same(
    points: list[Point], reasons: list[str], strict: bool, expected: bool
) -> None:
    assert agrees(points, reasons=reasons, strict=strict) is expected


def test_why_figures_need_not_be_equal() -> None:
    config = load_config("demo")
    assert reasons_to_differ(run_facts(), config, []) == []
    many = with_values(config, {"resources.num_workers": 2, "resources.gpus_per_worker": 1.0})
    assert len(reasons_to_differ(run_facts(), many, ["commit"])) == 3


def test_the_recorder_stops_at_the_rung_and_keeps_the_first_word() -> None:
    reporter = HistoryReporter(last_epoch=2)
    reporter.log({"train/loss": 1.0}, step=1)
    reporter.log({"train/loss": 2.0}, step=1)
    assert reporter.at_rung(epoch=1, step=4, metrics={"retrieval/recall_at_1": 0.5}, hits={})
    assert not reporter.at_rung(epoch=2, step=8, metrics={"retrieval/recall_at_1": 0.75}, hits={})
    assert reporter.values == {
        "train/loss": {1: 1.0},
        "retrieval/recall_at_1": {4: 0.5, 8: 0.75},
        "epoch": {4: 1.0, 8: 2.0},
    }
    assert reporter.last_step == 8
