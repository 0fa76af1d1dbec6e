"""Who is heard about a trial, and when it is not tried again, over a real sqlite study."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator.coordinator.attempts import Attempts
from orchestrator.search.space import Fit
from orchestrator.search.study import Proposal, SweepStudy
from orchestrator.trial.messages import Attempt, Failure, Sender
from tests.study_databases import study_database


def space(trial: Any) -> None:
    trial.suggest_float("pretext.playback_rate.loss_weight", 0.01, 10.0, log=True)


class Sweep:
    """The study and the attempts of one sweep's driver, as its coordinator opens them."""

    def __init__(self, folder: Path, driver: str) -> None:
        url = study_database(folder)
        self.study = SweepStudy(url, "sweep", space, seed=1, num_startup_trials=2, driver=driver)
        self.attempts = Attempts(self.study, max_failures=3)

    def ask(self, slot: str) -> Proposal:
        return self.study.ask(lambda values: Fit(True, ""), slot)


def sender_of(proposal: Proposal) -> Sender:
    """What the driver's messages carry at first."""
    return Sender(proposal.number, proposal.hand_out.epoch, proposal.hand_out.attempt)


def begun(attempt: Attempt) -> Sender:
    """The attempt that began."""
    assert attempt.sender is not None, attempt
    return attempt.sender


def test_a_slot_that_asks_again_gets_the_same_trial_also_of_a_restarted_coordinator(
    tmp_path: Path,
) -> None:
    first = Sweep(tmp_path, "driver")
    one, other = first.ask("slot-1"), first.ask("slot-2")
    assert (one.number, other.number) == (0, 1)
    for sweep in (first, Sweep(tmp_path, "driver")):
        again = sweep.ask("slot-1")
        assert (again.number, again.values, again.hand_out) == (0, one.values, one.hand_out)
    assert len(first.study.trials()) == 2


def test_a_restarted_coordinator_adopts_nothing_and_hears_who_runs(tmp_path: Path) -> None:
    first = Sweep(tmp_path, "driver")
    sender = begun(first.attempts.begin(sender_of(first.ask("slot-1")), 0))
    restarted = Sweep(tmp_path, "driver")
    assert restarted.study.is_reopened and restarted.study.epoch == first.study.epoch == 1
    assert restarted.study.handed_out() == [0]
    assert restarted.attempts.is_newest(sender)
    assert restarted.ask("slot-2").number == 1, "the first trial is alive"


def test_a_new_driver_takes_over_and_the_old_ones_are_not_heard(tmp_path: Path) -> None:
    first = Sweep(tmp_path, "driver")
    old = begun(first.attempts.begin(sender_of(first.ask("slot-1")), 0))
    later = Sweep(tmp_path, "another driver")
    assert not later.study.is_reopened and later.study.epoch == 2
    assert later.study.handed_out() == [] and not later.attempts.is_newest(old)
    adopted = later.ask("slot-1")
    assert (adopted.number, adopted.is_resumed) == (0, True)
    assert adopted.hand_out.attempt > old.attempt
    assert later.attempts.begin(old, 0) == Attempt(None)


def test_a_half_made_trial_is_handed_out_by_the_coordinator_that_comes_after(
    tmp_path: Path,
) -> None:
    """kill -9 between the trial in the database and the note to whom it is handed."""
    first = Sweep(tmp_path, "driver")
    first.study._study.ask()
    assert Sweep(tmp_path, "driver").ask("slot-1").number == 0


def test_a_trial_is_chosen_in_a_thread_while_others_are_decided_on(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "driver")
    sweep.ask("slot-1")
    drawing, may_go_on = threading.Event(), threading.Event()

    def fits(values: Any) -> Fit:
        drawing.set()
        assert may_go_on.wait(60)
        return Fit(True, "")

    chooser = threading.Thread(target=lambda: sweep.study.choose(fits))
    chooser.start()
    assert drawing.wait(60)
    assert not sweep.study.is_chosen("slot-2"), "it is not whole, and nobody gets it"
    sweep.study.report(0, 1, 0.5)
    sweep.study.tell_finished(0, 0.5)
    may_go_on.set()
    chooser.join(60)
    assert sweep.study.is_chosen("slot-2")
    chosen = sweep.ask("slot-2")
    assert (chosen.number, chosen.is_resumed) == (1, False)
    assert sweep.ask("slot-2").hand_out == chosen.hand_out, "its reply was lost"


