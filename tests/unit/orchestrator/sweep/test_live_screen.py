"""The screen of a sweep and its lines for a log, as a person reads them."""

import io
import math

from rich.console import Console

from orchestrator.data.health_line import advice_line, health_line
from orchestrator.sweep.live_screen import Progress, event_line, minutes
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
        TrialView(2, values, state=TrialState.RUNNING, epoch=3, num_epochs=9),
        TrialView(
            3,
            values,
            state=TrialState.FAILED,
            num_epochs=9,
            reason="DivergedError: train/loss is nan at step 3",
        ),
    ]


def screen_text(now: float) -> str:
    times = iter([0.0, *[now] * 10])
    progress = Progress(
        views,
        title="rate-search-1",
        num_trials=8,
        objective="retrieval/recall_at_1",
        clock=lambda: next(times),
    )
    console = Console(width=150, file=io.StringIO())
    with console.capture() as capture:
        console.print(progress.screen(views()))
    return capture.get()


def test_the_screen_names_trials_rungs_objective_and_time_left() -> None:
    text = screen_text(100.0)
    assert (
        "3 of 8 trials ended · 1 running · 1 finished · 1 pruned · 1 failed · best "
        "retrieval/recall_at_1 0.500 · 1m40s gone"
    ) in text
    assert "about 2m20s left" in text, "3 and a third of 8 trials took 100 s"
    assert "1:0.250 3:0.375 9:0.500" in text
    assert text.index("running") < text.index("finished"), "what runs stands first"


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
        console.print(progress.screen(views_with_data))
    assert "videos: 25% of objects at hand\ntraining waits for videos: decoding" in "\n".join(
        map(str.rstrip, capture.get().splitlines())
    )
