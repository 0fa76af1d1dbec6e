"""Tracking: what a sweep did, kept in MLflow. The only room that knows MLflow.

`addresses.py` tells which tracking URIs can serve; `mlflow_tracker.py` is the tracker that a sweep
holds; behind it `runs.py` finds and creates runs, `spool.py` keeps on disk what was logged until it
has arrived, `sender.py` carries it there, and `mlflow_client.py` is the door to MLflow itself.
`provenance.py` gives the tags that say where a result comes from. `encoder_file.py` is an encoder
as files, `models.py` puts it into MLflow and loads it again; `reading.py` reads what a sweep left
there, `history.py` earlier sweeps.

Importing this package is cheap: MLflow (seconds) and torch are imported when they are first used.
"""

from orchestrator.tracking.encoder_file import DamagedEncoder, EncoderCard, pack
from orchestrator.tracking.mlflow_client import TrackerUnavailable
from orchestrator.tracking.mlflow_tracker import MlflowTracker, SweepRuns
from orchestrator.tracking.models import load_encoder
from orchestrator.tracking.provenance import provenance_tags
from orchestrator.tracking.tracking_uri import (
    check_reachable,
    default_tracking_uri,
    run_page,
    ui_command,
)

__all__ = [
    "check_reachable",
    "default_tracking_uri",
    "ui_command",
    "run_page",
    "MlflowTracker",
    "SweepRuns",
    "TrackerUnavailable",
    "provenance_tags",
    "EncoderCard",
    "pack",
    "DamagedEncoder",
    "load_encoder",
]
