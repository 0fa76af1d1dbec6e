"""HTML of tables, figures and facts, every text escaped; the page's style, for the screen and for
A4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

RATE_SET = re.compile(r"(?<![\w-])\d+(?:-\d+)+(?![\w-])|\[\d[\d., ]*\]|trial \d+")

STYLE = """
:root { --ink: #1a1a1a; --soft: #555; --line: #d5d5d5; --blue: #0072B2; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: var(--ink); background: #fff;
  margin: 0 auto; max-width: 64rem; padding: 1.8rem 1.5rem 3rem; }
h1 { font-size: 1.55rem; line-height: 1.3; margin: .2rem 0 .6rem; text-wrap: balance; }
h2 { font-size: 1.05rem; margin: 2rem 0 .6rem; padding-top: .5rem; border-top: 2px solid var(--ink); }
h3 { font-size: .95rem; margin: 0 0 .4rem; line-height: 1.35; }
p { margin: .4rem 0; max-width: 60rem; } .eyebrow, .small, figcaption p { color: var(--soft); font-size: .85rem; } .eyebrow { margin: 0; }
.notes { padding: 0; margin: .6rem 0; list-style: none; } .notes li { margin: .25rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; } caption { text-align: left; color: var(--soft); padding: .2rem 0; }
th { text-align: left; border-bottom: 1.5px solid var(--ink); font-weight: 600; vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); vertical-align: top; white-space: nowrap; }
td:last-child { white-space: normal; overflow-wrap: anywhere; min-width: 11em; } .whole { white-space: nowrap; }
th, td { padding: .22rem .7rem .22rem 0; } .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.number { white-space: normal; }
tr.best td { font-weight: 600; } tr.soft td { color: var(--soft); }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 1.4rem 2.2rem; margin-top: 1.2rem; }
figure { margin: 0; break-inside: avoid; } figure svg { width: 100%; height: auto; display: block; }
figure svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif !important; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; font-size: .85rem; margin: .3rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
pre { background: #f5f5f5; padding: .6rem .8rem; font-size: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; margin: .4rem 0; }
@media (max-width: 44rem) { .two { grid-template-columns: 1fr; } .scroll { overflow-x: auto; } }
@page { size: A4; margin: 13mm 14mm; }
@media print {
  body { font-size: 9.5pt; line-height: 1.38; padding: 0; max-width: none; } h1 { font-size: 15pt; } h2 { margin-top: 1.1rem; break-after: avoid; }
  pre { background: none; border-left: 2px solid var(--line); } tr, dl, pre, .keep { break-inside: avoid; } thead { display: table-header-group; }
  .two { gap: .8rem 1.4rem; margin-top: .7rem; } table, dl { font-size: 7.5pt; } th, td { padding-right: .4rem; } pre { font-size: 7.5pt; }
}
"""


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
    return f"<figure><h3>{escape(title)}</h3>{drawn}{f'<figcaption><p>{escape(note)}</p></figcaption>' if note else ''}</figure>"


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
        "<div "
        f'class="scroll"><table>{top}<thead><tr>{cells("th", head)}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
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
