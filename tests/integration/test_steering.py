"""Requests to a running sweep: what they change in the study, and kill -9 at every request.

The journal and the study are real; the coordinator's process is a fork that dies.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.config.run_config import load_config, to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.coordinator.steering_desk import SteeringDesk
from orchestrator.coordinator.steering_notes import PAUSED, STOPPED, TRIAL_STOPPED
from orchestrator.coordinator.trial_table import TrialTable
from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.object_journal import JournalReader
from orchestrator.journal.requests import Action, Request, answers, submit
from orchestrator.search.journal_backend import open_study_storage
from orchestrator.search.space import Fit, TrialLimits
from orchestrator.search.space_record import record_space
from orchestrator.search.study import SweepStudy
from prp_core.data.object_store import LocalStore, ObjectStore
from tests.dying_store import DyingStore

CONFIG = load_config("demo")
RATES = "pretext.playback_rate.rates"


def space(trial: Any) -> None:
    trial.suggest_categorical(RATES, ["1-2", "1-4"])
    trial.suggest_int("clip.length", 8, 16, step=8)


SPEC = SweepSpec(
    sweep_id="steered",
    config=to_tree(CONFIG),
    storage_uri="unused",
    tracking_uri="",
    data_uri="",
    manifest_uri="",
    tags={},
    space=record_space(space),
    epoch=3,
)
FITS = TrialLimits(frame_counts=(1000,) * 10, memory={})


class Coordinator:
    """What the steering desk needs of one, over the journal in `store`."""

    def __init__(self, store: ObjectStore, *, num_left: int = 2) -> None:
        self.journal = JournalWriter(store, epoch=3, holder="a test", merges_in_background=False)
        self.study = SweepStudy(
            open_study_storage(self.journal),
            "steered",
            space,
            seed=1,
            num_startup_trials=8,
            sampler="random",
            driver="a driver",
        )
        self.table = TrialTable(self.study, CONFIG)
        state: Any = SimpleNamespace(
            spec=SPEC, base=CONFIG, journal=self.journal, study=self.study, table=self.table
        )
        setup: Any = SimpleNamespace(limits=FITS)
        self.desk = SteeringDesk(state, setup, lambda: num_left, store=store)

    def ask(self) -> int:
        proposal = self.study.ask(lambda values: Fit(True, ""))
        self.table.open(proposal, 1)
        return proposal.number

    def obey(self) -> str:
        self.desk.look()
        return self.desk.advance()


def asked(coordinator: Coordinator, store: ObjectStore, **fields: Any) -> tuple[bool, str]:
    """What the coordinator answers to a request."""
    sent = submit(store, Request(by="anna@lab", **fields))
    coordinator.obey()
    (answer,) = [one for one in answers(JournalReader(store)) if one.id == sent.id]
    return answer.is_done, answer.text


def test_each_request_changes_the_study_and_is_answered(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    one = Coordinator(store)
    assert one.ask() == 0
    done, text = asked(one, store, action=Action.PAUSE)
    assert done and text.endswith("1 running trial goes on") and "prp continue steered" in text
    assert one.study.sweep_note(PAUSED) == one.desk.paused()
    assert one.desk.paused().startswith("paused by anna@lab")
    assert asked(one, store, action=Action.CONTINUE) == (True, "trials start again")
    assert one.desk.paused() == ""
    assert asked(one, store, action=Action.CONTINUE) == (True, "the sweep was not paused")

    done, _ = asked(one, store, action=Action.STOP, trial=0)
    assert done and "stopped by anna@lab" in one.study.notes(0)[TRIAL_STOPPED]
    one.table.view(0).state = one.table.view(0).state.PRUNED
    done, text = asked(one, store, action=Action.STOP, trial=0)
    assert (done, text) == (False, "trial 0 has ended already: it is pruned")
    assert asked(one, store, action=Action.STOP, trial=7) == (
        False,
        "there is no trial 7; there are 1",
    )

    assert asked(one, store, action=Action.TRY, values={RATES: "1-4", "clip.length": 8})[0]
    number = one.ask()
    assert one.study.trials()[number].params == {RATES: "1-4", "clip.length": 8}
    assert asked(one, store, action=Action.TRY, values={RATES: "1-4", "clip.length": 8})[0]
    again = one.ask()
    assert one.study.trials()[again].params == {RATES: "1-4", "clip.length": 8}, (
        "a person may repeat what was tried"
    )

    assert one.obey() == ""
    assert asked(one, store, action=Action.STOP)[0]
    assert one.obey().startswith("anna@lab")
    assert json.loads(one.study.sweep_note(STOPPED) or "")["epoch"] == 3, "of this driver alone"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"clip.size": 8}, r"no dimension 'clip.size'.* It has pretext.playback_rate.rates, clip"),
        ({"clip.length": 99}, "clip.length = 99 is not in the space: from 8 to 16"),
        ({"clip.length": "x"}, "clip.length = 'x' is not in the space: from 8 to 16"),
        ({RATES: "2-9"}, "rates = '2-9' is not in the space: one of 1-2, 1-4"),
    ],
)
def test_what_is_not_in_the_space_is_named_with_what_is(
    tmp_path: Path, values: dict[str, Any], text: str
) -> None:
    store = LocalStore(tmp_path)
    one = Coordinator(store)
    done, said = asked(one, store, action=Action.TRY, values=values)
    assert not done
    assert re.search(text, said), said
    assert one.study.trials() == []


def test_nothing_more_can_be_tried_when_all_trials_were_started(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    one = Coordinator(store, num_left=0)
    done, text = asked(one, store, action=Action.TRY, values={RATES: "1-4"})
    assert not done and "--resume steered --trials N" in text


def obey_twice(store: ObjectStore) -> None:
    """Do what is asked, and look again, which removes what was answered."""
    coordinator = Coordinator(store)
    coordinator.obey()
    coordinator.obey()


@pytest.mark.parametrize("after", [False, True], ids=["before it applies", "after it applied"])
def test_kill_9_at_every_request_to_the_store(tmp_path: Path, after: bool) -> None:
    exit_code, dies_at = -signal.SIGKILL, 0
    while exit_code == -signal.SIGKILL:
        dies_at += 1
        store = LocalStore(tmp_path / str(dies_at))
        Coordinator(store).ask()
        sent = [
            submit(store, Request(Action.PAUSE, by="anna")).id,
            submit(store, Request(Action.TRY, values={RATES: "1-4", "clip.length": 8})).id,
            submit(store, Request(Action.STOP, trial=0)).id,
        ]

        dying = DyingStore(store, dies_at, after)
        process = multiprocessing.get_context("fork").Process(target=obey_twice, args=(dying,))
        process.start()
        process.join(120)
        exit_code = process.exitcode
        obey_twice(store)
        last = Coordinator(store)
        assert sorted(answer.id for answer in answers(JournalReader(store))) == sorted(sent)
        assert last.desk.paused().startswith("paused by anna")
        assert TRIAL_STOPPED in last.study.notes(0)
        waiting = [trial for trial in last.study.trials() if trial.state.name == "WAITING"]
        assert len(waiting) == 1, "it is tried once"
        assert list(store.list("requests/")) == []
    assert exit_code == 0 and dies_at > 7
