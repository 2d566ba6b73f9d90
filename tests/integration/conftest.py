"""The cluster that integration tests share: ten real processes, on a folder and ports of their own."""

from collections.abc import Iterator

import pytest
from cluster_handle import ClusterHandle, private_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    """All ten processes, up and taking writes. A test that stops or kills something starts it again."""
    with private_cluster(tmp_path_factory.mktemp("cluster")) as handle:
        yield handle
