"""The figures of the report: matplotlib drawings as inline SVG whose text stays text.

Colours after Okabe and Ito; none stands without a marker or a line style beside it.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from orchestrator.report.content import Drawing
from orchestrator.report.findings import Point, RateSetRow
from orchestrator.report.formatting import metric_title
from orchestrator.report.record import TrialRecord
from orchestrator.search.record import Importance
from orchestrator.trial_state import TrialState

BLACK, GREY, LIGHT = "#1a1a1a", "#767676", "#cfcfcf"
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "svg.hashsalt": "prp",
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": BLACK,
    "ytick.color": BLACK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7,
}
WIDE, HALF = 7.2, 3.5  # inches
LONGEST_LABEL = 40  # characters
# state -> marker, is filled, colour, words
MARKS = {
    TrialState.FINISHED: ("o", True, BLUE, "finished"),
    TrialState.PRUNED: ("v", False, GREY, "pruned, at its last rung"),
    TrialState.RUNNING: ("s", False, GREEN, "running"),
    TrialState.FAILED: ("x", True, VERMILLION, "failed, at its last rung"),
}


def draw_rate_sets(
    rows: Sequence[RateSetRow], objective: str, references: Mapping[str, float]
) -> Drawing:
    """Each rate set's trials as marks, with the interval of the best one.

    `references` (label -> level) are drawn as vertical lines.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(WIDE, 1.0 + 0.25 * len(rows))
        for place, row in enumerate(rows):
            if row.interval is not None:
                axes.plot(
                    [row.interval.low, row.interval.high],
                    [place, place],
                    color=BLUE,
                    linewidth=1.4,
                    solid_capstyle="butt",
                    zorder=2,
                )
        for state, (marker, is_filled, colour, words) in MARKS.items():
            places = [
                (trial.objective, place)
                for place, row in enumerate(rows)
                for trial in row.trials
                if _shown(trial, state)
            ]
            if places:
                _scatter(axes, places, marker, is_filled, colour, words)
        _references(axes, references, vertical=True)
        axes.set_yticks(range(len(rows)), [_label(row.rates) for row in rows])
        axes.set_ylim(
            len(rows) + 0.35, -0.5
        )  # room below the last row for the words of the references
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"{metric_title(objective)} on the validation part")
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=4,
            handletextpad=0.2,
            columnspacing=1.2,
            borderpad=0,
        )
        return svg_drawing(figure, "rates")


def draw_curves(
    trials: Sequence[TrialRecord], best: int | None, objective: str, references: Mapping[str, float]
) -> Drawing:
    """Learning curves: each trial's objective by rung, the best one emphasised."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(HALF, 2.6)
        seen: set[str] = set()
        for trial in trials:
            epochs = sorted(trial.rungs)
            if not epochs:
                continue
            marker, is_filled, colour, words = MARKS.get(trial.state, MARKS[TrialState.RUNNING])
            is_best = trial.number == best
            look: dict[str, Any] = (
                {"color": VERMILLION, "linewidth": 1.8, "zorder": 4}
                if is_best
                else {"color": colour, "linewidth": 0.7, "zorder": 2}
            )
            style = "-" if trial.state == TrialState.FINISHED else "--"
            label = f"best: trial {trial.number}" if is_best else words.split(",")[0]
            axes.plot(
                epochs,
                [trial.rungs[epoch] for epoch in epochs],
                style,
                label="_" if label in seen else label,
                **look,
            )
            end = [(trial.rungs[epochs[-1]], epochs[-1])]
            _scatter(axes, [(x, y) for y, x in end], marker, is_filled, look["color"], "_")
            seen.add(label)
        rungs = sorted({epoch for trial in trials for epoch in trial.rungs})
        if len(rungs) > 1 and rungs[-1] / rungs[0] > 4:
            axes.set_xscale("log")
            axes.xaxis.minorticks_off()
        axes.set_xticks(rungs, [str(epoch) for epoch in rungs])
        _references(axes, references, vertical=False)
        axes.set_ylim(0, _top([value for trial in trials for value in trial.rungs.values()]))
        axes.set_xlabel("epoch (rungs)")
        axes.set_ylabel(metric_title(objective))
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=4,
            handlelength=1.4,
            columnspacing=1.0,
            borderpad=0,
        )
        return svg_drawing(figure, "curves")


def draw_cost(
    points: Sequence[Point], front: Sequence[Point], unit: str, objective: str
) -> Drawing:
    """Recall against cost, with the Pareto front as a step line."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(HALF, 2.6)
        if front:
            axes.step(
                [point.cost for point in front] + [max(point.cost for point in points)],
                [point.recall for point in front] + [front[-1].recall],
                where="post",
                color=ORANGE,
                linewidth=1.2,
                zorder=1,
                label="Pareto front",
            )
        for state, (marker, is_filled, colour, words) in MARKS.items():
            places = [(point.cost, point.recall) for point in points if point.trial.state == state]
            if places:
                _scatter(axes, places, marker, is_filled, colour, words.split(",")[0])
        for point in front:
            axes.annotate(
                str(point.trial.number),
                (point.cost, point.recall),
                (3, 4),
                textcoords="offset points",
                fontsize=7,
            )
        axes.set_xlim(0, 1.08 * max(point.cost for point in points))
        axes.set_ylim(0, _top([point.recall for point in points]))
        axes.set_xlabel(f"{unit} used by the trial")
        axes.set_ylabel(metric_title(objective))
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=4,
            handlelength=1.4,
            handletextpad=0.3,
            columnspacing=0.9,
            borderpad=0,
        )
        return svg_drawing(figure, "cost")