def test_what_was_chosen_and_never_started_is_no_trial(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "driver")
    sweep.ask("slot-1")
    sweep.study.choose(lambda values: Fit(True, ""))
    sweep.study.drop_unstarted()
    assert (sweep.study.running(), sweep.study.num_told()) == ([0], 0)


class Killed(Exception):
    """The coordinator dies here."""


class DyingStorage:
    """Optuna's storage, whose process dies at its n-th write: before it, or right after it."""

    def __init__(self, inner: Any, dies_at: int, *, after: bool) -> None:
        self._inner = inner
        self._dies_at = dies_at
        self._after = after
        self.num_writes = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if not name.startswith(("create_", "set_")):
            return method

        def write(*arguments: Any, **named: Any) -> Any:
            self.num_writes += 1
            if self.num_writes == self._dies_at and not self._after:
                raise Killed
            answer = method(*arguments, **named)
            if self.num_writes == self._dies_at:
                raise Killed
            return answer

        return write


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_ask_that_is_killed_at_any_write_and_made_again_is_one_trial(
    tmp_path: Path, after: bool
) -> None:
    undisturbed = Sweep(tmp_path, "driver").ask("slot-1")
    for dies_at in range(1, 50):
        folder = tmp_path / str(dies_at)
        folder.mkdir()
        first = Sweep(folder, "driver")
        dying: Any = DyingStorage(first.study._storage._backend, dies_at, after=after)
        first.study._storage._backend = dying
        try:
            first.ask("slot-1")
        except Killed:
            restarted = Sweep(folder, "driver")
            again = restarted.ask("slot-1")
            assert (again.number, again.values) == (0, undisturbed.values)
            assert (len(restarted.study.trials()), restarted.study.handed_out()) == (1, [0])
            assert again.hand_out == undisturbed.hand_out
        else:
            break
    assert dying.num_writes == dies_at - 1 >= 4


def test_a_driver_that_died_is_followed_by_another_and_not_heard_any_more(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "driver")
    old = begun(sweep.attempts.begin(sender_of(sweep.ask("slot-1")), 0))
    assert sweep.attempts.lose_driver("slot-1") == 0
    assert sweep.attempts.lose_driver("slot-1") is None, "told twice"
    assert sweep.study.handed_out() == []
    new = sweep.ask("slot-2")
    assert new.number == 0 and new.hand_out.num_failures == 1
    assert not sweep.attempts.is_newest(old)
    assert sweep.attempts.begin(old, 0) == Attempt(None)
    assert sweep.attempts.is_newest(begun(sweep.attempts.begin(sender_of(new), 0)))


def test_the_fourth_failure_without_a_checkpoint_ends_the_trial_with_its_cause(
    tmp_path: Path,
) -> None:
    sweep = Sweep(tmp_path, "driver")
    sender = sender_of(sweep.ask("slot-1"))
    for _ in range(3):
        sender = begun(sweep.attempts.begin(sender, 40))
        sweep.attempts.fail(0, Failure("StoreUnavailable: no answer"))
    sender = begun(sweep.attempts.begin(sender, 40))
    sweep.attempts.fail(0, Failure("StoreUnavailable: no answer"))
    assert sweep.attempts.begin(sender, 40) == Attempt(
        None,
        "4 failures in a row without a new checkpoint; the last one: StoreUnavailable: no answer",
    )


@pytest.mark.parametrize("is_nodes", [False, True])
def test_restarts_with_progress_or_by_lost_nodes_never_end_a_trial(
    tmp_path: Path, is_nodes: bool
) -> None:
    sweep = Sweep(tmp_path, "driver")
    sender = sender_of(sweep.ask("slot-1"))
    for place in range(12):
        sender = begun(sweep.attempts.begin(sender, 0 if is_nodes else place))
        sweep.attempts.fail(0, Failure("killed", is_nodes=is_nodes))
    assert begun(sweep.attempts.begin(sender, 0 if is_nodes else 12)).attempt == 14


def test_an_answer_that_was_lost_is_an_attempt_more_of_the_same_driver(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "driver")
    sender = sender_of(sweep.ask("slot-1"))
    lost = begun(sweep.attempts.begin(sender, 0))
    again = begun(sweep.attempts.begin(sender, 0))
    assert again.attempt == lost.attempt + 1
    assert sweep.attempts.is_newest(again) and not sweep.attempts.is_newest(lost)
    assert sweep.study.hand_out(0).num_failures == 0
