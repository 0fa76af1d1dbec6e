"""What a driver asks Ray to give its workers, within a job and without one."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from orchestrator.ray_cluster import connect
from orchestrator.ray_cluster.connect import JOB_VARIABLE, SETUP_HOOK, use_environment

ADDED = {"OMP_NUM_THREADS": "1"}


def test_workers_get_their_variables_and_hide_passwords_before_anything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in connect.WORKER_DEFAULTS:
        monkeypatch.setenv(name, "set")
    monkeypatch.delenv(JOB_VARIABLE, raising=False)
    monkeypatch.setattr(logging, "_logRecordFactory", logging.LogRecord)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    use_environment()
    environment = connect._environment_on_cluster(ADDED)
    assert environment["env_vars"] == dict.fromkeys(connect.WORKER_DEFAULTS, "set")
    environment[SETUP_HOOK]()
    assert logging.getLogRecordFactory().is_redacting  # type: ignore[attr-defined]


@pytest.mark.parametrize(("of_job", "is_ours"), [({}, True), ({SETUP_HOOK: "mine.setup"}, False)])
def test_within_a_job_only_what_the_job_has_not(
    of_job: dict[str, str], is_ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray refuses a value that is given twice."""
    monkeypatch.setenv(JOB_VARIABLE, json.dumps({"runtime_env": of_job}))
    environment = connect._environment_on_cluster(ADDED)
    assert environment["env_vars"] == ADDED
    assert (SETUP_HOOK in environment) == is_ours
