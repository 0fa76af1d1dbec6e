"""The pages of a sweep: a report that names the best rates with evidence, and a trial's showcase.

In the order that data flows: `record` reads a sweep from its database, MLflow and ledger.
`findings` computes statistics from it, `spending` its cost by activity, `confirmed` the result of a
confirmation, `objections` what speaks against an encoder, `judged_how` notes on how it was judged,
`left_out` what it does not count, and `answer` the one sentence of the sweep, which `descriptions`
carries into MLflow.
`figures` draws (the only module with matplotlib, imported with the first figure), `formatting`
writes numbers and names, `content` holds tables and figures as values, `plots` makes the
interactive ones as Plotly's JSON, and `stills` their pictures for MLflow. `answer_sections`,
`explore_section`, `analysis_sections` and `detail_sections` compute the values of the report's
sections, `page` puts them together, and `rendering` (the only module with Jinja2) fills
`templates/`, where the HTML, the CSS and the fixed texts are; `scripts` are what runs in the page.
`showcase_choice` chooses the trials and videos of the showcases, `showcase` holds the content of
one, and `showcase_page` computes its page.
"""
