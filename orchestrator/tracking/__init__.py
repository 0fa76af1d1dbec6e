"""Experiment tracking: the runs of a sweep in MLflow. The only package that knows MLflow.

In the order that data flows: `mlflow_tracker` is the tracker of a sweep. It says what happens to a
run (`run_start`: what one is started with), by a name of `run_names`, as records (`recorded`: what
they say so far), which `record_log` keeps in the sweep's storage. `sender` (a thread) takes them
from there to `delivery`, which sends them to MLflow, folded by run (`run_batches`): `tracking_uri`
validates its address (`local_files`: a sqlite file and locks on this machine), `mlflow_client`
connects to it, `experiment` opens the experiment, `runs` finds or creates the runs by their tags,
which `tags` names. `start_check` asks what MLflow can take before a sweep spends anything.
`provenance` gives the tags of a result's origin, `encoder_file` the files of an encoder, `models`
logs and loads them as a model (`model_uri`: which one an alias, a version or a run names),
`run_reporter` is a run of one process outside a sweep (`run_owner`: how it names that process,
`dead_runs` closes it when that has died), `imported` logs published checkpoints in one, and
`registered_models` makes it a version of a registered model and moves the alias ``best``.
`saved_view` is the view of a sweep that MLflow's page opens, `ui_server` serves that page.
`reading` reads the runs of a sweep, `past_trials` those of earlier sweeps.

Importing this package is cheap: MLflow (seconds) and torch are imported when first used.
"""

from orchestrator.tracking.encoder_file import DamagedEncoder, EncoderCard, pack
from orchestrator.tracking.mlflow_client import TrackerUnavailable
from orchestrator.tracking.mlflow_tracker import MlflowTracker, TrackedSweep
from orchestrator.tracking.models import load_encoder
from orchestrator.tracking.provenance import provenance_tags, source_tags
from orchestrator.tracking.start_check import check_tracking
from orchestrator.tracking.tracking_uri import default_tracking_uri, run_page, ui_command

__all__ = [
    "check_tracking",
    "default_tracking_uri",
    "ui_command",
    "run_page",
    "MlflowTracker",
    "TrackedSweep",
    "TrackerUnavailable",
    "provenance_tags",
    "source_tags",
    "EncoderCard",
    "pack",
    "DamagedEncoder",
    "load_encoder",
]
