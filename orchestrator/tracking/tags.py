"""The names of our MLflow tags, and MLflow's limits on values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

SWEEP_TAG = "prp.sweep_id"
KEY_TAG = "prp.sweep_key"  # drawn at a sweep's first start: two storages may know one name
TRIAL_TAG = "prp.trial"
ROLE_TAG = "prp.role"  # "sweep", "trial", "confirm" or "baseline"
PROBE = "probe"  # the role of a run that is made and removed again, to see whether it can be
CONFIRM_TAG = "prp.confirm_of"  # on a run that repeats a trial with a new seed: its number
CONTINUES_TAG = "prp.continues"  # on a trial that trains another one on: its number
SEED_TAG = "prp.seed"
STATE_TAG = "prp.state"
REASON_TAG = "prp.reason"
BASELINE_TAG = "prp.baseline"  # on the run of a baseline: its name
CONFIG_TAG = "prp.config"  # the whole config by path, as JSON
VIDEOS_TAG = "prp.videos_hash"  # equal for the same videos, wherever they lie
# Of another corpus that encoders are judged on.
EVAL_DATASET_TAG = "prp.eval_dataset_hash"
EVAL_VIDEOS_TAG = "prp.eval_videos_hash"
EVAL_DATA_TAG = "prp.eval_data_uri"
EVAL_MANIFEST_TAG = "prp.eval_manifest_uri"
OBJECTIVE_TAG = "prp.objective"
SAMPLED_TAG = "prp.sampled"
PROTOCOL_TAG = "prp.protocol_hash"
NONFINITE_TAG = "prp.nonfinite."  # followed by the metric's name
# On the run that was chosen when it was created; a duplicate after a lost reply never gets it.
CANONICAL_TAG = "prp.canonical"
CONFIRMED_TAG = "prp.confirmed"  # on the parent: whether new seeds confirm the answer
ANSWER_TAG = "prp.answer"  # on the parent: the sentence that answers the sweep
VERDICT_TAG = "prp.verdict"  # against random initialisation and pixels, in words
INTERVAL_TAG = "prp.interval"  # of the objective: "[0.433, 0.683]"
NOTE_TAG = "mlflow.note.content"  # MLflow's own: the description that its page shows
PARENT_TAG = "mlflow.parentRunId"  # MLflow's own: its page shows the run below its parent

LONGEST_PARAM = 6000  # MLflow's limit, characters
LONGEST_TAG = 8000  # MLflow's limit, characters


def protocol_tag(kind: str) -> str:
    """The tag with the protocol hash of a kind of figure: "" the objective's, ``recognition``,
    ``test``, ``test.recognition`` and so on.
    """
    return f"{PROTOCOL_TAG}.{kind}" if kind else PROTOCOL_TAG


def is_canonical(tags: Mapping[str, str]) -> bool:
    """Whether the run with `tags` is the one that was chosen; an earlier release wrote that as
    ``prp.confirmed = yes``.
    """
    return CANONICAL_TAG in tags or tags.get(CONFIRMED_TAG) == "yes"


def whole_config(params: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """The config by path of a run with `params` and `tags`; of a run of an earlier release, or one
    whose config is too long for a tag, its parameters.
    """
    try:
        return {**params, **json.loads(tags.get(CONFIG_TAG, "{}"))}
    except ValueError:
        return dict(params)


def shortened(text: str, limit: int) -> str:
    """`text`, or its beginning and a digest where it is longer than `limit` characters.

    Equal texts stay equal, different ones stay different.
    """
    if len(text) <= limit:
        return text
    ending = f"... ({len(text)} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()})"
    return text[: limit - len(ending)] + ending


def shortened_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """`tags` with each value within MLflow's limit."""
    return {name: shortened(str(value), LONGEST_TAG) for name, value in tags.items()}
