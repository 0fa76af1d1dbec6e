"""The screen of a sweep and its lines for a log, as a person reads them."""

import io
import math
import re
import threading
import time

import pytest
from rich.console import Console

from orchestrator.data.health_line import advice_line, health_line
from orchestrator.data.index import IndexProgress
from orchestrator.sweep.fitting_table import Column, fitted_table, fitting
from orchestrator.sweep.indexing_line import IndexingLine, indexing_words
from orchestrator.sweep.live_screen import HEARTBEAT_SECONDS, Progress
from orchestrator.sweep.quiet_watch import QuietWatch
from orchestrator.sweep.trial_rows import event_line, minutes, state_words
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState
from prp_core.training.data_health import ADVICE


def views() -> list[TrialView]:
    values = {
        "pretext.playback_rate.rates": "1-2-4",
        "clip.length": 16,
        "pretext.playback_rate.loss_weight": 0.123456,
    }
    return [
        TrialView(
            0,
            values,
            state=TrialState.FINISHED,
            epoch=9,
            num_epochs=9,
            objective=0.5,
            rungs={1: 0.25, 3: 0.375, 9: 0.5},
        ),
        TrialView(
            1,
            values,
            state=TrialState.PRUNED,
            epoch=1,
            num_epochs=9,
            objective=0.125,
            rungs={1: 0.125},
            reason="rung 1: 0.1250 < 0.2500",
        ),
        TrialView(2, values, state=TrialState.RUNNING, epoch=3, num_epochs=9, step=30),
        TrialView(
            3,
            values,
            state=TrialState.FAILED,
            num_epochs=9,
            reason="DivergedError: train/loss is nan at step 3",
        ),
    ]


def screen_text(now: float, width: int = 150, height: int = 40, num_more: int = 0) -> str:
    times = iter([0.0, *[now] * 10])
    progress = Progress(
        views,
        title="rate-search-1",
        num_trials=8,
        objective="retrieval/recall_at_1",
        clock=lambda: next(times),
    )
    shown = views() + [TrialView(9 + n, {}, state=TrialState.PRUNED) for n in range(num_more)]
    console = Console(width=width, height=height, file=io.StringIO())
    with console.capture() as capture:
        console.print(progress.screen(shown, console=console))
    return capture.get()


def test_the_screen_names_trials_rungs_objective_and_time_left() -> None:
    text = screen_text(100.0)
    assert (
        "3 of 8 trials ended · 1 running · 1 finished · 1 pruned · 1 failed · best "
        "recall@1 0.500 (trial 0) · 1m40s elapsed"
    ) in text
    assert "about 2m20s left" in text, "3 and a third of 8 trials took 100 s"
    assert "1:0.250 3:0.375 9:0.500" in text
    assert text.index("running") < text.index("finished"), "what runs stands first"


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_cell_is_cut_and_what_does_not_fit_is_named(width: int) -> None:
    text = screen_text(100.0, width, height=24, num_more=20)
    for cell in ("finished", "running", "9/9", "3/9", "0.500", "1-2-4", "16"):
        assert re.search(rf"(?<!\S){re.escape(cell)}(?!\S)", text), (cell, text)
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    assert "+13 more: 12 pruned, 1 failed" in text
    assert len(text.splitlines()) <= 24


def test_columns_that_do_not_fit_are_left_out_by_rank_and_named() -> None:
    columns = [
        Column(title="a", cells=["12345"], rank=0),
        Column(title="second one", cells=["123"], rank=2),
        Column(title="b", cells=["1234"], rank=1),
        Column(title="long", cells=["x" * 50], rank=3, wraps_at=6),
    ]
    assert [column.width for column in columns] == [5, 6, 4, 6], "a title breaks between its words"
    assert [column.title for column in fitting(columns, 27)] == ["a", "second one", "b", "long"]
    assert [column.title for column in fitting(columns, 26)] == ["a", "second one", "b"]
    console = Console(width=12, file=io.StringIO())
    with console.capture() as capture:
        for part in fitted_table(columns, 12):
            console.print(part)
    assert "12345  1234" in capture.get()
    assert "second one, long" in " ".join(capture.get().split())


def test_workers_that_start_are_not_a_trial_that_runs() -> None:
    starting = TrialView(7, {}, num_epochs=12, started=1000.0)
    assert state_words(starting, 1037.0) == "starting workers (37 s)"
    assert state_words(starting, 1130.0) == "starting workers (2m10s)"
    starting.step = 2
    assert state_words(starting, 1130.0) == "running"
    assert event_line(TrialView(7, {}, num_epochs=12), "x").startswith("trial 7 starts its workers")