def draw_importance(importance: Importance, names: Mapping[str, str]) -> Drawing:
    """Bars of hyperparameter importance, longest first.

    A tick marks the maximum over shuffles of the same scores.
    """
    paths = sorted(importance.shares, key=lambda path: importance.shares[path])
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(HALF, max(1.6, 0.9 + 0.28 * len(paths)))
        for place, path in enumerate(paths):
            share = importance.shares[path]
            noise = importance.noise[path]
            is_shown = share > noise
            axes.barh(
                place,
                share,
                height=0.55,
                color=BLUE if is_shown else "white",
                edgecolor=BLUE if is_shown else GREY,
                linewidth=0.8,
                zorder=1,
            )
            axes.plot(
                [noise, noise],
                [place - 0.4, place + 0.4],
                color=BLACK,
                linewidth=1.4,
                zorder=3,
                label="_" if place else "maximum of 100 shuffles",
            )
            axes.annotate(
                f"{share:.0%}",
                (max(share, noise), place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
        axes.set_yticks(range(len(paths)), [_label(names[path]) for path in paths])
        axes.set_xlim(0, 1.15 * max([*importance.shares.values(), *importance.noise.values(), 0.1]))
        axes.set_xlabel("share of the importance")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), handlelength=0.6, borderpad=0)
        return svg_drawing(figure, "importance")


def draw_confusion(confusion: Mapping[tuple[int, int], float]) -> Drawing:
    """The confusion matrix: true rates as rows, predicted rates as columns, shares in the cells."""
    rates = sorted({true for true, _ in confusion})
    predicted = sorted({name for _, name in confusion})
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(HALF, 2.6)
        table = [[confusion.get((true, name), math.nan) for name in predicted] for true in rates]
        axes.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for row, true in enumerate(rates):
            for column, name in enumerate(predicted):
                share = confusion.get((true, name), math.nan)
                weight = "bold" if true == name else "normal"
                text = "–" if math.isnan(share) else f"{share:.0%}"  # noqa: RUF001
                axes.annotate(
                    text,
                    (column, row),
                    ha="center",
                    va="center",
                    color="white" if share > 0.55 else BLACK,
                    weight=weight,
                )
        axes.set_xticks(range(len(predicted)), [f"{name}x" for name in predicted])
        axes.set_yticks(range(len(rates)), [f"{true}x" for true in rates])
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlabel("predicted rate")
        axes.set_ylabel("true rate")
        return svg_drawing(figure, "confusion")


def _shown(trial: TrialRecord, state: str) -> bool:
    return trial.state == state and math.isfinite(trial.objective)


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def panels(width: float, height: float, rows: int, columns: int) -> tuple[Figure, list[Any]]:
    """A figure of `width` x `height` inches, and its panels row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def in_style() -> AbstractContextManager[None]:
    """A context in which figures have the report's style."""
    context: AbstractContextManager[None] = matplotlib.rc_context(STYLE)
    return context


def _scatter(
    axes: Any,
    places: Sequence[tuple[float, float]],
    marker: str,
    is_filled: bool,
    colour: str,
    label: str,
) -> None:
    face = (
        {}
        if marker == "x"
        else {"facecolors": colour if is_filled else "white", "edgecolors": colour}
    )
    colours = {"color": colour} if marker == "x" else face
    axes.scatter(
        [x for x, _ in places],
        [y for _, y in places],
        marker=marker,
        s=20,
        linewidths=1.0,
        label=label,
        zorder=3,
        **colours,
    )


def _references(axes: Any, references: Mapping[str, float], *, vertical: bool) -> None:
    styles = (":", "--", "-.")
    for place, (style, (words, level)) in enumerate(zip(styles, references.items(), strict=False)):
        draw = axes.axvline if vertical else axes.axhline
        draw(level, color=BLACK, linewidth=0.8, linestyle=style, zorder=0)
        # the lowest's words on its left, the others' above each other: near levels cross nobody's
        # words
        if vertical:
            where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            on_the_left = level == min(references.values()) >= 0.12
            side, offset = ("right", (-3, 2)) if on_the_left else ("left", (3, 2 + 8 * place))
            axes.annotate(words, (level, 0), offset, ha=side, fontsize=7, color=BLACK, **where)
        else:
            axes.annotate(
                words,
                (1, level),
                (0, 2),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                fontsize=7,
                color=BLACK,
            )


def _label(name: str) -> str:
    """A name at an axis, cut where it would leave no room for the axis."""
    return name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…"


def _top(values: Sequence[float]) -> float:
    return min(1.05, max([*values, 0.1]) * 1.15)


def svg_drawing(figure: Figure, name: str) -> Drawing:
    """The figure as a drawing that scales; its ids begin with `name`, as a page holds several."""
    stream = io.StringIO()
    layout = figure.get_layout_engine()
    if layout is not None:  # else savefig draws once for the layout alone, and once more
        layout.execute(figure)
        figure.set_layout_engine("none")
    figure.savefig(
        stream,
        format="svg",
        transparent=True,
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
    text = re.sub(r"<metadata>.*?</metadata>", "", stream.getvalue(), flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    found = re.search(r'<svg[^>]*?viewBox="([^"]+)"[^>]*>(.*)</svg>', text, flags=re.DOTALL)
    assert found is not None, "matplotlib writes one svg element with a view box"
    return Drawing(found[1], found[2])
