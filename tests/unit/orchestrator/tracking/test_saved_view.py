"""The saved view of a sweep: what MLflow's page shows from the link, without a setting."""

from __future__ import annotations

import json

from orchestrator.tracking.saved_view import (
    ViewedSweep,
    columns,
    link_to_runs,
    link_to_view,
    saved_view,
    view_tags,
)

RATES = "pretext.playback_rate.rates"
SWEEP = ViewedSweep(
    sweep_id="rates-1",
    objective="retrieval/recall_at_1",
    varied=(RATES, "pretext.slow_motion.attention.high"),
    shared=(RATES,),
    cost="cost/gpu_hours",
)


def test_the_columns_are_state_objective_interval_rates_length_what_varies_and_cost() -> None:
    assert columns(SWEEP) == [
        "tags.`prp.state`",
        "metrics.`retrieval/recall_at_1`",
        "tags.`prp.interval`",
        "params.`pretext.playback_rate.rates`",
        "params.`clip.length`",
        "params.`pretext.slow_motion.attention.high`",
        "metrics.`linear_probe/accuracy`",
        "metrics.`cost/gpu_hours`",
    ]


def test_the_charts_are_what_varies_then_the_rate_sets_then_the_curves() -> None:
    view = saved_view(SWEEP)
    charts = view["compareRunCharts"]
    assert [chart["type"] for chart in charts] == ["PARALLEL", "SCATTER", *["LINE"] * 4, "BAR"]
    assert charts[0]["selectedParams"] == [RATES], "a path that some trials lack would hide them"
    assert charts[0]["selectedMetrics"] == ["retrieval/recall_at_1"], "last, as the page draws it"
    assert (charts[1]["xaxis"]["key"], charts[1]["yaxis"]["key"]) == (
        RATES,
        "retrieval/recall_at_1",
    )
    first = view["compareRunSections"][0]
    assert first["display"] and {chart["metricSectionId"] for chart in charts} == {first["uuid"]}
    assert not any(section["display"] for section in view["compareRunSections"][1:])


def test_the_view_lists_one_sweeps_runs_flat_and_by_the_objective() -> None:
    view = saved_view(SWEEP)
    assert view["searchFilter"] == "tags.`prp.sweep_id` = 'rates-1' and tags.`prp.role` != 'sweep'"
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`retrieval/recall_at_1`", False)


def test_the_link_names_the_tag_that_holds_the_view() -> None:
    tags = view_tags(SWEEP)
    assert json.loads(tags["mlflow.sharedViewState.prp-rates-1"]) == saved_view(SWEEP)
    link = link_to_view("http://host:5000/", "3", "rates-1")
    assert link.startswith("http://host:5000/#/experiments/3/runs?workflowType=machine_learning")
    assert link.endswith("viewStateShareKey=prp-rates-1")
    assert "orderByKey" not in link, "MLflow ignores a saved view beside a setting of its own"


def test_without_a_saved_view_the_link_sorts_by_the_objective() -> None:
    assert link_to_runs("http://host:5000", "3", "retrieval/recall_at_1", "one").endswith(
        "orderByKey=metrics.%60retrieval%2Frecall_at_1%60&orderByAsc=false"
    )
