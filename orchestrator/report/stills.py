"""The still pictures of the report's interactive figures, for places that show no Plotly.

They are drawn from the same data: traces of points and lines, panels, ticks and annotations, as
`plots` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import unescape
from typing import Any

from orchestrator.report.content import Drawing, Plot
from orchestrator.report.figures import GREY, WIDE, in_style, panels, svg_drawing

PIXELS_PER_INCH = 90
POINT_AREA, LINE_WIDTH = 18, 0.9


def still(plot: Plot) -> Drawing:
    """The picture of `plot`."""
    layout = plot.spec["layout"]
    grid = layout.get("grid", {"rows": 1, "columns": 1})
    with in_style():
        height = layout["height"] / PIXELS_PER_INCH
        figure, axes = panels(WIDE, height, grid["rows"], grid["columns"])
        for trace in plot.spec["data"]:
            _draw(axes[_number(trace.get("xaxis", "x"))], trace)
        for place, one in enumerate(axes):
            suffix = "" if place == 0 else str(place + 1)
            if f"xaxis{suffix}" in layout:
                _label(one, layout[f"xaxis{suffix}"], layout[f"yaxis{suffix}"])
            else:
                one.set_visible(False)  # the grid's last row is not full
        for shape in layout.get("shapes", ()):
            axes[0].axvline(shape["x0"], color=GREY, linewidth=LINE_WIDTH, zorder=0)
        for note in layout.get("annotations", ()):
            axes[0].annotate(
                _text(note["text"]),
                (note["x"], note["y"]),
                xytext=(note.get("xshift", 0), 0),
                textcoords="offset points",
                ha=note.get("xanchor", "center"),
                va="center",
                fontsize=6,
                parse_math=False,
            )
        return svg_drawing(figure, f"still-{plot.name}")


def _draw(axes: Any, trace: Mapping[str, Any]) -> None:
    """One trace: a line with its points, or points, and the words beside them."""
    known = [
        (x, y, place)
        for place, (x, y) in enumerate(zip(trace["x"], trace["y"], strict=True))
        if x is not None and y is not None
    ]
    xs = [x for x, _, _ in known]
    if any(isinstance(x, str) for x in xs):
        names = sorted(set(xs))
        axes.set_xticks(range(len(names)), list(map(_text, names)), fontsize=6, parse_math=False)
        xs = [names.index(x) for x in xs]
    ys = [y for _, y, _ in known]
    colour = trace["marker"]["color"]
    if "lines" in trace["mode"]:
        axes.plot(xs, ys, color=colour, linewidth=LINE_WIDTH, marker="o", markersize=2)
    else:
        colours = colour if isinstance(colour, str) else [colour[place] for _, _, place in known]
        axes.scatter(xs, ys, s=POINT_AREA, c=colours)
    words: Sequence[str] = trace.get("text", ())
    for x, y, place in known if words else ():
        axes.annotate(
            _text(words[place]),
            (x, y),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            fontsize=6,
            parse_math=False,
        )


def _label(axes: Any, x: Mapping[str, Any], y: Mapping[str, Any]) -> None:
    """The titles, ticks and scales of a panel."""
    axes.set_xlabel(_text(x.get("title", {}).get("text", "")), parse_math=False)
    axes.set_ylabel(_text(y.get("title", {}).get("text", "")), parse_math=False)
    if x.get("type") == "log":
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    if "tickvals" in x:
        axes.set_xticks(x["tickvals"], [_text(text) for text in x["ticktext"]], parse_math=False)
    if y.get("visible") is False:
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    if x.get("rangemode") == "tozero":
        axes.set_xlim(left=0)
    if y.get("rangemode") == "tozero":
        axes.set_ylim(bottom=0)


def _number(axis: str) -> int:
    """The place of the panel whose axis is called ``x``, ``x2``, ``x3``."""
    return int(axis[1:] or "1") - 1


def _text(text: str) -> str:
    """The words that Plotly shows for `text`."""
    return unescape(text.replace("<br>", "\n"))
