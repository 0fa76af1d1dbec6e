"""The scripts of the report: Plotly's and our own, whose digests the page's policy names.

No text of a sweep is ever part of one: figures reach them as JSON, in which nothing can end the
element that holds it. Plotly's script is read from its package; no module of it is imported.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from orchestrator.report.content import Plot
from orchestrator.report.rendering import TEMPLATES

NO_MARKUP = {
    ord("<"): "\\u003c",
    ord(">"): "\\u003e",
    ord("&"): "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


@dataclass(frozen=True, kw_only=True)
class Scripts:
    """What the template writes: the `policy` for the scripts, the figures' `data` as JSON, and a
    place for each script, which `filled` puts in when nothing else touches the page any more.
    """

    policy: str
    data: str
    library: str = field(default_factory=lambda: secrets.token_hex(16))
    own: str = field(default_factory=lambda: secrets.token_hex(16))

    def filled(self, html: str) -> str:
        """`html` with the scripts in their places."""
        return html.replace(self.own, own_script()).replace(self.library, plotly_script())


def scripts_of(plots: Sequence[Plot]) -> Scripts:
    """The scripts of a page with `plots`."""
    used = [own_script(), *([plotly_script()] if plots else [])]
    allowed = " ".join(f"'sha256-{_digest(text)}'" for text in used)
    return Scripts(
        policy=f"; script-src {allowed}", data=json_in_html({one.name: one.spec for one in plots})
    )


def json_in_html(value: Mapping[str, object]) -> str:
    """`value` as JSON that no HTML parser takes for markup."""
    return json.dumps(value, allow_nan=False).translate(NO_MARKUP)


@cache
def own_script() -> str:
    """The script that draws the figures and sorts the tables."""
    return (TEMPLATES / "report.js").read_text(encoding="utf-8")


@cache
def plotly_script() -> str:
    """Plotly's script, of the pinned version."""
    found = importlib.util.find_spec("plotly")
    assert found is not None and found.submodule_search_locations, "a dependency of this package"
    package = Path(next(iter(found.submodule_search_locations)))
    return (package / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
