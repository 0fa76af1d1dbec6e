"""A sweep that goes on keeps what it was started with, and says what differs with both values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.run_config import flatten, parse_config, to_tree, with_values
from orchestrator.config.sweep_spec import SweepSpec, spec_of_values
from orchestrator.search.space_record import record_space
from orchestrator.sweep.arguments import parse_arguments
from orchestrator.sweep.kept import Kept, check_same_space, keep_config, kept_lines
from orchestrator.sweep.settings import absolute, given_options, kept_options, new_config
from prp_core.errors import UserError

STUDY = "rate-search"
WORDS = ["--data", "/videos", "--set", "clip.length=24", "--set", "seed=4", "--trials", "6"]


def space(trial: Any) -> None:
    rates = trial.suggest_categorical("pretext.playback_rate.rates", ["1-2", "1-4"])
    if rates == "1-4":
        trial.suggest_float("training.learning_rate", 1e-4, 1e-1, log=True)


def spec_of(words: Sequence[str]) -> SweepSpec:
    """The spec of a sweep that was started with `words`, as its storage gives it back."""
    options = given_options(parse_arguments(words, ""))
    spec = SweepSpec(
        sweep_id="one",
        config=to_tree(new_config(options, STUDY)),
        storage_uri="/storage",
        database_url=options.get("database", ""),
        tracking_uri="sqlite:////data/mlflow.db",
        data_uri="/videos",
        manifest_uri="/storage/manifests/m.parquet",
        tags={},
        study=STUDY,
        space=record_space(space),
        options=kept_options(options),
    )
    return spec_of_values(spec.to_values(), "/storage")


def kept_with(words: Sequence[str], started: Sequence[str] = WORDS, study: str = STUDY) -> Kept:
    return keep_config(spec_of(started), given_options(parse_arguments(words, "")), study)


@pytest.mark.parametrize(
    "words",
    [
        [],
        WORDS,
        ["--preset", "demo", *WORDS],
        ["--preset", "demo"],
        ["--data", "/videos"],
        ["--set", "clip.length=24"],
        ["--set", "clip.length = 24"],
        ["--storage", "/storage"],
        ["--mlflow", "sqlite:////data/mlflow.db"],
        ["--warm-start", "none"],
    ],
    ids=" ".join,
)
def test_what_is_given_again_or_not_at_all_is_kept(words: list[str]) -> None:
    kept = kept_with(words)
    assert to_tree(kept.config) == to_tree(
        new_config(given_options(parse_arguments(WORDS, "")), STUDY)
    )
    assert kept.changes == ()


@pytest.mark.parametrize(
    ("words", "path", "change"),
    [
        (["--trials", "9"], "sweep.num_trials", "sweep.num_trials (--trials): 6 -> 9"),
        (
            ["--set", "sweep.num_trials=9"],
            "sweep.num_trials",
            "sweep.num_trials (--trials): 6 -> 9",
        ),
        (["--preset", "demo", "--trials", "9"], "sweep.num_trials", "(--trials): 6 -> 9"),
        (["--confirm", "2"], "confirm.num_candidates", "(--confirm): 0 -> 2"),
        (["--budget-usd", "9"], "budget.usd", "budget.usd (--budget-usd): 0.0 -> 9.0"),
        (["--prices", "/p.toml"], "budget.prices", "budget.prices (--prices):  -> /p.toml"),
        (["--set", "showcase.num_trials=2"], "showcase.num_trials", "showcase.num_trials: "),
        (["--set", "store.addressing=path"], "store.addressing", "store.addressing: auto -> path"),
    ],
    ids=str,
)
def test_what_may_change_is_done_and_said(words: list[str], path: str, change: str) -> None:
    kept = kept_with(words)
    before = flatten(new_config(given_options(parse_arguments(WORDS, "")), STUDY))
    now = flatten(kept.config)
    assert [name for name in now if now[name] != before[name]] == [path]
    (said,) = map(str, kept.changes)
    assert change in said
    assert said in kept_lines(spec_of(WORDS), kept)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "/others"], "source.uri (--data): /videos -> /others"),
        (["--splits", "/s"], "source.splits_dir (--splits):  -> /s"),
        (["--labels", "/l.csv"], "source.labels_csv (--labels):  -> /l.csv"),
        (["--where", "frames > 64"], "source.where (--where):  -> frames > 64"),
        (["--set", "clip.length=16"], "clip.length: 24 -> 16"),
        (["--preset", "ucf101_r3d"], "encoder.name: "),
        (["--set", "sweep.sampler=random"], "sweep.sampler: gp -> random"),
        (["--storage", "s3://b/p"], "--storage: /storage -> s3://b/p"),
        (["--mlflow", "http://h:1"], "--mlflow: sqlite:////data/mlflow.db -> http://h:1"),
        (["--warm-start", "auto"], "--warm-start: none -> auto"),
        (
            ["--database", "postgresql://me@h/d"],
            "--database: the sweep's journal -> postgresql://me@h/d",
        ),
    ],
    ids=str,
)
def test_what_differs_is_refused_with_both_values(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match="Sweep one keeps what it was started with") as refused:
        kept_with(words)
    assert said in str(refused.value)


def test_all_that_differs_is_named_at_once() -> None:
    with pytest.raises(UserError) as refused:
        kept_with(["--data", "/others", "--set", "seed=5", "--trials", "9"], study="other-study")
    text = str(refused.value)
    assert "--data" in text and "seed: 4 -> 5" in text
    assert "the study: rate-search -> other-study" in text
    assert "trials" not in text, "that would be done"


def test_another_space_is_refused_by_dimension() -> None:
    spec = spec_of(WORDS)
    check_same_space(spec, record_space(space))

    def other(trial: Any) -> None:
        trial.suggest_categorical("pretext.playback_rate.rates", ["1-2", "1-3"])
        trial.suggest_int("training.warmup_epochs", 0, 4)

    with pytest.raises(UserError) as refused:
        check_same_space(spec, record_space(other))
    text = str(refused.value)
    assert "pretext.playback_rate.rates: one of 1-2, 1-4 -> one of 1-2, 1-3" in text
    assert "training.learning_rate: 0.0001 to 0.1, logarithmic -> not there" in text
    assert "training.warmup_epochs: not there -> 0 to 4" in text


def test_uris_are_made_absolute_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("videos") == str(tmp_path / "videos")
    assert absolute("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    for uri in ("s3://b/p", "sqlite:////a/b.db", "http://h:1", "file:///a", "postgresql://h/d"):
        assert absolute(uri) == uri
    options = given_options(parse_arguments(["--mlflow", "sqlite:///m.db", "--storage", "s/"], ""))
    assert options == {"mlflow": f"sqlite:///{tmp_path}/m.db", "storage": f"{tmp_path}/s"}


def test_mlflows_own_variable_is_said_where_it_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
    (_, line) = kept_lines(spec_of(WORDS), Kept(new_config({}, STUDY)))
    assert line.startswith("MLFLOW_TRACKING_URI is http://elsewhere:5000; the sweep's runs stay")


def test_what_missing_classes_decided_at_the_start_is_kept_with_the_preset_given_again() -> None:
    spec = spec_of(WORDS)
    config = with_values(
        parse_config(spec.config),
        {
            "evaluation.label_free": {},
            "sweep.objective": "label_free/recall_at_1",
            "evaluation.linear_probe": None,
        },
    )
    options = given_options(parse_arguments(["--preset", "demo", *WORDS], ""))
    kept = keep_config(spec.with_config(to_tree(config)), options, STUDY)
    assert kept.config == config and kept.changes == ()
