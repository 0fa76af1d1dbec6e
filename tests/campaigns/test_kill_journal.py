"""Campaign: the writer of a journal on a real S3 server dies at each of its requests.

The suite's own part, `tests/contracts/test_sweep_journal.py`, kills it at each request in a folder,
and at the first and the last one of each kind on the server.
"""

from __future__ import annotations

import pytest

from orchestrator.storage.open_store import open_store
from tests.contracts.test_sweep_journal import check_kill_9, kinds_of_requests

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize("after", [False, True], ids=["before it applies", "after it applied"])
def test_kill_9_at_every_request(s3_bucket: str, after: bool) -> None:
    store = open_store(f"s3://{s3_bucket}/sweeps/one")
    for dies_at in range(len(kinds_of_requests(store)) + 1):
        check_kill_9(store, dies_at, after)