def test_what_stands_still_for_a_minute_is_said_with_its_reason() -> None:
    times = iter([0.0, 59.0, 61.0, 62.0, 130.0, 200.0])
    watch = QuietWatch(lambda: next(times))
    (running,) = (view for view in views() if view.state == TrialState.RUNNING)
    assert [watch.look([running]), watch.look([running])] == ["", ""]
    assert watch.look([running]) == (
        "nothing new for 1m01s: trial 2 training; trial 2 reported last after 30 steps, in epoch 4 "
        "of 9"
    )
    running.step += 1
    assert watch.look([running]) == ""
    assert "coordinator does not answer" in watch.look(None)
    starting = TrialView(7, {}, num_epochs=12)
    assert watch.look([starting]) == "", "that is new"


def test_a_log_has_a_heartbeat_with_what_runs_the_best_and_what_is_left(capsys) -> None:
    now = [0.0]
    progress = Progress(
        views, title="t", num_trials=8, objective="retrieval/recall_at_1", clock=lambda: now[0]
    )
    progress.say_events(views())
    now[0] = HEARTBEAT_SECONDS - 1
    progress.say_events(views())
    now[0] += 1
    progress.say_events(views())
    last = capsys.readouterr().out.splitlines()
    assert len(last) == 5, "four events, one heartbeat"
    assert last[4].startswith("3 of 8 trials ended · 1 running · 1 finished")
    assert "best recall@1 0.500 (trial 0) · 3m00s elapsed" in last[4]
    assert "trial 2 epoch 3/9 · nothing new for 3m00s" in last[4] and "left" in last[4]


def test_indexing_says_how_far_how_fast_and_how_long_still() -> None:
    assert indexing_words(IndexProgress(60, 240, 20, 1), 4.0) == (
        "indexing [#####---------------] 60 of 240 videos · 10/s · about 0m18s left · 1 quarantined"
    )
    assert indexing_words(IndexProgress(20, 240, 20, 0), 4.0).endswith("20 of 240 videos")
    times = iter([0.0, 1.0, 31.0, 32.0, 60.0])
    log = io.StringIO()
    line = IndexingLine(log, lambda: next(times))
    for done in (1, 100, 120, 240):
        line(IndexProgress(done, 240, 0, 0))
    assert [text.split("] ")[1].split(" videos")[0] for text in log.getvalue().splitlines()] == [
        "100 of 240",
        "240 of 240",
    ]


def test_an_event_is_one_line_with_its_reason() -> None:
    assert event_line(views()[1], "retrieval/recall_at_1") == (
        "trial 1 pruned at epoch 1/9, retrieval/recall_at_1 0.125 (rung 1: 0.1250 < "
        "0.2500) [rates 1-2-4, length 16, loss_weight 0.123]"
    )
    assert "nan" not in event_line(TrialView(4, {}, objective=math.nan), "retrieval/recall_at_1")


def test_a_log_gets_each_event_once(capsys) -> None:
    times = iter(range(1000))
    with Progress(
        views,
        title="t",
        num_trials=8,
        objective="retrieval/recall_at_1",
        clock=lambda: float(next(times)),
    ):
        pass
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("trial 1 pruned")
    assert lines[1].endswith("[rates 1-2-4, length 16, loss_weight 0.123]"), (
        "what stands in brackets is text, not markup"
    )


def test_its_thread_has_ended_with_the_context_however_long_an_answer_takes(capsys) -> None:
    asked, answered = threading.Event(), []

    def late() -> list[TrialView]:
        if not asked.is_set():
            asked.set()
            time.sleep(6.0)  # it was left behind after 5 s once, and Ray ended the driver
            answered.append("late")
            raise TimeoutError
        answered.append("last")
        return views()

    with Progress(
        late, title="t", num_trials=8, objective="retrieval/recall_at_1", clock=time.monotonic
    ):
        assert asked.wait(30.0)
    assert answered == ["late", "last"], "what ended meanwhile is said, too"
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_durations() -> None:
    assert [minutes(5), minutes(125), minutes(7500)] == ["0m05s", "2m05s", "2h05m"]


def test_one_line_says_how_the_videos_come_and_one_what_would_help() -> None:
    trials = [
        {"data/frames_hit_rate": 0.9, "time/data_wait_share": 0.5, "data/quarantined": 2.0},
        {"data/frames_hit_rate": 1.0},
        {},
    ]
    assert health_line(trials) == (
        "videos: 95% of clips from frames decoded before · waiting 50% of the time · 2 quarantined"
    )
    assert health_line([{}]) == "" and advice_line(trials) == ""
    number = float(list(ADVICE).index("more decoders"))
    assert advice_line([*trials, {"data/advice": number}]).startswith(
        "training waits for videos: decoding is what it waits for; raise loader.num"
    )
    views_with_data = [*views()]
    views_with_data[2].metrics.update({"data/cache_hit_rate": 0.25, "data/advice": number})
    progress = Progress(
        views, title="t", num_trials=8, objective="retrieval/recall_at_1", clock=lambda: 0.0
    )
    console = Console(width=190, file=io.StringIO())
    with console.capture() as capture:
        console.print(progress.screen(views_with_data, console=console))
    assert "videos: 25% of objects at hand\ntraining waits for videos: decoding" in "\n".join(
        map(str.rstrip, capture.get().splitlines())
    )
