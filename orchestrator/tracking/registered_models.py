"""The registered encoders of MLflow: a version for each winner, and the alias ``best``.

A version says what it was chosen by: the metric, its value, and the hash of the protocol that
measured it. The alias moves to a new version only when the two can be compared and the new one is
at least as good.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from orchestrator.tracking.model_uri import MODEL_TAG
from orchestrator.tracking.models import VERSIONS_TAG
from orchestrator.tracking.tags import NOTE_TAG

# On a registered version: the figure that it was chosen by, and the protocol that measured it.
METRIC_TAG = "prp.metric"
VALUE_TAG = "prp.metric_value"
PROTOCOL_TAG = "prp.protocol_hash"
OBJECTION_TAG = "prp.objection"  # what speaks against calling it the best
BEST_ALIAS = "best"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How well an encoder was measured: `value` of `metric`, by the protocol of `protocol_hash`;
    two values can be compared where metric and protocol are equal. Larger is better. `objection` is
    what speaks against calling it the best (empty: nothing), whatever its value.
    """

    metric: str
    value: float
    protocol_hash: str
    objection: str = ""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A registered encoder: its `version` of the model called `name`, and whether the alias
    ``best`` stands there; where it does not, `reason` says why it stays at another version.
    """

    name: str
    version: str
    is_best: bool
    reason: str = ""

    @property
    def uri(self) -> str:
        """Where it loads, now and later."""
        return f"models:/{self.name}/{self.version}"

    def line(self) -> str:
        """Where it loads, for a person."""
        if self.is_best:
            return f"models:/{self.name}@{BEST_ALIAS}"
        return f"{self.uri}; models:/{self.name}@{BEST_ALIAS} does not point at it: {self.reason}"


def register_model(client: Any, model_id: str, name: str, measured: Measured) -> Registered:
    """Register a logged model as `name`; point the alias ``best`` at it unless what stands there
    is better, or was measured otherwise, or something speaks against this one: then the alias is
    taken from it, too. Idempotent.

    MLflow reserves the alias ``latest``: the newest version loads as ``models:/NAME/latest``.
    """
    try:
        client.create_registered_model(name)
    except Exception as error:
        if getattr(error, "error_code", None) != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = [
        version
        for version in client.search_model_versions(f"name='{name}'")
        if version.tags.get(MODEL_TAG) == model_id
    ]
    if not versions:
        model = client.get_logged_model(model_id)
        # Not "models:/<id>": a sqlite registry looks such a source up in the process-wide default
        # MLflow, not in its own.
        versions = [
            client.create_model_version(
                name,
                model.artifact_location,
                run_id=model.source_run_id,
                tags={MODEL_TAG: model_id, **_tags_of(measured)},
                model_id=model_id,
            )
        ]
    version = str(min(int(one.version) for one in versions))
    client.set_logged_model_tags(
        model_id, {VERSIONS_TAG: json.dumps([{"name": name, "version": version}])}
    )
    for tag, value in _tags_of(measured).items():  # of a version that an earlier release made
        client.set_model_version_tag(name, version, tag, value)
    reason = _why_best_stays(client, name, version, measured)
    if measured.objection and _best(client, name) == version:
        client.delete_registered_model_alias(name, BEST_ALIAS)
    if not reason:
        client.set_registered_model_alias(name, BEST_ALIAS, version)
    return Registered(name=name, version=version, is_best=not reason, reason=reason)


def describe_versions(client: Any, name: str, run_id: str, text: str) -> None:
    """Make `text` the description of the versions of `name` that come from the run, and of their
    logged models.
    """
    for version in client.search_model_versions(f"name='{name}' and run_id='{run_id}'"):
        client.update_model_version(name, version.version, description=text)
        if MODEL_TAG in version.tags:
            client.set_logged_model_tags(version.tags[MODEL_TAG], {NOTE_TAG: text})


def _tags_of(measured: Measured) -> dict[str, str]:
    return {
        METRIC_TAG: measured.metric,
        VALUE_TAG: repr(measured.value),
        PROTOCOL_TAG: measured.protocol_hash,
        OBJECTION_TAG: measured.objection or "none",
    }


def _best(client: Any, name: str) -> str | None:
    """The version at which the alias stands; None: at none."""
    best = client.get_registered_model(name).aliases.get(BEST_ALIAS)
    return None if best is None else str(best)


def _why_best_stays(client: Any, name: str, version: str, measured: Measured) -> str:
    """Why ``best`` stays at the version where it is; empty where it moves to `version`."""
    if measured.objection:
        return measured.objection
    best = _best(client, name)
    if best is None or best == version:
        return ""
    tags = client.get_model_version(name, best).tags
    metric, protocol = tags.get(METRIC_TAG), tags.get(PROTOCOL_TAG)
    if (metric, protocol) != (measured.metric, measured.protocol_hash):
        how = f"{metric} by protocol {protocol}" if metric else "nobody recorded how"
        return (
            f"version {best} was measured otherwise ({how}; this one: {measured.metric} by "
            f"protocol {measured.protocol_hash}), so that the two cannot be compared"
        )
    value = _as_number(tags.get(VALUE_TAG, ""))
    if measured.value >= value:
        return ""
    return (
        f"version {best} is better ({measured.metric} {value:.4g}, this one {measured.value:.4g})"
    )


def _as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf  # what cannot be compared is not replaced
