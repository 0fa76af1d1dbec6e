"""A trial's hand-out, as a table: what each change makes of it."""

from __future__ import annotations

from orchestrator.search.hand_out import NOT_HANDED_OUT, HandOut


def given() -> HandOut:
    """Handed out once, in epoch 3, with its first workers started from nothing."""
    return NOT_HANDED_OUT.to(3, "slot-a").begun(0)


def lose(hand_out: HandOut, step: int, *, is_counted: bool = True) -> HandOut:
    """The newest attempt fails, and the next one finds the checkpoint after `step` steps."""
    return hand_out.failed("killed", is_counted=is_counted).begun(step)


def test_each_start_is_an_attempt_of_its_own() -> None:
    first = NOT_HANDED_OUT.to(3, "slot-a")
    assert (first.epoch, first.slot, first.first_attempt, first.attempt) == (3, "slot-a", 1, 1)
    again = first.begun(0).begun(0).free().to(3, "slot-b")
    assert (again.first_attempt, again.attempt) == (4, 4), "those of the first driver are outdated"


def test_failures_in_a_row_are_counted_until_there_is_a_new_checkpoint() -> None:
    hand_out = given()
    for expected in (1, 2, 3, 4):
        hand_out = lose(hand_out, 0)
        assert hand_out.num_failures == expected
    assert lose(hand_out, 20).num_failures == 1, "the newest failure came after that checkpoint"
    assert lose(lose(hand_out, 20), 20).num_failures == 2


def test_progress_in_between_never_adds_up() -> None:
    hand_out = given()
    for step in range(10, 500, 10):
        hand_out = lose(hand_out, step)
    assert hand_out.num_failures == 1 and hand_out.step == 490


def test_a_lost_node_does_not_count() -> None:
    hand_out = lose(lose(given(), 0), 0)
    for _ in range(9):
        hand_out = lose(hand_out, 0, is_counted=False)
    assert hand_out.num_failures == 2
    assert lose(hand_out, 10, is_counted=False).num_failures == 0


def test_a_failure_that_is_told_twice_counts_once() -> None:
    once = given().failed("killed", is_counted=True)
    assert once.failed("the driver died", is_counted=True) == once
    assert once.begun(0).failed("again", is_counted=True).num_failures == 2


def test_a_new_driver_of_the_sweep_starts_counting_anew() -> None:
    hand_out = lose(lose(given(), 5), 5)
    assert hand_out.num_failures == 2
    assert hand_out.to(3, "slot-b").num_failures == 2, "another driver of the trial alone"
    resumed = hand_out.to(4, "slot-b")
    assert (resumed.num_failures, resumed.step, resumed.attempt) == (0, 5, hand_out.attempt + 1)
