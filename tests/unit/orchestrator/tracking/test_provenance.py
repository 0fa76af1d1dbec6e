"""The origin of a result: the commit from git, else from the environment."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

from orchestrator.tracking.provenance import git_commit, provenance_tags, source_tags


def test_without_git_equal_sources_have_an_equal_name(tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    source = tmp_path / "sweeps" / "a.py"
    source.write_text("x = 1\n")
    first = git_commit(tmp_path, {})
    assert re.fullmatch("source-[0-9a-f]{12}", first) and git_commit(tmp_path, {}) == first
    (tmp_path / "sweeps" / "notes.txt").write_text("no code")
    assert git_commit(tmp_path, {}) == first
    tags = provenance_tags(project_root=tmp_path, environment={})
    assert tags["prp.git_commit"] == first and "mlflow.source.git.commit" not in tags
    source.write_text("x = 2\n")
    assert git_commit(tmp_path, {}) != first


def test_who_started_a_sweep_and_how_stands_in_mlflows_own_tags() -> None:
    job = {"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", "PRP_USER": "ada"}
    assert source_tags("sweeps/a.py", job) == {
        "mlflow.user": "ada",
        "mlflow.source.name": "sweeps/a.py",
        "mlflow.source.type": "JOB",
    }
    tags = source_tags("sweeps/a.py", {})
    assert tags["mlflow.source.type"] == "LOCAL" and tags["mlflow.user"]


def test_the_commit_comes_from_git_else_from_the_environment(tmp_path: Path) -> None:
    assert git_commit(tmp_path, {}) == "unknown"
    assert git_commit(tmp_path, {"PRP_GIT_COMMIT": "abc"}) == "abc"
    (tmp_path / "uv.lock").write_text("locked")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", "uv.lock"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    commit = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert git_commit(tmp_path, {"PRP_GIT_COMMIT": "abc"}) == commit
    (tmp_path / "uv.lock").write_text("changed")
    tags = provenance_tags(dataset_hash="d", project_root=tmp_path, environment={})
    assert tags["prp.git_commit"] == f"{commit}-dirty"
    assert tags["mlflow.source.git.commit"] == commit
    assert tags["prp.lock_sha256"] == hashlib.sha256(b"changed").hexdigest()
    assert (tags["prp.dataset_hash"], tags["prp.protocol_hash"]) == ("d", "unknown")
    assert tags["prp.version.torch"].startswith("2.")
