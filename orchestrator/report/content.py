"""The building blocks of a page: tables, figures and facts, as values that the templates show."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

Facts = tuple[tuple[str, str], ...]
"""Names and their texts; the templates leave out a fact whose text is empty."""


@dataclass(frozen=True)
class Row:
    """A table row; `emphasis` is ``best``, ``soft`` or empty. `link` is the address that its first
    cell leads to, ours and no one's text; empty: none.
    """

    cells: tuple[str, ...]
    emphasis: str = ""
    link: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; the columns in `numeric` (from 0) are right-aligned."""

    head: tuple[str, ...]
    rows: tuple[Row, ...]
    numeric: Collection[int] = ()
    caption: str = ""


@dataclass(frozen=True)
class Drawing:
    """An SVG drawing: its view box, and the trusted markup inside its root element."""

    view_box: str
    markup: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing under the finding that it shows; where `drawing` is None, `note` says why.

    `alternative` is the text alternative for who cannot see the drawing.
    """

    title: str
    note: str = ""
    drawing: Drawing | None = None
    alternative: str = ""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """An interactive figure: `spec` is Plotly's data and layout, `name` its id in the page, where
    `alternative` stands for who cannot see it.
    """

    name: str
    title: str
    note: str
    spec: Mapping[str, Any]
    alternative: str
