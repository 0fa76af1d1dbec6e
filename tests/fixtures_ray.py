"""A Ray cluster that wants a token, started once for the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures_s3 import S3Server
from tests.tools.token_cluster import TokenCluster


@pytest.fixture(scope="session")
def token_cluster(
    s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TokenCluster]:
    """One node of two CPUs, whose processes find the S3 server and a home for sweeps in their
    environment.
    """
    home = tmp_path_factory.mktemp("token-cluster")
    environment = {**s3_server.environment, "PRP_HOME": str(home)}
    with TokenCluster(num_cpus=2, extra_env=environment) as running:
        yield running
    assert running.process_ids == [], "the cluster left processes behind"
