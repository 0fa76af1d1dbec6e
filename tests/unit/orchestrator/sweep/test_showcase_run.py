"""Showcases of real videos, broken ones among them; a failed one does not fail the sweep."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from orchestrator.config.run_config import load_config
from orchestrator.cost.account import TaskCost
from orchestrator.cost.meter import Held
from orchestrator.report.showcase_choice import spread_over_classes
from orchestrator.report.showcase_page import showcase_html
from orchestrator.sweep import showcase_run
from orchestrator.sweep.final_evaluation import Evaluated
from orchestrator.sweep.showcase_run import begin_showcases
from orchestrator.sweep.showcase_task import show
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState
from prp_core.data.manifest import VideoRecord
from prp_core.data.video_source import VideoSource
from prp_core.errors import BrokenVideo, UserError
from prp_core.pretext.network import build_network
from prp_core.training.pretrain_data import PretrainData
from prp_core.world import World
from tests.tiny_corpus import make_corpus, open_source

CONFIG = load_config(
    "demo",
    [
        *("pretext.playback_rate.rates=1-2", "evaluation.views.num_clips=1"),
        *("showcase.num_trials=3", "showcase.num_queries=3"),
    ],
)


@dataclasses.dataclass
class Breaking:
    """A source in which the videos of some keys are broken."""

    source: VideoSource
    broken: Sequence[str]

    @property
    def loader(self) -> Any:
        return self.source.loader

    def frames(self, record: VideoRecord, positions: Sequence[int]) -> torch.Tensor:
        if record.key in self.broken:
            raise BrokenVideo(record.key, "truncated")
        return self.source.frames(record, positions)


def test_a_broken_video_is_left_out_and_said_and_moves_nobody_else(tmp_path: Path) -> None:
    parts = make_corpus(tmp_path, num_train=6, num_val=4)
    network = build_network(CONFIG).eval()
    query = parts.val[spread_over_classes(parts.val)[1]].key
    clip = parts.train[spread_over_classes(parts.train)[2]].key
    with open_source(tmp_path) as source:
        whole, torn = (
            show(
                network,
                CONFIG,
                PretrainData(Breaking(source, keys), parts),
                World.alone(),
                sweep_id="s",
                trial=3,
                values={},
            )
            for keys in ((), (query, clip))
        )
    asked = [answer.key for answer in whole.retrieved.shown]
    assert (
        asked == [parts.val[index].key for index in spread_over_classes(parts.val)[:3]]
        and whole.left_out == ()
    )
    assert [one.sample.rate for one in whole.clips] == [1, 2, 1, 2] and set(whole.strips) >= set(
        asked
    )
    assert [answer.key for answer in torn.retrieved.shown] == [key for key in asked if key != query]
    assert [one.sample.key for one in torn.clips] == [
        one.sample.key for one in whole.clips if one.sample.key != clip
    ]
    assert torn.left_out == ((query, "truncated"), (clip, "truncated"))
    page = showcase_html(torn)
    assert f"{query} (truncated), {clip} (truncated)" in page and len(page) < 400_000


def test_nothing_is_drawn_where_the_slow_motion_task_was_off(tmp_path: Path) -> None:
    parts = make_corpus(tmp_path, num_train=4, num_val=2)
    config = load_config(
        "demo", ["pretext.slow_motion.loss_weight=0", "evaluation.views.num_clips=1"]
    )
    with open_source(tmp_path) as source:
        found = show(
            build_network(config).eval(),
            config,
            PretrainData(source, parts),
            World.alone(),
            sweep_id="s",
            trial=0,
            values={},
        )
    assert found.clips == [] and "The slow-motion task was off" in showcase_html(found)


class Recorder:
    """Stands in for the coordinator's recorder in its actor: each method answers at once."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}
        self.booked: list[TaskCost] = []
        self.stored: dict[int, tuple[str, str]] = {}

    def __getattr__(self, name: str) -> Any:
        methods: dict[str, Callable[..., Any]] = {
            "note": self._note,
            "book_task": self._book,
            "log_trial_text": self._store,
        }
        return SimpleNamespace(remote=methods[name])

    def _note(self, name: str, value: str | None = None) -> str | None:
        if value is not None:
            self.notes[name] = value
        return self.notes.get(name)

    def _book(self, task: TaskCost) -> None:
        self.booked.append(task)

    def _store(self, number: int, path: str, text: str) -> None:
        self.stored[number] = (path, text)


def test_a_showcase_that_fails_is_one_line_and_is_tried_again_by_a_resume(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing = {3}
    asked: list[int] = []

    def get(answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    def make(spec: Any, number: int, tree: Any, values: Any) -> Any:
        asked.append(number)
        return (
            UserError(f"Trial {number} has no checkpoint\nand a second line")
            if number in failing
            else Evaluated(metrics={}, files={"showcase.html": b"page"}, started=10.0, ended=12.0)
        )

    monkeypatch.setattr(showcase_run, "make_showcase", make)
    monkeypatch.setattr("ray.get", get)
    recorder, said = Recorder(), list[str]()
    coordinator: Any = SimpleNamespace(recorder=recorder)
    plan: Any = SimpleNamespace(config=CONFIG, spec=None)
    views = [
        TrialView(number, {}, state=TrialState.FINISHED, objective=number / 10)
        for number in range(5)
    ] + [TrialView(5, {}, state=TrialState.PRUNED, objective=1)]

    assert begin_showcases(plan, coordinator, views, 1, said.append)() == [1, 4]
    assert asked == [4, 3, 1], "the best three, the taken trial in the place of the third"
    assert said == [
        "making the showcases of trials 4, 3 and 1",
        "trial 3 has no showcase: UserError: Trial 3 has no checkpoint",
    ]
    assert recorder.stored == {4: ("showcase.html", "page"), 1: ("showcase.html", "page")}
    assert recorder.booked == [
        TaskCost(kind="showcase", trial=number, started=10.0, ended=12.0, held=Held(0.0, 1.0))
        for number in (4, 1)
    ]

    failing.clear()
    assert begin_showcases(plan, coordinator, views, 1, said.append)() == [1, 3, 4]
    assert asked == [4, 3, 1, 3] and json.loads(recorder.notes["showcases"]) == [1, 3, 4], (
        "what is there is not made again"
    )
    assert begin_showcases(plan, coordinator, views, 1, said.append)() == [1, 3, 4]
    assert len(asked) == 4 and len(said) == 3, "nothing is left to do, nothing is said"
