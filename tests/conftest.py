"""What every test may use: a fresh copy of a service's `main` module (the folders are not packages and all have one), and
the cluster that integration tests share: ten real processes, on a folder and ports of their own."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from cluster_handle import ClusterHandle, private_cluster

from cluster_layout import TOKENS

ROOT = Path(__file__).resolve().parent.parent
# a developer's own cluster has them, perhaps; the tests' clusters have those that a test gives them
for name in (*TOKENS, "UVICORN_SSL_CERTFILE", "UVICORN_SSL_KEYFILE"):
    os.environ.pop(name, None)


def _load_service(folder: str) -> ModuleType:
    name = folder.replace("-", "_") + "_main"
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / "main.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # pydantic looks a model's annotations up by the module's name
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def load_service() -> Callable[[str], ModuleType]:
    """`load_service("cabinet-service")` executes that folder's main.py anew, so settings are read from the environment now."""
    return _load_service


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    """All ten processes, up and taking writes. A test that stops or kills something starts it again."""
    with private_cluster(tmp_path_factory.mktemp("cluster")) as handle:
        yield handle
