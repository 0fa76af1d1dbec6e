"""The Jinja2 environment: renders a template of `templates/` with the values of a page."""

from __future__ import annotations

import functools
from pathlib import Path

import jinja2

from orchestrator.config.redaction import redacted
from orchestrator.report.formatting import unbreakable_pieces

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, page: object) -> str:
    """The HTML of `page` by the file `template`; every value in it is escaped,
    and passwords of addresses are hidden.

    Raises `jinja2.UndefinedError` where the template names a value that `page` lacks.
    """
    return redacted(_environment().get_template(template).render(page=page))


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["unbreakable_pieces"] = unbreakable_pieces
    return environment
