"""The report of a sweep as one self-contained HTML page."""

from __future__ import annotations

from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.report import markup, sections
from orchestrator.report.record import SweepRecord, load_record
from orchestrator.search.record import Importance, importance


def sweep_page(spec: SweepSpec) -> str:
    """The page of the sweep of `spec`, from what its database and MLflow hold now; raises as
    `load_record` does.
    """
    return page(load_record(spec), importance(spec.database_url, spec.sweep_id))


def page(record: SweepRecord, dimensions: Importance) -> str:
    """The page for `record`; `dimensions` says which of them mattered."""
    parts = (
        sections.head(record),
        sections.rate_sets(record),
        sections.confirmation(record),
        sections.why(record, dimensions),
        sections.cost(record),
        sections.trials(record),
        sections.failures(record),
        sections.data_and_protocol(record),
        sections.reproduce(record),
    )
    return markup.page_html(f"Sweep {record.spec.sweep_id}", parts)
