"""Credentials of a sweep's driver reach its trials and stand nowhere in clear."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

from tests.tools.study_process import REPOSITORY


def test_no_log_and_no_command_line_holds_the_key_that_trials_have(tmp_path: Path) -> None:
    canary = f"canary-{secrets.token_hex(12)}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    run = subprocess.run(
        [sys.executable, "-m", "tests.tools.credentials_canary", str(tmp_path)],
        env={**clean, "PYTHONPATH": str(REPOSITORY), "AWS_SECRET_ACCESS_KEY": canary},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert (found["trial"], found["worker"]) == (canary, canary), "who reads the store has the key"
    assert found["command_lines"] == []
    assert found["files"] == []
    assert found["num_logs"] > 5, "there were logs to look into"
    assert canary not in run.stderr
