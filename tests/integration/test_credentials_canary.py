"""Credentials of a sweep's driver, of twenty kinds, stand nowhere in clear."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

from tests.tools.credentials_canary import VARIABLE, VARIABLES
from tests.tools.study_process import REPOSITORY


def test_no_log_and_no_command_line_holds_the_key_that_trials_have(tmp_path: Path) -> None:
    stem = f"canary-{secrets.token_hex(12)}"
    canaries = {name: f"{stem}/{name}" for name in VARIABLES}
    assert len(canaries) == 20
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    run = subprocess.run(
        [sys.executable, "-m", "tests.tools.credentials_canary", str(tmp_path)],
        env={**clean, **canaries, "PYTHONPATH": str(REPOSITORY), "PRP_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    key = canaries[VARIABLE]
    assert (found["trial"], found["worker"]) == (key, key), "who reads the store has the key"
    assert found["command_lines"] == []
    assert found["files"] == []
    assert found["sweep"] == []
    assert found["num_logs"] > 5, "there were logs to look into"
    assert len(found["redacted"]) >= 2, "the driver and the worker said it"
    assert stem not in run.stderr
