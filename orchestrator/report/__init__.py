"""The report of a sweep: one page that answers "which rates" in a sentence and shows what the
answer stands on.

In the order that data flows: `findings.py` decides what can be said (pure functions over a
`SweepRecord`), `figures.py` draws it (the only room of matplotlib, imported when the first figure
is drawn), `markup.py` makes HTML of tables and figures, `sections.py` writes the parts of the page,
and `page.py` puts them together. `showcase.py` is another page, of one trial: its neighbours and
reconstructions.
"""
