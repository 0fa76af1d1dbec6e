"""A whole sweep as a user runs it: its records in Optuna and MLflow, and its output."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator.commands.prp import main
from orchestrator.config.typed_command import installed
from orchestrator.confirmation import candidates_of
from orchestrator.cost.ledger import total, total_of_trial
from orchestrator.search.warm_start import plan_warm_start
from orchestrator.tracking import load_encoder
from orchestrator.tracking.past_trials import read_past_trials
from prp_core.data.object_store import LocalStore
from prp_core.errors import UserError
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.encoder_export import checkpoint_encoder_weights
from tests.e2e import tiny_study
from tests.e2e.disturbed_sweep import ENVIRONMENT, RUNGS_OF_FIRST, SEED, SLOW, Swept, runs_at
from tests.journals import ledger_of
from tests.tools.study_process import (
    REPOSITORY,
    StudyProcess,
    confirmed_pairs,
    rung_rows,
    sweep_notes,
    trial_rows,
)

KINDS_OF_COST = {"train", "baseline", "export", "recognition", "time_panel", "showcase"}
pytestmark = pytest.mark.timeout(1800)  # the first test runs the sweep


def best_number(swept: Swept) -> int:
    rows = [row for row in trial_rows(swept.home, swept.sweep_id) if row[1] == "COMPLETE"]
    return max(rows, key=lambda row: (row[2], -row[0]))[0]


def test_every_trial_is_told_as_it_ended(swept: Swept) -> None:
    rows = trial_rows(swept.home, swept.sweep_id)
    states = [state for _, state, _ in rows]
    assert len(rows) == 4
    assert states[1] == "FAIL", "the trial that went NaN fails, alone"
    assert states.count("PRUNED") >= 1
    assert states.count("COMPLETE") >= 1
    epochs = {
        number: [
            epoch for trial, epoch, _ in rung_rows(swept.home, swept.sweep_id) if trial == number
        ]
        for number, _, _ in rows
    }
    for number, state, value in rows:
        if state == "COMPLETE":
            assert epochs[number] == ([1, 2, 4] if number else RUNGS_OF_FIRST)
            assert value is not None
        if state == "PRUNED":
            assert epochs[number] in ([1], [1, 2])


def test_mlflow_has_one_parent_and_one_run_for_each_trial_and_none_is_left_running(
    swept: Swept,
) -> None:
    _, runs = runs_at(swept.home)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    nested = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    trials = [run for run in nested if run.data.tags["prp.role"] == "trial"]
    assert (len(parents), len(trials), len(nested)) == (1, 4, 4 + 3), "and the baselines"
    assert {run.data.tags["mlflow.parentRunId"] for run in nested} == {parents[0].info.run_id}
    statuses = {int(run.data.tags["prp.trial"]): run.info.status for run in trials}
    assert statuses[1] == "FAILED"
    assert all(status == "FINISHED" for number, status in statuses.items() if number != 1)
    assert parents[0].info.status == "FINISHED"
    pruned = [run for run in trials if run.data.tags["prp.state"] == "pruned"]
    assert len(pruned) == [state for _, state, _ in trial_rows(swept.home, swept.sweep_id)].count(
        "PRUNED"
    )


def test_a_trials_run_says_what_was_varied_measured_and_where_it_comes_from(
    swept: Swept,
) -> None:
    client, runs = runs_at(swept.home)
    finished = next(
        run
        for run in runs
        if run.data.tags.get("prp.state") == "finished" and run.data.tags["prp.role"] == "trial"
    )
    assert finished.data.params["pretext.playback_rate.rates"] in ("1-2", "1-3", "2-3")
    assert finished.data.params["clip.length"] == "8"
    history = client.get_metric_history(finished.info.run_id, "retrieval/recall_at_1")
    first, *steps = [point.step for point in history]
    assert first == 0 and math.isnan(history[0].value), "it comes first, without a value"
    num_rungs = 3 if finished.data.tags["prp.trial"] != "0" else len(RUNGS_OF_FIRST)
    assert len(steps) == num_rungs and steps == sorted(set(steps)), "one value for each rung"
    for metric in (
        "linear_probe/accuracy",
        "train/loss",
        "time/data_wait_share",
        "retrieval/recall_at_5",
    ):
        assert metric in finished.data.metrics
    for tag in (
        "prp.dataset_hash",
        "prp.protocol_hash",
        "prp.git_commit",
        "prp.lock_sha256",
        "prp.checkpoints_uri",
    ):
        assert finished.data.tags[tag] not in ("", "unknown") or tag == "prp.git_commit"


def test_the_parent_run_holds_baselines_and_the_report(swept: Swept) -> None:
    client, runs = runs_at(swept.home)
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    for name in ("random_init", "mean_frame", "mean_absolute_difference"):
        assert 0 <= parent.data.metrics[f"baseline/{name}/retrieval/recall_at_1"] <= 1
    assert [entry.path for entry in client.list_artifacts(parent.info.run_id)] == [
        "config.json",
        "figures",
        "report.html",
    ]


def test_the_report_in_the_parent_run_is_the_sweeps_page(swept: Swept) -> None:
    client, runs = runs_at(swept.home)
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    page = Path(client.download_artifacts(parent.info.run_id, "report.html")).read_text()
    assert swept.sweep_id in page and "<svg role=" in page
    assert "DivergedError" in page and "random initialisation" in page, (
        "the failure and the baselines of this very sweep"
    )
    assert "is predicted as" in page or "Every rate is predicted correctly" in page, (
        "the classifier's confusions were logged"
    )


def test_the_best_trials_run_holds_its_showcase(swept: Swept) -> None:
    client, runs = runs_at(swept.home)
    best = best_number(swept)
    holders = [
        run
        for run in runs
        if "showcase.html" in [entry.path for entry in client.list_artifacts(run.info.run_id)]
    ]
    assert [run.data.tags["prp.trial"] for run in holders] == [str(best)], (
        "the best one's alone was asked for"
    )
    page = Path(client.download_artifacts(holders[0].info.run_id, "showcase.html")).read_text()
    assert (
        f"<title>Trial {best} of sweep {swept.sweep_id}: " in page
        and page.count("data:image/jpeg;base64,") > 3 * 4
    )
    recall = holders[0].data.metrics["retrieval/recall_at_1"]
    text = re.sub(r"<[^>]+>", "", page)
    assert f"validation videos is {recall:.3f}" in text, (
        "the rebuilt network scores what the trial did"
    )
    assert f"showcase.html in the artifacts of the MLflow run of trial {best}" in swept.output
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    report = Path(client.download_artifacts(parent.info.run_id, "report.html")).read_text()
    assert f"trial {best} ({holders[0].info.run_id})" in report, "the report says where"


def test_a_run_is_enough_to_train_its_trial_again_and_every_figure_is_equal(
    swept: Swept, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client, runs = runs_at(swept.home)
    pruned = next(run for run in runs if run.data.tags.get("prp.state") == "pruned")
    monkeypatch.setenv("PRP_HOME", str(swept.home))
    assert main(["reproduce", pruned.info.run_id]) == 0, capsys.readouterr()
    out = capsys.readouterr().out
    assert "every value equal" in out and "retrieval/recall_at_1 " in out and "differs" not in out
    assert list(swept.home.glob("reproduce-*")) == [], "nothing is left of it"
    client.log_metric(
        pruned.info.run_id, "retrieval/recall_at_7", 0.5, step=1
    )  # a figure that training again does not give
    assert main(["reproduce", pruned.info.run_id]) == 1
    assert "does not agree: 1 of" in capsys.readouterr().out


def test_a_later_sweep_finds_the_ended_trials_in_mlflow_and_counts_them(
    swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SLOW.items():  # the space that was searched
        monkeypatch.setenv(name, value)
    found = read_past_trials(
        f"sqlite:///{swept.home / 'mlflow.db'}",
        "tiny",
        "retrieval/recall_at_1",
        sweep_id=swept.sweep_id,
    )
    states = {
        number: {"COMPLETE": "finished", "PRUNED": "pruned"}.get(state)
        for number, state, _ in trial_rows(swept.home, swept.sweep_id)
    }
    rungs = rung_rows(swept.home, swept.sweep_id)
    assert {one.number: one.state for one in found} == {
        number: state for number, state in states.items() if state
    }
    for one in found:
        assert one.rungs == pytest.approx(
            {epoch: value for number, epoch, value in rungs if number == one.number}
        )
    base = next(one.params for one in found if one.number)  # the first trial's length was varied
    warm = plan_warm_start(found, tiny_study.space, base, found[0].protocol_hash)
    assert len(warm.counted) == len(found) and not warm.hints
    assert not plan_warm_start(found, tiny_study.space, base, "measured otherwise").counted
    with pytest.raises(UserError, match="has no ended trial of that sweep"):
        read_past_trials(
            f"sqlite:///{swept.home / 'mlflow.db'}",
            "tiny",
            "retrieval/recall_at_1",
            sweep_id="another",
        )


def test_the_terminal_ends_with_a_leaderboard_and_every_place(swept: Swept) -> None:
    text = swept.output
    for words in (
        "random initialisation",
        "Taken:       trial",
        "fine-tuned recognition",
        "Checkpoints:",
        "MLflow:",
        installed("mlflow ui"),
        "pruned",
        "failed",
    ):
        assert words in text, text
    assert "Traceback" not in text
    assert "DivergedError" in swept.whole_output


def test_the_best_encoder_loads_in_three_lines_with_the_winners_weights(
    swept: Swept,
) -> None:
    folder = CheckpointFolder(
        LocalStore(swept.home / "sweeps" / swept.sweep_id),
        f"trials/{best_number(swept):04d}/checkpoints",
    )
    checkpoint = folder.latest_committed()
    assert checkpoint is not None
    weights = checkpoint_encoder_weights(folder, checkpoint)
    mlflow = f"sqlite:///{swept.home / 'mlflow.db'}"
    stored = swept.home / "sweeps" / swept.sweep_id / f"encoder/{best_number(swept):04d}"
    for uri in ("models:/prp-tiny@best", "models:/prp-tiny/latest", str(stored)):
        encoder = load_encoder(uri, mlflow)
        assert {name: tensor.tolist() for name, tensor in encoder.state_dict().items()} == {
            name: tensor.tolist() for name, tensor in weights.items()
        }, uri


def test_a_hook_is_told_of_the_interrupt_and_of_the_end_with_its_answer(swept: Swept) -> None:
    stopped, ended = swept.notified  # the driver that was killed says nothing
    assert (stopped["event"], ended["event"]) == ("stopped", "ended")
    assert stopped["text"].startswith(f"PRP sweep {swept.sweep_id} stopped: resume with: ")
    answer = re.search(r"^Answer: +(.*)$", swept.output, flags=re.MULTILINE)
    assert answer is not None and answer[1] in ended["text"]
    assert "CPU-hours" in ended["cost"]


def test_the_notebook_of_the_documentation_runs_on_a_sweep(swept: Swept) -> None:
    cells = json.loads((REPOSITORY / "docs" / "sweep.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRP_SWEEP", swept.sweep_id)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{swept.home / 'mlflow.db'}")
        for cell in cells:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), names)  # noqa: S102 - our own notebook
    assert len(names["table"]) == 4, "trials"
    assert len(names["curve"]) == int(names["best"]["metrics.epoch"])
    assert names["best"]["tags.prp.state"] == "finished"
    assert names["feature_D"].ndim == 1 and names["feature_D"].isfinite().all()


def test_the_ledger_adds_up_to_what_mlflow_shows(swept: Swept) -> None:
    entries = ledger_of(swept.home, swept.sweep_id)
    states = {number: state for number, state, _ in trial_rows(swept.home, swept.sweep_id)}
    assert {entry.trial for entry in entries if entry.kind == "train"} == set(states)
    assert {entry.kind for entry in entries} == KINDS_OF_COST
    _, runs = runs_at(swept.home)
    for run in runs:
        if run.data.tags["prp.role"] == "baseline":
            continue
        number = run.data.tags.get("prp.trial")
        sums = total(entries) if number is None else total_of_trial(entries, int(number))
        counters = json.loads(run.data.tags.get("prp.counters", "{}"))
        queued = {**counters, **run.data.metrics}["waste/queued_seconds"]
        assert run.data.metrics["cost/cpu_hours"] == pytest.approx(sums.cpu_hours)
        assert queued == pytest.approx(sums.queued_seconds)
    for number, state in states.items():
        slices = sorted(
            (entry.started, entry.ended)
            for entry in entries
            if entry.owner == ("train", number, None)
        )
        assert all(one[1] <= two[0] for one, two in pairwise(slices)), "no second is counted twice"
        if state == "COMPLETE":
            assert {
                entry.rung_epoch
                for entry in entries
                if entry.trial == number and entry.busy_seconds
            } >= {1, 2, 4}
    assert "Cost:" in swept.output and "CPU-hours" in swept.output


def extend(swept: Swept, number: int, epochs: int) -> tuple[int, str]:
    """``prp extend`` while nobody drives the sweep: its exit code and its answer."""
    words = ["extend", swept.sweep_id, "--trial", str(number), "--epochs", str(epochs)]
    answer = io.StringIO()
    with contextlib.redirect_stdout(answer):
        return main(words), answer.getvalue()


def test_the_best_of_an_ended_sweep_can_be_confirmed_and_a_trial_extended(
    swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, sweep_id = trial_rows(swept.home, swept.sweep_id), swept.sweep_id
    monkeypatch.setenv("PRP_HOME", str(swept.home))
    extended = next(number for number, state, _ in before if state == "PRUNED")
    assert extend(swept, 9, 5) == (1, "there is no trial 9; there are 4\n")
    assert re.fullmatch(
        r"trial \d is trained for \d+ epochs already; name more than that, not 1\n",
        extend(swept, best_number(swept), 1)[1],
    )
    code, said = extend(swept, extended, 5)
    assert code == 0 and re.search(
        rf"its next start continues trial {extended} from epoch \d to 5: .*--resume", said
    )
    with StudyProcess(swept.home, ["--resume", sweep_id, "--confirm", "2"], ENVIRONMENT) as last:
        assert last.wait() == 0, last.output[-4000:]
        assert last.left_behind() == []
    after = trial_rows(swept.home, sweep_id)
    assert after[:4] == before, "a confirming run is no trial"
    assert [(number, state) for number, state, _ in after[4:]] == [(4, "COMPLETE")]
    own = [epoch for number, epoch, _ in rung_rows(swept.home, sweep_id) if number == 4]
    assert own[-1] == 5 and 1 not in own[1:], "it began at the other's checkpoint"
    assert len(confirmed_pairs(last)) == 4

    note = json.loads(sweep_notes(swept.home, sweep_id)["confirmation"])
    _, runs = runs_at(swept.home)
    rates = {
        int(run.data.tags["prp.trial"]): run.data.params["pretext.playback_rate.rates"]
        for run in runs
        if run.data.tags["prp.role"] == "trial"
    }
    scores = {number: value or 0.0 for number, state, value in after if state == "COMPLETE"}
    best = candidates_of(scores, 2, rates)
    assert {one["trial"] for one in note["candidates"]} == set(best)
    assert all(
        one["seeds"] == [SEED + 1, SEED + 2] and len(one["recall_at_1"]) == 2
        for one in note["candidates"]
    )
    assert note["outcome"] in ("winner", "tie") and note["text"] in last.output
    compared = ["random_init", "mean_absolute_difference", "mean_frame"]
    for kept in ("baselines", "test_baselines"):
        assert sorted(one["name"] for one in note[kept]) == sorted(compared), kept
    assert (
        0 <= note["test"]["test/retrieval/recall_at_1"] <= 1
        and "test/baseline/random_init/retrieval/recall_at_1" in note["test"]
    )

    client, runs = runs_at(swept.home)
    assert len(runs) == 5 + 1 + 3 + 4, "parent and trials, one extended, baselines, confirming runs"
    (longer,) = [run for run in runs if run.data.tags.get("prp.continues") == str(extended)]
    assert (longer.data.tags["prp.trial"], longer.data.tags["prp.state"]) == ("4", "finished")
    assert all(run.info.status in ("FINISHED", "FAILED") for run in runs)
    confirming = [run for run in runs if "prp.confirm_of" in run.data.tags]
    assert sorted(run.data.tags["prp.seed"] for run in confirming) == [
        str(seed) for seed in (SEED + 1, SEED + 1, SEED + 2, SEED + 2)
    ]
    parent = next(run for run in runs if run.data.tags["prp.role"] == "sweep")
    assert f"trial {note['taken']}" in parent.data.tags["prp.test_touched"] and parent.data.tags[
        "prp.winner"
    ] == str(note["taken"])
    shown = [
        run
        for run in runs
        if "showcase.html" in [entry.path for entry in client.list_artifacts(run.info.run_id)]
    ]
    assert str(note["taken"]) in [run.data.tags["prp.trial"] for run in shown], (
        "the taken trial has a showcase, the best one or not"
    )
    entries = ledger_of(swept.home, sweep_id)
    assert {"confirm", "test"} <= {entry.kind for entry in entries}
    assert client.get_run(parent.info.run_id).data.metrics["cost/cpu_hours"] == pytest.approx(
        total(entries).cpu_hours
    )
