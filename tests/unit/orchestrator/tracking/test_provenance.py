"""The origin of a result: the commit from git, else from the environment."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from orchestrator.tracking.provenance import git_commit, provenance_tags


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
