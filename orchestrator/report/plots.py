"""Interactive figures as Plotly's own JSON: data and layout, as plain values.

Only traces that Plotly draws as SVG, so that they print and the page's policy (no `eval`) lets them
be drawn. Colours are set by the page, which knows whether it is dark; texts are escaped here,
because Plotly reads a few tags in them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Spec = dict[str, Any]

# In the order of viridis, from low to high, without its ends, which vanish on black or on white.
SCALE = ("#8157b8", "#4a7fc1", "#2a9d95", "#62b24a", "#d6a400")
GREY = "#888888"
BASELINE = "#D55E00"
SYMBOLS = {"finished": "circle", "pruned": "triangle-down-open", "failed": "x", "running": "square"}
LOG_SPAN = 20.0  # a dimension whose values span more is drawn on a logarithmic axis
PANELS_PER_ROW = 3
PANEL_HEIGHT = 230
MOST_TICKS = 9


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A trial (or a baseline) in a plot: its values by the title of the dimension, its score, the
    words of its label and of its state.
    """

    label: str
    state: str
    values: Mapping[str, Any]
    score: float


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A level that is named in a plot: a baseline, chance."""

    title: str
    x: float
    y: float


def parallel_coordinates(dots: Sequence[Dot], dimensions: Sequence[str], score: str) -> Spec:
    """A line for each trial through its values, each axis scaled to its own range, the score last;
    coloured by the score.
    """
    axes = [_axis_of([dot.values.get(name) for dot in dots]) for name in dimensions]
    axes.append(_axis_of([dot.score for dot in dots]))
    colours = _colours([dot.score for dot in dots])
    data: list[Spec] = []
    order = sorted(range(len(dots)), key=lambda place: dots[place].score)
    for place in order:
        dot = dots[place]
        values = [*(dot.values.get(name) for name in dimensions), dot.score]
        places = [axis.place(value) for axis, value in zip(axes, values, strict=True)]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": list(range(len(axes))),
                "y": places,
                "line": {"color": colours[place], "width": 1.6},
                "marker": {"size": 5, "color": colours[place]},
                "hovertemplate": _hover(dot, score),
                "showlegend": False,
            }
        )
    titles = [*dimensions, score]
    shapes = [
        {"type": "line", "x0": place, "x1": place, "y0": 0, "y1": 1, "line": {"width": 1}}
        for place in range(len(axes))
    ]
    return {
        "data": data,
        "layout": {
            "height": 360,
            "margin": {"l": 30, "r": 30, "t": 10, "b": 60},
            "xaxis": {
                "tickvals": list(range(len(titles))),
                "ticktext": [_broken(title) for title in titles],
                "showgrid": False,
                "zeroline": False,
                "range": [-0.15, len(titles) - 0.85],
                "fixedrange": True,
            },
            "yaxis": {"visible": False, "range": [-0.05, 1.05], "fixedrange": True},
            "annotations": _ticks(axes),
            "shapes": shapes,
            "hovermode": "closest",
        },
    }


def by_dimension(dots: Sequence[Dot], dimensions: Sequence[str], score: str) -> Spec:
    """A panel for each dimension: its values against the score, coloured by the score."""
    rows = math.ceil(len(dimensions) / PANELS_PER_ROW)
    scores = [dot.score for dot in dots]
    data: list[Spec] = []
    layout: Spec = {
        "height": 60 + PANEL_HEIGHT * rows,
        "margin": {"l": 50, "r": 10, "t": 10, "b": 50},
        "grid": {
            "rows": rows,
            "columns": min(PANELS_PER_ROW, len(dimensions)),
            "pattern": "independent",
            "ygap": 0.35,
        },
        "hovermode": "closest",
        "showlegend": False,
    }
    for place, name in enumerate(dimensions, 1):
        number = "" if place == 1 else str(place)
        known = [dot for dot in dots if dot.values.get(name) is not None]
        values = [dot.values[name] for dot in known]
        is_number = all(_is_number(value) for value in values)
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": values if is_number else [_text(str(value)) for value in values],
                "y": [dot.score for dot in known],
                "xaxis": f"x{number}",
                "yaxis": f"y{number}",
                "marker": {
                    "size": 8,
                    "symbol": [SYMBOLS.get(dot.state, "circle") for dot in known],
                    "color": _colours([dot.score for dot in known], scores),
                },
                "hovertemplate": [_hover(dot, score) for dot in known],
            }
        )
        axis: Spec = {"title": {"text": _text(name), "standoff": 6}, "zeroline": False}
        if not is_number:
            axis |= {"type": "category", "categoryorder": "category ascending"}
        elif _is_wide(values):
            axis |= {"type": "log"}
        layout[f"xaxis{number}"] = axis
        layout[f"yaxis{number}"] = {"rangemode": "tozero", "zeroline": False}
        if place % PANELS_PER_ROW == 1:
            layout[f"yaxis{number}"]["title"] = {"text": _text(score)}
    return {"data": data, "layout": layout}


def beside_each_other(
    dots: Sequence[Dot], across: str, up: str, references: Sequence[Reference]
) -> Spec:
    """The score `up` (of each dot's values) against its own score `across`, beside the baselines'
    two figures, which are named where they stand.
    """
    data: list[Spec] = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [dot.score for dot in dots],
            "y": [dot.values[up] for dot in dots],
            "marker": {"size": 9, "color": _colours([dot.score for dot in dots])},
            "hovertemplate": [_hover(dot, across) for dot in dots],
            "showlegend": False,
        },
        {
            "type": "scatter",
            "mode": "markers+text",
            "x": [one.x for one in references],
            "y": [one.y for one in references],
            "text": [_text(one.title) for one in references],
            "textposition": "top center",
            "cliponaxis": False,
            "marker": {"size": 10, "symbol": "diamond-open", "color": BASELINE},
            "hovertemplate": [
                f"{_text(one.title)}<br>{_text(across)} {one.x:.3f}<br>{_text(up)} {one.y:.3f}"
                "<extra></extra>"
                for one in references
            ],
            "showlegend": False,
        },
    ]
    return {
        "data": data,
        "layout": {
            "height": 380,
            "margin": {"l": 50, "r": 20, "t": 20, "b": 50},
            "xaxis": {"title": {"text": _text(across)}, "zeroline": False, "rangemode": "tozero"},
            "yaxis": {"title": {"text": _text(up)}, "zeroline": False, "rangemode": "tozero"},
            "hovermode": "closest",
        },
    }


class _Axis:
    """An axis of parallel coordinates: numbers from least to most, anything else as categories."""

    def __init__(self, values: Sequence[Any]) -> None:
        known = [value for value in values if value is not None]
        self._is_number = bool(known) and all(_is_number(value) for value in known)
        self._is_log = self._is_number and _is_wide(known)
        self._values = sorted(set(known), key=lambda one: one if self._is_number else str(one))

    def place(self, value: Any) -> float | None:
        """Where `value` stands, 0 to 1; None for no value."""
        if value is None or not self._values:
            return None
        if not self._is_number:
            return self._values.index(value) / max(1, len(self._values) - 1)
        low, high, own = (self._scaled(one) for one in (self._values[0], self._values[-1], value))
        return 0.5 if high == low else (own - low) / (high - low)

    def ticks(self) -> list[Any]:
        """The values that are named at the axis."""
        if len(self._values) <= MOST_TICKS:
            return self._values
        if not self._is_number:
            return self._values[:: math.ceil(len(self._values) / MOST_TICKS)]
        return [self._values[0], self._values[len(self._values) // 2], self._values[-1]]

    def words(self, value: Any) -> str:
        """A value at the axis."""
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    def _scaled(self, value: float) -> float:
        return math.log(value) if self._is_log else float(value)


def _ticks(axes: Sequence[_Axis]) -> list[Spec]:
    """The values that are named at the axes of parallel coordinates, as annotations."""
    return [
        {
            "x": column,
            "y": axis.place(value),
            "text": _text(axis.words(value)),
            "showarrow": False,
            "xanchor": "right" if column else "left",
            "xshift": -5 if column else 5,
            "font": {"size": 10},
        }
        for column, axis in enumerate(axes)
        for value in axis.ticks()
    ]


def _axis_of(values: Sequence[Any]) -> _Axis:
    return _Axis(values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_wide(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) / min(values) > LOG_SPAN


def _colours(values: Sequence[float], among: Sequence[float] = ()) -> list[str]:
    """A colour of `SCALE` for each of `values`, by its place `among` all of them."""
    known = among or values
    low, high = min(known, default=0.0), max(known, default=0.0)
    return [colour_at(0.0 if high == low else (value - low) / (high - low)) for value in values]


def colour_at(share: float) -> str:
    """The colour at `share`, 0 to 1, of the scale."""
    place = min(max(share, 0.0), 1.0) * (len(SCALE) - 1)
    first = min(int(place), len(SCALE) - 2)
    rest = place - first
    pair = [[int(SCALE[first + one][at : at + 2], 16) for at in (1, 3, 5)] for one in (0, 1)]
    mixed = (round(one + (other - one) * rest) for one, other in zip(*pair, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _hover(dot: Dot, score: str) -> str:
    lines = [f"<b>{_text(dot.label)}</b>, {_text(dot.state)}", f"{_text(score)} {dot.score:.3f}"]
    lines += [
        f"{_text(name)} {_text(f'{value:.3g}' if isinstance(value, float) else str(value))}"
        for name, value in dot.values.items()
        if value is not None
    ]
    return "<br>".join(lines) + "<extra></extra>"


def _broken(title: str) -> str:
    """A title over two lines, where it has several words."""
    words = title.split()
    middle = math.ceil(len(words) / 2)
    return "<br>".join(_text(" ".join(part)) for part in (words[:middle], words[middle:]) if part)


def _text(text: str) -> str:
    """`text` as Plotly shows it: no tag in it, and no placeholder of a hover template."""
    return escape(text, quote=False).replace("%{", "%&#123;")
