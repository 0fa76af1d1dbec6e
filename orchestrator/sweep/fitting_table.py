"""A table that shows whole cells at any width: columns that do not fit are left out, and named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

GAP = 2  # columns between two cells


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column with one cell for each row; of those that do not fit together, the ones with the
    largest `rank` are left out. Its title may break between words, its cells may not, unless
    `wraps_at` gives the width at which they do.
    """

    title: str
    cells: Sequence[str]
    rank: int
    is_number: bool = False
    wraps_at: int = 0

    @property
    def width(self) -> int:
        """How wide it has to be."""
        widest = max((len(cell) for cell in self.cells), default=0)
        widest = min(widest, self.wraps_at) if self.wraps_at else widest
        return max(widest, *(len(word) for word in self.title.split() or [""]))


def fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """Those of `columns` that fit into `width`, in their order."""
    kept: list[Column] = []
    used = 0
    for column in sorted(columns, key=lambda one: one.rank):
        needed = column.width + (GAP if kept else 0)
        if used + needed <= width:
            kept.append(column)
            used += needed
    return [column for column in columns if any(column is one for one in kept)]


def fitted_table(
    columns: Sequence[Column], width: int, styles: Sequence[str] = ()
) -> list[RenderableType]:
    """The table of `columns` within `width`, a row in each of `styles`, and a line that names what
    was left out.
    """
    kept = fitting(columns, width)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    for column in kept:
        table.add_column(
            column.title,
            justify="right" if column.is_number else "left",
            width=column.width,
            overflow="fold",
        )
    for place in range(max((len(column.cells) for column in kept), default=0)):
        style = styles[place] if place < len(styles) else ""
        table.add_row(*(Text(column.cells[place]) for column in kept), style=style)
    left_out = [column.title for column in columns if not any(column is one for one in kept)]
    if not left_out:
        return [table]
    return [table, Text(f"not shown at this width: {', '.join(left_out)}", style="dim")]
