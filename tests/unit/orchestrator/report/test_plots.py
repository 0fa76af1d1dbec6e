"""The interactive figures: Plotly's JSON from a record's values."""

from __future__ import annotations

from orchestrator.report.explore_section import PROBE, explore_section
from orchestrator.report.plots import SCALE, Dot, colour_at, parallel_coordinates
from orchestrator.trial_state import TrialState
from tests.small_sweep import record, trial

RATES, LENGTH, WEIGHT = "pretext.playback_rate.rates", "clip.length", "training.learning_rate"


def swept(**changes: object):
    trials = (
        trial(0, "1-2", 0.3, values={RATES: "1-2", LENGTH: 8, WEIGHT: 0.001}),
        trial(1, "1-4", 0.5, values={RATES: "1-4", LENGTH: 8, WEIGHT: 0.1}),
        trial(2, "1-4", 0.4, TrialState.PRUNED, values={RATES: "1-4", LENGTH: 8}),
    )
    return record(*trials, **changes)


def plots_of(found):
    section = explore_section(found)
    return {} if section is None else {plot.name: plot for plot in section.plots}


def test_the_dimensions_are_those_that_varied() -> None:
    found = plots_of(swept())
    assert found.keys() == {"parallel", "dimensions"}, "no linear probe was measured"
    layout = found["parallel"].spec["layout"]
    assert layout["xaxis"]["ticktext"] == ["rates", "learning<br>rate", "recall@1"]
    panels = found["dimensions"].spec
    assert panels["layout"]["xaxis"]["type"] == "category"
    assert panels["layout"]["xaxis2"]["type"] == "log", "two decades"
    assert panels["data"][1]["x"] == [0.001, 0.1], "trial 2 has none"
    assert panels["data"][0]["marker"]["symbol"] == ["circle", "circle", "triangle-down-open"]


def test_a_line_goes_through_a_trials_values_and_the_best_is_drawn_last() -> None:
    lines = plots_of(swept())["parallel"].spec["data"]
    places = [[y if y is None else round(y, 9) for y in line["y"]] for line in lines]
    assert places == [[0.0, 0.0, 0.0], [1.0, None, 0.5], [1.0, 1.0, 1.0]]
    assert lines[-1]["line"]["color"] == SCALE[-1] and lines[0]["line"]["color"] == SCALE[0]
    assert lines[-1]["hovertemplate"].startswith("<b>trial 1</b>, finished<br>recall@1 0.500<br>")


def test_nothing_that_a_name_holds_is_a_tag_or_a_template() -> None:
    dots = [Dot(label="a", state="b", values={"<b>%{x}": f"<i>{n}"}, score=n) for n in (0.0, 1.0)]
    text = str(parallel_coordinates(dots, ["<b>%{x}"], "r<"))
    assert "<i>" not in text and "<b>%{x}" not in text and "%{x}" not in text
    assert "&lt;i&gt;0" in text


def test_the_probe_stands_beside_retrieval_with_every_baseline() -> None:
    baselines = {
        f"baseline/{name}/{metric}": value
        for name, value in (("random_init", 0.2), ("mean_frame", 0.6))
        for metric in ("retrieval/recall_at_1", PROBE)
    }
    found = record(trial(0, "1-2", 0.5, metrics={PROBE: 0.4}), baselines=baselines)
    probe = plots_of(found)["probe"]
    assert probe.title == "By the linear probe, trial 0 (0.400) is below pixels: mean frame (0.600)"
    assert probe.spec["data"][1]["text"] == ["random initialisation", "pixels: mean frame"]
    assert probe.spec["data"][1]["y"] == [0.2, 0.6]
    above = record(trial(0, "1-2", 0.5, metrics={PROBE: 0.7}), baselines=baselines)
    assert plots_of(above)["probe"].title.endswith("trial 0 is above every baseline")


def test_a_sweep_without_an_evaluated_trial_has_no_figure() -> None:
    assert explore_section(record()) is None
    assert explore_section(record(trial(0, "1-2", state=TrialState.RUNNING))) is None


def test_colours_run_along_the_scale() -> None:
    assert [colour_at(place / 4) for place in range(5)] == list(SCALE)
    assert colour_at(-1.0) == SCALE[0] and colour_at(2.0) == SCALE[-1]
