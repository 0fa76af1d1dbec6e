"""HTML of tables, figures and facts, every text escaped; the page's style, for the screen and for
A4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

RATE_SET = re.compile(r"(?<![\w-])\d+(?:-\d+)+(?![\w-])|\[\d[\d., ]*\]|trial \d+")

STYLE = (Path(__file__).parent / "templates" / "common.css").read_text(encoding="utf-8")


def page_html(title: str, body: Iterable[str], style: str = "") -> str:
    """A whole page that needs nothing but itself; the policy in its head lets no browser load
    anything. `style` adds to the common one.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta '
        'name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><link '
        'rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def section(name: str, title: str, *parts: str) -> str:
    """A section with the id `name`."""
    return (
        f'<section id="{name}"><h2>{escape(title)}</h2>\n'
        + "\n".join(part for part in parts if part)
        + "</section>"
    )


def figure(svg: str, title: str, alternative: str, note: str = "") -> str:
    """A picture below the finding that it shows; `alternative` says the same to who cannot see
    it.
    """
    drawn = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alternative)}" ', 1)
    caption = f"<figcaption><p>{escape(note)}</p></figcaption>" if note else ""
    return f"<figure><h3>{escape(title)}</h3>{drawn}{caption}</figure>"


def instead(title: str, text: str) -> str:
    """Where a figure would be, why it is not."""
    return f'<figure><h3>{escape(title)}</h3><p class="small">{escape(text)}</p></figure>'


def prose(text: str) -> str:
    """Escaped text whose rate sets and intervals no line break divides."""
    return RATE_SET.sub(lambda match: f'<span class="whole">{match.group()}</span>', escape(text))


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{prose(text)}</p>"


def table(
    head: Sequence[str],
    rows: Iterable[tuple[str, Sequence[str]]],
    *,
    numbers: Sequence[int] = (),
    caption: str = "",
) -> str:
    """A table; each row is (class, cells); the columns in `numbers` are set flush right."""

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{_number_class(place, numbers)}>{escape(text)}</{tag}>"
            for place, text in enumerate(texts)
        )

    body = "\n".join(
        f"<tr{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{cells('td', texts)}</tr>"
        for kind, texts in rows
    )
    top = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{top}<thead><tr>{cells("th", head)}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def facts(items: Mapping[str, str]) -> str:
    """Names and what they are."""
    return (
        "<dl>"
        + "".join(
            f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
            for name, text in items.items()
            if text
        )
        + "</dl>"
    )


def two(*parts: str) -> str:
    """Parts beside each other."""
    return '<div class="two">' + "\n".join(parts) + "</div>"


def commands(lines: Iterable[str]) -> str:
    """Lines to paste into a terminal."""
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def _number_class(place: int, numbers: Sequence[int]) -> str:
    return ' class="number"' if place in numbers else ""
