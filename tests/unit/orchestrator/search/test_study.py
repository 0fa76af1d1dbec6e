"""The study over a real sqlite database: ask, report, prune, fail, and what a new driver finds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from orchestrator.config.run_config import RunConfig, with_values
from orchestrator.search.database import open_database
from orchestrator.search.pruner import PruningRule
from orchestrator.search.space import Fit, apply_space, fits_corpus, fits_memory
from orchestrator.search.study import SweepStudy
from prp_core.errors import UserError
from tests.study_databases import study_database


def space(trial: Any) -> None:
    rates = trial.suggest_categorical(
        "pretext.playback_rate.rates", ["1-2", "1-2-4", "1-2-4-8", "1-3-6"]
    )
    trial.suggest_categorical("clip.length", [8, 16, 24])
    if rates != "1-2":
        trial.suggest_float("pretext.playback_rate.loss_weight", 0.01, 10.0, log=True)


def anything(values: Mapping[str, Any]) -> Fit:
    return Fit(True, "")


def study_at(folder: Path, name: str = "sweep") -> SweepStudy:
    return SweepStudy(study_database(folder), name, space, seed=1, num_startup_trials=4)


def rung(study: SweepStudy, number: int, epoch: int, value: float, *, last: bool = False) -> bool:
    study.report(number, epoch, value)
    return study.decide(number, epoch, PruningRule("asha", 2), is_last_rung=last).go_on


def test_pruned_is_told_pruned_at_its_rung_with_its_values(tmp_path: Path) -> None:
    study = study_at(tmp_path)
    good, bad = study.ask(anything), study.ask(anything)
    assert rung(study, good.number, 1, 0.8)
    assert not rung(study, bad.number, 1, 0.3)
    study.tell_pruned(bad.number, "below the bar")
    trial = study.trials()[bad.number]
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.3}
    assert trial.user_attrs["reason"] == "below the bar"


def test_a_decision_asked_for_twice_is_the_same_whatever_came_between(tmp_path: Path) -> None:
    study = study_at(tmp_path)
    first, second = study.ask(anything), study.ask(anything)
    assert rung(study, first.number, 1, 0.3)
    assert rung(study, second.number, 1, 0.9)
    assert rung(study, first.number, 1, 0.3), (
        "a worker that died after the decision is answered with the same one"
    )


def test_a_new_driver_is_handed_the_trials_that_were_running(tmp_path: Path) -> None:
    study = study_at(tmp_path)
    done, running = study.ask(anything), study.ask(anything)
    rung(study, done.number, 1, 0.5, last=True)
    study.tell_finished(done.number, 0.5)
    later = study_at(tmp_path)
    proposal = later.ask(anything)
    assert (proposal.number, proposal.values, proposal.is_resumed) == (
        running.number,
        running.values,
        True,
    )
    assert later.ask(anything).number > running.number
    assert later.num_told() == 1


def test_telling_twice_keeps_the_first_word(tmp_path: Path) -> None:
    study = study_at(tmp_path)
    number = study.ask(anything).number
    study.tell_failed(number, "DivergedError: train/loss is nan at step 3")
    study.tell_finished(number, 1.0)
    assert study.trials()[number].state == TrialState.FAIL
    assert study.trials()[number].user_attrs["reason"].startswith("DivergedError")


def test_what_does_not_fit_the_corpus_is_pruned_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.search.study.MAX_UNFIT_IN_A_ROW", 30)
    study = study_at(tmp_path)
    only_short = study.ask(lambda values: Fit(values["clip.length"] == 8, "too few videos"))
    assert only_short.values["clip.length"] == 8
    unfit = [trial for trial in study.trials() if "unfit" in trial.user_attrs]
    assert all(
        trial.state == TrialState.PRUNED and not trial.intermediate_values for trial in unfit
    )
    assert study.num_told() == 0
    with pytest.raises(
        UserError,
        match="Nothing that the search space suggests can be trained here; the last reason: "
        "too few videos",
    ):
        study.ask(lambda values: Fit(False, "too few videos"))


def test_rate_sets_survive_the_database_and_two_sweeps_share_it(tmp_path: Path) -> None:
    first, other = study_at(tmp_path, "one"), study_at(tmp_path, "two")
    proposal = first.ask(anything)
    assert isinstance(proposal.values["pretext.playback_rate.rates"], str)
    assert other.trials() == []
    assert [trial.number for trial in study_at(tmp_path, "one").trials()] == [proposal.number]


def test_a_database_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        open_database(f"sqlite:///{tmp_path}/no/such/folder/trials.db")


def test_a_space_that_names_no_path_of_the_tree_is_refused() -> None:
    with pytest.raises(
        UserError,
        match=r"The search space suggested something the config refuses: Unknown config key "
        r"'clip.size'",
    ):
        apply_space(RunConfig(), {"clip.size": 8})


@pytest.mark.parametrize(
    ("rates", "length", "ok", "reason"),
    [
        ("1-2", 16, True, ""),
        (
            "1-8",
            16,
            False,
            "rate 8 with clip.length 16 fits 1 of 4 videos, less than "
            "sweep.min_eligible_fraction = 0.5",
        ),
        ("1-8", 8, True, ""),
    ],
)
def test_feasibility_counts_the_videos_that_are_long_enough(
    rates: str, length: int, ok: bool, reason: str
) -> None:
    config = with_values(RunConfig(), {"pretext.playback_rate.rates": rates, "clip.length": length})
    assert fits_corpus(config, (40, 70, 90, 200)) == Fit(ok, reason)


def test_every_trial_has_the_sweeps_seed_so_that_differences_are_paired(tmp_path: Path) -> None:
    study, base = study_at(tmp_path), with_values(RunConfig(), {"seed": 11})
    configs = [apply_space(base, study.ask(anything).values) for _ in range(6)]
    assert {config.seed for config in configs} == {11}
    assert len({(config.clip.length, config.pretext.playback_rate.rates) for config in configs}) > 1


class TwoGib:
    """Two GiB for each clip, whatever the clip."""

    def worker_bytes(self, *, num_clips: int, length: int, crop: int, upsampling: int) -> float:
        return num_clips * 2.0 * 2**30


@pytest.mark.parametrize(
    ("settings", "ok"),
    [
        ({}, True),  # memory is not known
        ({"resources.worker_memory_gib": 16.0}, True),
        ({"resources.worker_memory_gib": 15.0}, False),
        ({"resources.worker_memory_gib": 15.0, "resources.num_workers": 2}, True),
        ({"resources.worker_memory_gib": 15.0, "training.precision": "bfloat16"}, True),
    ],
)
def test_what_does_not_fit_a_workers_memory_is_refused(settings: dict[str, Any], ok: bool) -> None:
    fit = fits_memory(with_values(RunConfig(), settings), {RunConfig().encoder.name: TwoGib()})
    assert fit.ok is ok
    if not ok:
        assert "8 clips of 16 frames of 112 x 112 with upsampling 2 on" in fit.reason
        assert "need at least 16.0 GiB, more than resources.worker_memory_gib = 15" in fit.reason


def test_without_the_slow_motion_task_no_decoder_is_counted() -> None:
    class OneGibAnUpsampling:
        def worker_bytes(self, *, num_clips: int, length: int, crop: int, upsampling: int) -> float:
            return 2.0**30 * (1 + upsampling)

    figures = {RunConfig().encoder.name: OneGibAnUpsampling()}
    settings = {"resources.worker_memory_gib": 2.0, "pretext.slow_motion.upsampling": 4}
    with_decoder = fits_memory(with_values(RunConfig(), settings), figures)
    assert "with upsampling 4 on r3d need at least 5.0 GiB" in with_decoder.reason
    off = {**settings, "pretext.slow_motion.loss_weight": 0.0}
    assert fits_memory(with_values(RunConfig(), off), figures).ok
    less = {**off, "resources.worker_memory_gib": 0.5}
    reason = fits_memory(with_values(RunConfig(), less), figures).reason
    assert "without a decoder on r3d need at least 1.0 GiB" in reason


def test_a_repeat_is_asked_again_and_teaches_the_sampler_nothing(tmp_path: Path) -> None:
    study = SweepStudy(
        study_database(tmp_path),
        "sweep",
        lambda trial: trial.suggest_categorical("clip.length", [8, 16]),
        seed=1,
        num_startup_trials=9,
    )
    lengths = {study.ask(anything).values["clip.length"], study.ask(anything).values["clip.length"]}
    assert lengths == {8, 16}
    assert all(trial.state in (TrialState.RUNNING, TrialState.FAIL) for trial in study.trials())
