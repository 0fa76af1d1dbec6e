"""The parts of a sweep's end: each may fail alone, and what was found is not measured again."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.journal.journal_writer import Fenced
from orchestrator.sweep.end_parts import EndParts
from orchestrator.sweep.finish import scores_of
from orchestrator.sweep.leaderboard import trial_text
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState
from prp_core.errors import StoreUnavailable


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr("ray.get", lambda answer: answer)
    return {}


def parts_over(notes: dict[str, str], said: list[str]) -> EndParts:
    def note(name: str, value: str | None = None) -> str | None:
        if value is not None:
            notes[name] = value
        return notes.get(name)

    recorder: Any = SimpleNamespace(note=SimpleNamespace(remote=note))
    return EndParts(recorder, said.append)


def test_a_part_that_fails_is_one_line_and_the_next_start_makes_it_up(
    notes: dict[str, str],
) -> None:
    said: list[str] = []
    starts: list[str] = []

    def start(name: str, result: Any) -> Callable[[], Callable[[], Any]]:
        def begin() -> Callable[[], Any]:
            starts.append(name)
            return wait

        def wait() -> Any:
            if isinstance(result, Exception):
                raise result
            return result

        return begin

    first = parts_over(notes, said)
    away = StoreUnavailable("the bucket is away\nand a second line")
    baselines = first.once("baselines", "the baselines", start("baselines", away), {})
    recognition = first.once("recognition/7", "recognition", start("recognition", {"a": 0.5}), {})
    assert (baselines(), recognition()) == ({}, {"a": 0.5})
    assert first.missing == {"the baselines": "StoreUnavailable: the bucket is away"}
    assert said == ["the sweep goes on without the baselines: StoreUnavailable: the bucket is away"]

    second = parts_over(notes, said)
    baselines = second.once("baselines", "the baselines", start("baselines", {"b": 1.0}), {})
    recognition = second.once("recognition/7", "recognition", start("recognition", away), {})
    assert (baselines(), recognition(), second.missing) == ({"b": 1.0}, {"a": 0.5}, {})
    assert starts == ["baselines", "recognition", "baselines"], "what is known is not measured"

    third = parts_over(notes, said)
    again = third.once("baselines", "the baselines", start("again", {"c": 2.0}), {}, lambda: False)
    assert again() == {"c": 2.0} and starts[-1] == "again", "what was removed is made again"


def test_what_cannot_be_started_fails_alone_and_a_lost_lease_ends_everything(
    notes: dict[str, str],
) -> None:
    said: list[str] = []
    parts = parts_over(notes, said)

    def refuse() -> Any:
        raise ValueError("no such trial")

    assert parts.once("encoder/7", "the encoder", refuse, None)() is None
    assert parts.missing == {"the encoder": "ValueError: no such trial"}

    def fenced() -> Any:
        raise Fenced("another driver has taken over")

    with pytest.raises(Fenced):
        parts.attempt("the report", fenced, None)


def test_a_trial_that_finished_without_a_number_is_no_candidate_and_its_cell_says_so() -> None:
    finished, running = TrialState.FINISHED, TrialState.RUNNING
    rows = [(finished, 0.5), (finished, math.nan), (finished, math.inf), (running, math.nan)]
    views = [
        TrialView(number, {}, state=state, epoch=2, num_epochs=2, objective=objective)
        for number, (state, objective) in enumerate(rows)
    ]
    assert scores_of(views) == {0: 0.5}
    texts = [trial_text(view, "retrieval/recall_at_1") for view in views]
    assert texts == ["0.500", "not a number", "not a number", ""]
