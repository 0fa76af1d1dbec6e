"""The leaderboard of a sweep as one page that needs nothing but itself."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; color: #1a1a1a; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; color: #555; padding-bottom: .5em; }
th, td { padding: .35em .7em; text-align: right; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }
th:nth-child(-n+3), td:nth-child(-n+3) { text-align: left; } th { border-bottom: 2px solid #888; }
tr.best td { font-weight: 600; background: #eef6ee; } tr.baseline td { color: #555; font-style: italic; } tr.partial td { color: #777; }
"""


@dataclass(frozen=True, kw_only=True)
class LeaderboardRow:
    """One trial, or one baseline on the same split. `objective` None: it has no value; `note`: what a reader must know about it."""

    name: str
    state: str
    objective: float | None
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    is_baseline: bool = False


def ranked(rows: Sequence[LeaderboardRow]) -> list[LeaderboardRow]:
    """Finished trials and baselines by objective, best first; then the others, whose values are of fewer epochs and do not compare."""

    def place(row: LeaderboardRow) -> tuple[bool, bool, float]:
        return not _compares(row), row.objective is None, -(row.objective or 0.0)

    return sorted(rows, key=place)


def leaderboard_html(rows: Sequence[LeaderboardRow], *, title: str, objective_name: str, caption: str = "") -> str:
    """A page with the ranked `rows`. Columns: every param that differs between trials, then every metric that any row has."""
    order = ranked(rows)
    trials = [row for row in order if not row.is_baseline]
    params = [name for name in _names([row.params for row in trials]) if len({row.params.get(name) for row in trials}) > 1]
    metrics = [name for name in _names([row.metrics for row in order]) if name != objective_name]
    best = next((row for row in order if row.state == "finished" and not row.is_baseline and row.objective is not None), None)
    head = _cells("th", ["", "state", "note", objective_name, *params, *metrics])
    body = "\n".join(_line(row, row is best, params, metrics) for row in order)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style></head>\n'
        f"<body><h1>{html.escape(title)}</h1>\n<table><caption>{html.escape(caption)}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></body></html>\n"
    )


def _line(row: LeaderboardRow, is_best: bool, params: Sequence[str], metrics: Sequence[str]) -> str:
    kind = "best" if is_best else "baseline" if row.is_baseline else "" if _compares(row) else "partial"
    values = [_number(row.objective), *(row.params.get(name, "") for name in params), *(_number(row.metrics.get(name)) for name in metrics)]
    return f'<tr class="{kind}">{_cells("td", [row.name, row.state, row.note, *values])}</tr>'


def _compares(row: LeaderboardRow) -> bool:
    return row.is_baseline or row.state == "finished"


def _cells(tag: str, texts: Sequence[str]) -> str:
    return "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _names(mappings: Sequence[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))
