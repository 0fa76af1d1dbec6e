"""What a run is started with in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from orchestrator.config.redaction import redacted
from orchestrator.tracking.recorded import Record, record


@dataclass(frozen=True, kw_only=True)
class DatasetInput:
    """A data set that a run reads, as MLflow's page lists it: `digest` is its version, `source` its
    URI, `context` what it is for ("training").
    """

    name: str
    digest: str
    source: str
    context: str


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """The start of a run: its parameters and tags, its `title` (empty: by its name), its whole
    `config` by path, and the data that it reads.

    `first_metric` is logged before all others, without a value (nan at step 0): MLflow's page that
    compares runs begins with the metric that was logged first.
    """

    params: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[DatasetInput, ...] = ()
    first_metric: str = ""

    def record(self, run: str) -> Record:
        """The record of the start of `run`."""
        fields = {
            "title": self.title,
            "config": _texts(self.config),
            "datasets": [asdict(one) for one in self.datasets],
            "first_metric": self.first_metric,
        }
        more = {name: value for name, value in fields.items() if value}
        return record("start", run, params=_texts(self.params), tags=_texts(self.tags), **more)


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: redacted(value) for name, value in values.items()}
