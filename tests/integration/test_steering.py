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
from orchestrator.config.typed_command import prp
from orchestrator.coordinator.steering_desk import SteeringDesk
from orchestrator.coordinator.steering_notes import PAUSED, STOPPED, TRIAL_STOPPED
from orchestrator.coordinator.trial_table import TrialTable
from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.object_journal import JournalReader
from orchestrator.journal.requests import Action, Request, answers, submit
from orchestrator.search.extension import Extension, num_extending
from orchestrator.search.journal_backend import open_study_storage
from orchestrator.search.pruner import PruningRule
from orchestrator.search.space import Fit, TrialLimits, apply_space
from orchestrator.search.space_record import record_space
from orchestrator.search.study import SweepStudy
from orchestrator.trial_state import TrialState
from prp_core.data.object_store import LocalStore, ObjectStore
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.world import World
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
        self.store = store
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
        self.table.open(proposal, apply_space(CONFIG, proposal.values).training.num_epochs)
        return proposal.number

    def end(self, number: int, epochs: int | None = None) -> None:
        """End trial `number`, whose newest checkpoint is that after `epochs` epochs."""
        self.study.tell_finished(number, 0.5)
        self.table.view(number).state = TrialState.FINISHED
        if epochs is not None:
            folder = CheckpointFolder(self.store, SPEC.checkpoints_folder(number))
            folder.save(9, {"common.pt": b""}, facts={"num_epochs": epochs}, world=World.alone())

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
    assert done and text.endswith("1 running trial goes on") and prp("continue steered") in text
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


def test_a_trial_is_extended_as_a_trial_of_its_own_which_nothing_prunes(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    one = Coordinator(store, num_left=0)
    numbers = [one.ask(), one.ask(), one.ask()]
    assert numbers == [0, 1, 3], "2 had values that were tried"
    one.end(1)
    one.end(3, epochs=5)

    def extend(trial: int, epochs: int) -> tuple[bool, str]:
        return asked(one, store, action=Action.EXTEND, trial=trial, epochs=epochs)

    assert extend(7, 9) == (False, "there is no trial 7; there are 3")
    assert extend(0, 9) == (False, "trial 0 is running: it can be extended when it has ended")
    assert extend(1, 9) == (False, "trial 1 has no checkpoint to go on from: it is finished")
    assert extend(3, 5) == (
        False,
        "trial 3 is trained for 5 epochs already; name more than that, not 5",
    )
    done, text = extend(3, 9)
    assert done and text == (
        "trial 4 continues trial 3 from epoch 5 to 9, under the learning rates of 9 epochs from "
        "there on; it starts as soon as there is a place for it"
    )
    assert extend(3, 9) == (False, "trial 4 continues trial 3 to 9 epochs already")
    assert num_extending(one.study.trials()) == 1 and one.study.num_told() == 2

    assert one.ask() == 4
    again = Coordinator(store)
    assert again.study.trials()[4].params == again.study.trials()[3].params
    assert again.study.extension(4) == Extension(trial=3, trained_epochs=5, num_epochs=9)
    assert again.table.config_of(4).training.num_epochs == 9
    assert again.table.config_of(3).training.num_epochs == CONFIG.training.num_epochs

    rule = PruningRule("asha", reduction_factor=2, min_trials=1)
    reasons = []
    for number, score in ((4, 0.1), (0, 0.5)):
        again.study.report(number, 3, score)
        decision = again.study.decide(number, 3, rule, is_last_rung=False)
        reasons.append(decision.reason)
        assert decision.go_on
    assert reasons[0].endswith("pruning is off")
    nobody = "other trials with a value there: 0, needed to prune: 1"
    assert nobody in reasons[1], "nothing is compared with it"
    again.end(4, epochs=9)
    assert num_extending(again.study.trials()) == 0 and again.study.num_told() == 2, (
        "it comes on top of the sweep's trials"
    )

    assert again.desk.close_trials(is_forced=False) == 2
    assert asked(again, store, action=Action.EXTEND, trial=4, epochs=20)[1].endswith(
        "a place for it"
    )
    assert again.desk.close_trials(is_forced=True) == 2
    done, text = asked(again, store, action=Action.EXTEND, trial=4, epochs=30)
    assert done and text.endswith("is ending: it starts with the next --resume steered")


def obey_twice(store: ObjectStore) -> None:
    """Do what is asked, and look again, which removes what was answered."""
    coordinator = Coordinator(store)
    coordinator.obey()
    coordinator.obey()


def test_kill_9_after_every_request_to_the_store(tmp_path: Path) -> None:
    """Dead after one request is dead before the next one."""
    exit_code, dies_at = -signal.SIGKILL, 0
    while exit_code == -signal.SIGKILL:
        dies_at += 1
        store = LocalStore(tmp_path / str(dies_at))
        before = Coordinator(store)
        assert [before.ask(), before.ask()] == [0, 1]
        before.end(1, epochs=2)
        sent = [
            submit(store, Request(Action.PAUSE, by="anna")).id,
            submit(store, Request(Action.TRY, values={RATES: "1-4", "clip.length": 8})).id,
            submit(store, Request(Action.STOP, trial=0)).id,
            submit(store, Request(Action.EXTEND, trial=1, epochs=4)).id,
        ]

        dying = DyingStore(store, dies_at, after=True)
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
        assert len(waiting) == 2, "each is tried once"
        assert num_extending(last.study.trials()) == 1
        assert list(store.list("requests/")) == []
    assert exit_code == 0 and dies_at > 7
