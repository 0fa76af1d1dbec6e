"""The saved view of a sweep in MLflow's page: which runs, columns and charts a link opens.

It is the tag that MLflow's own "Share" writes on an experiment, named in the link. The page merges
it with its defaults, so a later release that knows more fields still reads it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from orchestrator.tracking.tags import INTERVAL_TAG, ROLE_TAG, STATE_TAG, SWEEP_TAG

VIEW_TAG = "mlflow.sharedViewState."  # + the key of the view
PRIMARY_METRIC_TAG = "mlflow.experiment.primaryMetric.name"  # the page draws it first
PROBE = "linear_probe/accuracy"
RATES = "pretext.playback_rate.rates"
LENGTH = "clip.length"
NARROWEST, WIDEST = 100, 240  # of a column, in pixels
PIXELS_BESIDE, PIXELS_PER_LETTER = 32, 7
LEARNING_CURVES = ("epoch/loss", "epoch/rate_accuracy", "epoch/reconstruction_loss")
# The page makes a section for each prefix of a metric's name; these are there, closed.
CLOSED = (
    "baseline",
    "cost",
    "data",
    "epoch",
    "feature",
    "label_free",
    "linear_probe",
    "rate_confusion",
    "recognition",
    "retrieval",
    "test",
    "time",
    "time_panel",
    "train",
    "waste",
    "System metrics",
)


@dataclass(frozen=True, kw_only=True)
class ViewedSweep:
    """What the view of a sweep depends on: `varied` are the paths that it samples, `shared` those
    of them that every trial has, `cost` the name of the metric of what a run costs.
    """

    sweep_id: str
    objective: str
    varied: Sequence[str]
    shared: Sequence[str]
    cost: str


def view_key(sweep_id: str) -> str:
    """The key of the sweep's view, as it stands in the link."""
    return f"prp-{sweep_id}"


def view_tags(sweep: ViewedSweep) -> dict[str, str]:
    """The tags of the experiment that hold the view of `sweep`."""
    return {
        VIEW_TAG + view_key(sweep.sweep_id): json.dumps(saved_view(sweep), sort_keys=True),
        PRIMARY_METRIC_TAG: sweep.objective,
    }


def saved_view(sweep: ViewedSweep) -> dict[str, Any]:
    """The state of MLflow's page: trials, confirming runs and baselines of `sweep` in one flat
    list, by its objective.
    """
    charts = _charts(sweep)
    sections = [_section(f"Sweep {sweep.sweep_id}", 0, is_open=True)]
    sections += [_section(name, place, is_open=False) for place, name in enumerate(CLOSED, 1)]
    return {
        "searchFilter": f"tags.`{SWEEP_TAG}` = '{sweep.sweep_id}' and tags.`{ROLE_TAG}` != 'sweep'",
        "orderByKey": f"metrics.`{sweep.objective}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": columns(sweep),
        "columnOrder": columns(sweep),
        "columnWidths": {column: _width(column) for column in columns(sweep)},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "viewMaximized": False,
    }


def columns(sweep: ViewedSweep) -> list[str]:
    """The columns of the table of runs, in MLflow's words."""
    params = list(dict.fromkeys([RATES, LENGTH, *sweep.varied]))
    return [
        f"tags.`{STATE_TAG}`",
        f"metrics.`{sweep.objective}`",
        f"tags.`{INTERVAL_TAG}`",
        *(f"params.`{path}`" for path in params),
        f"metrics.`{PROBE}`",
        f"metrics.`{sweep.cost}`",
    ]


def _width(column: str) -> int:
    """The width of `column` in pixels, for its title."""
    name = column.partition("`")[2].rstrip("`")
    return max(NARROWEST, min(WIDEST, PIXELS_BESIDE + PIXELS_PER_LETTER * len(name)))


def link_to_view(server: str, experiment_id: str, sweep_id: str) -> str:
    """The address of the saved view on the MLflow server at `server`."""
    return (
        f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"
        f"&compareRunsMode=CHART&viewStateShareKey={quote(view_key(sweep_id))}"
    )


def link_to_runs(server: str, experiment_id: str, objective: str, sweep_id: str) -> str:
    """The address of a sweep's runs, by `objective`: where no view was saved. Those of other sweeps
    may have been measured by another protocol.
    """
    own = f"tags.`{SWEEP_TAG}` = '{sweep_id}'"
    return (
        f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"
        f"&searchFilter={quote(own, safe='')}"
        f"&orderByKey={quote(f'metrics.`{objective}`', safe='')}&orderByAsc=false"
    )


def _charts(sweep: ViewedSweep) -> list[dict[str, Any]]:
    parallel = {
        "type": "PARALLEL",
        "selectedParams": list(sweep.shared),
        "selectedMetrics": [sweep.objective],
        "showAllRuns": False,
        "runsCountToCompare": 100,
        "displayName": f"What varies, and {sweep.objective}",
    }
    by_rates = {
        "type": "SCATTER",
        "xaxis": {"key": RATES, "type": "PARAM"},
        "yaxis": {"key": sweep.objective, "type": "METRIC"},
        "runsCountToCompare": 100,
        "displayName": f"{sweep.objective} by rate set",
    }
    bars = {
        "type": "BAR",
        "metricKey": sweep.objective,
        "runsCountToCompare": 20,
        "displayName": f"{sweep.objective} of every run",
    }
    curves = [_curve(name) for name in (sweep.objective, *LEARNING_CURVES)]
    charts = ([parallel] if sweep.shared else []) + [by_rates, *curves, bars]
    return [
        {
            "uuid": f"prp-chart-{place}",
            "metricSectionId": _section_id(0),
            "isGenerated": False,
            "deleted": False,
            **chart,
        }
        for place, chart in enumerate(charts)
    ]


def _curve(metric: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "lineSmoothness": 0,
        "range": {},
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
        "runsCountToCompare": 20,
        "displayName": f"{metric} while training",
    }


def _section(name: str, place: int, *, is_open: bool) -> dict[str, Any]:
    return {
        "uuid": _section_id(place),
        "name": name,
        "display": is_open,
        "isReordered": True,
        "deleted": False,
        "isGenerated": place > 0,
    }


def _section_id(place: int) -> str:
    return f"prp-section-{place}"
