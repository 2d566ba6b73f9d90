"""What every test may use: a fresh copy of a service's `main` module (the folders are not packages and all have one)."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


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
