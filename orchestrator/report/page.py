"""The report of a sweep: the values of its sections, rendered as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.journal.stored_sweep import read_journal
from orchestrator.report import (
    analysis_sections,
    answer_sections,
    detail_sections,
    explore_section,
)
from orchestrator.report.content import Table
from orchestrator.report.record import SweepRecord, load_record
from orchestrator.report.rendering import render
from orchestrator.report.scripts import Scripts, scripts_of
from orchestrator.search.record import Importance, importance

XLINK = "http://www.w3.org/1999/xlink"


@dataclass(frozen=True, kw_only=True)
class ReportPage:
    """Everything that ``templates/report.html`` shows, section by section."""

    title: str
    scripts: Scripts
    explore: explore_section.ExploreSection | None
    answer: answer_sections.AnswerSection
    rate_sets: answer_sections.RateSetsSection | None
    confirmation: answer_sections.ConfirmationSection | None
    importance: analysis_sections.ImportanceSection
    cost: analysis_sections.CostSection
    trials: Table
    failures: Table | None
    data: detail_sections.DataSection
    reproduction: detail_sections.ReproductionSection


def sweep_page(spec: SweepSpec) -> str:
    """The page of the sweep of `spec`, from what its journal and MLflow hold now.

    Raises as `load_record` does.
    """
    return make_report(spec).html


@dataclass(frozen=True)
class MadeReport:
    """A report: its `html`, and its static figures by name, each as an SVG file."""

    record: SweepRecord
    html: str
    figures: Mapping[str, str]


def make_report(spec: SweepSpec) -> MadeReport:
    """The report of the sweep of `spec`; raises as `load_record` does."""
    journal = read_journal(spec)
    record = load_record(spec, journal)
    page = report_page(record, importance(spec, journal))
    return MadeReport(record, html_of(page), svg_files(page))


def svg_files(page: ReportPage) -> dict[str, str]:
    """The figures of `page` that MLflow shows as pictures; those that are interactive in the page
    are still.
    """
    figures = {
        "rate_sets": page.rate_sets.figure if page.rate_sets else None,
        "importance": page.importance.importance,
        "learning_curves": page.importance.curves,
        "cost": page.cost.pareto,
        "rate_confusion": page.cost.confusion,
    }
    drawings = {name: figure.drawing for name, figure in figures.items() if figure is not None}
    if page.explore is not None:
        from orchestrator.report.stills import still  # matplotlib

        drawings |= {plot.name: still(plot) for plot in page.explore.plots}
    return {
        name: f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="{XLINK}" '
        f'viewBox="{drawing.view_box}">{drawing.markup}</svg>'
        for name, drawing in drawings.items()
        if drawing is not None
    }


def report_html(record: SweepRecord, dimensions: Importance) -> str:
    """The page for `record`; `dimensions` is the importance of its hyperparameters."""
    return html_of(report_page(record, dimensions))


def html_of(page: ReportPage) -> str:
    """`page` as HTML."""
    return page.scripts.filled(render("report.html", page))


def report_page(record: SweepRecord, dimensions: Importance) -> ReportPage:
    """The values of the page for `record`."""
    explored = explore_section.explore_section(record)
    first = answer_sections.answer_section(record)
    return ReportPage(
        title=f"Sweep {record.spec.sweep_id}: {first.headline}",
        scripts=scripts_of(explored.plots if explored else ()),
        explore=explored,
        answer=first,
        rate_sets=answer_sections.rate_sets_section(record),
        confirmation=answer_sections.confirmation_section(record),
        importance=analysis_sections.importance_section(record, dimensions),
        cost=analysis_sections.cost_section(record),
        trials=detail_sections.trials_table(record),
        failures=detail_sections.failures_table(record),
        data=detail_sections.data_section(record),
        reproduction=detail_sections.reproduction_section(record),
    )
