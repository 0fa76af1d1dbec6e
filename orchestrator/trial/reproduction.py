"""The comparison of a trial that was trained again with its MLflow run, metric by metric.

Pure: the config read from the run's parameters, how the code differs from the run's, and how far
the figures may differ because of that.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestrator.config.run_config import RunConfig, parse_config, replace_path
from orchestrator.config.typed_command import prp
from orchestrator.tracking.provenance import PROJECT_ROOT, UNKNOWN, git_commit, lock_digest
from orchestrator.tracking.reading import RunFacts
from orchestrator.tracking.tags import CONTINUES_TAG
from orchestrator.trial_state import ENDED
from prp_core.errors import UserError

# Not what was learnt: times, cache counters, money, and what is measured after the sweep's end.
NOT_COMPARED = (
    *("time/", "system/", "data/", "cost/", "waste/", "tracking/"),
    *("recognition/", "test/", "time_panel/"),
)
SHORTENED = re.compile(r"\.\.\. \(\d+ characters, sha256 [0-9a-f]{64}\)$")
# The parts of a run's config that decide what it learns. Where its videos, caches and servers are,
# and how much it may use, is this machine's own.
LEARNT = ("encoder", "pretext", "clip", "training", "evaluation", "seed", "sweep")
LEARNT_OF_LOADER = ("reader", "colour", "decode_jpegs_on", "max_carried_pixels")
LEARNT_OF_SOURCE = ("where", "val_fraction")
LEARNT_OF_RESOURCES = ("num_workers", "cpus_per_worker", "gpus_per_worker")
# How far apart two values may be, of the larger one or absolutely, where there is a reason for
# their arithmetic to differ.
TOLERANCE = 0.02


class Agreement(StrEnum):
    """How two values of a metric compare."""

    EXACT = "exact"
    """Equal to the last digit."""

    CLOSE = "close"
    """Within `TOLERANCE`."""

    DIFFERS = "differs"
    """Further apart than that."""

    MISSING = "missing"
    """Recorded, and not measured now."""


@dataclass(frozen=True)
class Point:
    """A metric compared at the `num_points` steps that both have; `recorded` and `now` are its
    values at the `step` where they differ most.
    """

    metric: str
    num_points: int
    step: int
    recorded: float | None
    now: float | None
    agreement: Agreement


def config_of_params(params: Mapping[str, str]) -> RunConfig:
    """The config that a run's parameters describe; every leaf of the tree that a trial depends on
    is among them, as exact text.

    Raises `UserError` for a parameter that MLflow holds shortened, and for one that this version's
    config does not know.
    """
    tree: dict[str, Any] = {}
    for path, text in params.items():
        if SHORTENED.search(text):
            raise UserError(
                f"The run's parameter {path} is too long for MLflow and stands there "
                "shortened; it cannot be read back"
            )
        tree = replace_path(tree, path, _typed(path, text))
    try:
        return parse_config(tree)
    except UserError as error:
        raise UserError(
            f"This version of the code cannot read the run's parameters: {error}. Check "
            "out the run's commit"
        ) from None


def on_this_machine(recorded: RunConfig, own: RunConfig) -> RunConfig:
    """`recorded`, as far as it decides what is learnt; all else is `own`.

    A run's parameters are somebody's text. Its endpoint would be sent this user's credentials, its
    folders would be written to, its limits would not hold.
    """
    source = {name: getattr(recorded.source, name) for name in LEARNT_OF_SOURCE}
    judged = {name: getattr(recorded.eval_source, name) for name in LEARNT_OF_SOURCE}
    # Where another corpus is comes from the run's tags; its config is whole with any place.
    place = recorded.eval_source.uri or recorded.eval_source.manifest
    loader = {name: getattr(recorded.loader, name) for name in LEARNT_OF_LOADER}
    resources = {name: getattr(recorded.resources, name) for name in LEARNT_OF_RESOURCES}
    return dataclasses.replace(
        own,
        **{name: getattr(recorded, name) for name in LEARNT},
        source=dataclasses.replace(own.source, **source),
        eval_source=dataclasses.replace(own.eval_source, uri=place, **judged),
        loader=dataclasses.replace(own.loader, **loader),
        resources=dataclasses.replace(own.resources, **resources),
    )


def check_endpoint(
    run: RunFacts, recorded: RunConfig, own: RunConfig, uris: Sequence[str], environment: str
) -> None:
    """Refuse `run` if it read `uris` from another server than this machine is set to.

    `environment` is the server of the AWS environment, "" where it names none; an endpoint in `own`
    was chosen for this run and is not questioned. Raises `UserError`, which says how to allow it.
    """
    theirs = (recorded.store.endpoint_url or "").rstrip("/")
    remote = next((uri for uri in uris if uri.startswith("s3:")), "")
    if not remote or not theirs or own.store.endpoint_url or theirs == environment.rstrip("/"):
        return
    raise UserError(
        f"Run {run.run_id} read {remote} from {theirs}, this machine reads from "
        f"{environment or 'Amazon S3'}; nothing was sent. Choose the server that gets your "
        f"credentials with --endpoint-url: {theirs} if you trust it"
    )


def _typed(path: str, text: str) -> Any:
    hint: Any = RunConfig
    for word in path.split("."):
        tables = [
            option
            for option in (typing.get_args(hint) or (hint,))
            if hasattr(option, "__dataclass_fields__")
        ]
        hint = typing.get_type_hints(tables[0]).get(word, str) if tables else str
    options = typing.get_args(hint) or (hint,)
    if text == "None" and type(None) in options:
        return None
    if bool in options:
        return text == "True"
    try:
        return int(text) if int in options else float(text) if float in options else text
    except ValueError:
        raise UserError(f"The run's parameter {path} = {text!r} is not a number") from None


def check_can_repeat(run: RunFacts) -> int:
    """The epoch of the last rung of `run`. Raises `UserError` for what is no trial, has not ended,
    has no rung, or continues another trial.
    """
    if run.tags.get("prp.role") != "trial":
        raise UserError(
            f"{run.run_id} is not the run of a trial (its role: "
            f"{run.tags.get('prp.role', 'none')}); name one of the nested runs"
        )
    if run.state not in ENDED:
        raise UserError(
            f"Run {run.run_id} is {run.state}: only a trial that has ended can be "
            f"compared; see `{prp('status')}`"
        )
    if "epoch" not in run.metrics:
        raise UserError(
            f"Run {run.run_id} {run.state} before its first rung "
            f"({run.tags.get('prp.reason', '')}): there is nothing to compare"
        )
    if CONTINUES_TAG in run.tags:
        raise UserError(
            f"Run {run.run_id} trained trial {run.tags[CONTINUES_TAG]} on, from its checkpoint: "
            "name the run of that trial, which started from epoch 0"
        )
    return int(run.metrics["epoch"])


def code_differences(run: RunFacts, project_root: Path = PROJECT_ROOT) -> list[str]:
    """How the code here differs from the run's, each difference with both values; empty where
    commit and lock file are the run's.
    """
    then = {
        "commit": run.tags.get("prp.git_commit", UNKNOWN),
        "uv.lock": run.tags.get("prp.lock_sha256", UNKNOWN),
    }
    now = {"commit": git_commit(project_root), "uv.lock": lock_digest(project_root)}
    found = [
        f"{name} was {then[name]}, here it is {now[name]}"
        for name in then
        if then[name] != now[name]
    ]
    for when, commit in (("was trained", then["commit"]), ("is here", now["commit"])):
        if commit.endswith("-dirty") and then["commit"] == now["commit"]:
            found.append(
                f"the commit {when} with uncommitted changes ({commit}), which nobody recorded"
            )
            break
    return found


def reasons_to_differ(run: RunFacts, config: RunConfig, differences: Sequence[str]) -> list[str]:
    """Why the figures need not be equal bit for bit; empty where they must be. `differences` are
    those of the code.
    """
    found = [
        "other code" if differences else "",
        "kernels of a GPU add in no fixed order" if config.resources.gpus_per_worker else "",
    ]
    if config.resources.num_workers > 1:
        found.append("several workers add their gradients in an order that may differ")
    return [reason for reason in found if reason]


def compare(
    recorded: Mapping[str, Mapping[int, float]],
    now: Mapping[str, Mapping[int, float]],
    last_step: int,
) -> list[Point]:
    """Compare each recorded metric that says what was learnt with the same of now, up to
    `last_step`; both are metric -> step -> value.
    """
    points = []
    for metric, history in sorted(recorded.items()):
        then = {step: value for step, value in history.items() if step <= last_step}
        if metric.startswith(NOT_COMPARED) or not then:
            continue
        again = now.get(metric, {})
        common = sorted(then.keys() & again.keys())
        if not common or len(common) < len(then):
            step = min(then.keys() - again.keys())
            points.append(Point(metric, len(common), step, then[step], None, Agreement.MISSING))
            continue
        step = max(common, key=lambda step: (abs(then[step] - again[step]), step))
        agreement = agreement_of(then[step], again[step])
        points.append(Point(metric, len(common), step, then[step], again[step], agreement))
    return points


def agreement_of(recorded: float, now: float) -> Agreement:
    """How two values compare."""
    if recorded == now:
        return Agreement.EXACT
    limit = TOLERANCE * max(1.0, abs(recorded), abs(now))
    return Agreement.CLOSE if abs(recorded - now) <= limit else Agreement.DIFFERS


def agrees(points: Sequence[Point], *, reasons: Sequence[str], strict: bool) -> bool:
    """Whether the trial came out the same: exactly, or closely where there are `reasons` for that
    and the comparison is not `strict`.
    """
    allowed = {Agreement.EXACT} if strict or not reasons else {Agreement.EXACT, Agreement.CLOSE}
    return bool(points) and all(point.agreement in allowed for point in points)


def table_rows(points: Sequence[Point], *, reasons: Sequence[str], strict: bool) -> list[list[str]]:
    """The rows of the comparison: metric, points, recorded, now, agreement (of the worst point)."""
    words = {
        Agreement.EXACT: "exact",
        Agreement.CLOSE: "differs" if strict or not reasons else f"within {TOLERANCE:g}",
        Agreement.DIFFERS: "differs",
        Agreement.MISSING: "not measured",
    }
    return [
        [
            point.metric,
            str(point.num_points),
            _number(point.recorded),
            _number(point.now),
            words[point.agreement],
        ]
        for point in points
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"
