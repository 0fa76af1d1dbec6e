"""A sweep's study in a real PostgreSQL, which is restarted and crashes while the sweep goes on."""

from __future__ import annotations

import pickle
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from orchestrator.config.run_config import load_config, to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.journal.journal_writer import Fenced
from orchestrator.journal.stored_sweep import open_journal
from orchestrator.search import database
from orchestrator.search.database import DatabaseUnavailable, RetryingDatabase, open_database
from orchestrator.search.pruner import PruningRule
from orchestrator.search.record import read_study
from orchestrator.search.space import Fit
from orchestrator.search.study import SweepStudy
from orchestrator.trial_state import TrialState as State
from prp_core.errors import UserError
from tests.e2e.tiny_study import space
from tests.fixtures_postgres import PostgresServer
from tests.tools.study_process import TINY_PRESET

RUNGS = (1, 2, 4)
RULE = PruningRule("asha", 2)
NUM_TRIALS = 8


def fits(values: Any) -> Fit:
    return Fit(True, "")


def spec_of(url: str, folder: Path) -> SweepSpec:
    return SweepSpec(
        sweep_id="one",
        config=to_tree(load_config(str(TINY_PRESET))),
        storage_uri=str(folder),
        database_url=url,
        tracking_uri="",
        data_uri="",
        manifest_uri="",
        tags={},
        epoch=1,
    )


def study_over(storage: Any) -> SweepStudy:
    return SweepStudy(
        storage, "one", space, seed=3, num_startup_trials=4, sampler="random", driver="one"
    )


def run_trial(study: SweepStudy) -> None:
    """One trial from its start to its end."""
    number = study.ask(fits).number
    for epoch in RUNGS:
        study.report(number, epoch, (number * 37 % 11) / 11 + epoch / 100)
        if not study.decide(number, epoch, RULE, is_last_rung=epoch == RUNGS[-1]).go_on:
            study.tell_pruned(number, "by the rule")
            return
    study.tell_finished(number, (number * 37 % 11) / 11)


def plain(study: SweepStudy) -> list[tuple[Any, ...]]:
    """What a study holds, without times."""
    return [
        (
            trial.number,
            trial.state,
            trial.value,
            trial.params,
            trial.distributions,
            trial.intermediate_values,
            {name: note for name, note in trial.user_attrs.items() if name != "hand_out"},
        )
        for trial in study.trials()
    ]


def restart(postgres: PostgresServer, kind: signal.Signals) -> None:
    """Stop the server, and start it again half a second later."""
    postgres.stop(kind)
    time.sleep(0.5)
    postgres.start()


def test_a_server_that_is_restarted_again_and_again_loses_and_doubles_nothing(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    calm = study_over(f"sqlite:///{tmp_path / 'calm.db'}")
    for _ in range(NUM_TRIALS):
        run_trial(calm)

    study = study_over(postgres.url)
    for number in range(NUM_TRIALS):
        kind = signal.SIGQUIT if number % 2 else signal.SIGINT  # a crash, or an orderly stop
        disturber = threading.Thread(target=restart, args=(postgres, kind))
        disturber.start()
        try:
            run_trial(study)
        finally:
            disturber.join()
    assert plain(study) == plain(calm)
    assert plain(study_over(postgres.url)) == plain(calm), "the mirror is what the server holds"
    record = read_study(spec_of(postgres.url, tmp_path))
    assert [trial.number for trial in record.trials] == list(range(NUM_TRIALS))
    assert {trial.state for trial in record.trials} <= {State.FINISHED, State.PRUNED}


def test_a_write_whose_answer_was_lost_is_not_made_twice(postgres: PostgresServer) -> None:
    """The server commits and goes away before it answers: each verb is tried again."""
    storage = open_database(postgres.url)
    backend = storage._database
    lost: list[str] = []

    def losing(name: str) -> Any:
        verb = getattr(backend, name)

        def call(*arguments: Any, **options: Any) -> Any:
            answer = verb(*arguments, **options)
            if name not in lost:
                lost.append(name)
                raise lost_answer()
            return answer

        return call

    verbs = ("create_new_trial", "set_trial_param", "set_trial_state_values")
    verbs += ("set_trial_intermediate_value", "set_trial_user_attr", "set_study_user_attr")
    for name in verbs:
        setattr(backend, name, losing(name))
    storage._sleep = lambda seconds: None
    study = study_over(storage)
    run_trial(study)
    run_trial(study)
    assert sorted(lost) == sorted(verbs)
    states = [trial.state for trial in study_over(postgres.url).trials()]
    assert len(states) == 2 and set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}


def lost_answer() -> Exception:
    """What Optuna raises when the connection breaks during a commit."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import OperationalError

    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = OperationalError("COMMIT", {}, Exception("the connection was lost"))
    return error


def test_a_server_that_stays_away_is_one_line(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_database(postgres.url)
    assert isinstance(pickle.loads(pickle.dumps(storage)), RetryingDatabase)  # noqa: S301
    postgres.stop()
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 1.0)
    with pytest.raises(DatabaseUnavailable, match="did not answer for 1 s: Operational") as away:
        storage.get_all_studies()
    with pytest.raises(UserError, match="cannot be opened: OperationalError") as refused:
        open_database(postgres.url)
    for error in (away, refused):
        text = str(error.value)
        assert "127.0.0.1" in text and "\n" not in text


def test_a_driver_that_was_taken_over_writes_nothing_into_the_database(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "CHECK_SECONDS", 0.0)
    spec = spec_of(postgres.url, tmp_path)
    journal = open_journal(spec)
    study = study_over(open_database(postgres.url, journal.check))
    run_trial(study)
    number = study.ask(fits).number
    later = spec_of(postgres.url, tmp_path)
    object.__setattr__(later, "epoch", 2)
    open_journal(later)
    before = plain(study_over(postgres.url))
    with pytest.raises(Fenced):
        study.report(number, 1, 0.5)
    with pytest.raises(Fenced):
        study.ask(fits)
    assert plain(study_over(postgres.url)) == before
