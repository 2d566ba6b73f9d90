"""An image has every module that its service imports: the files that the Dockerfile copies, and nothing else of ours."""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cluster_layout import BY_NAME, ROOT, SERVICES

SETTINGS = {"SERVER_ID": "1", "STATE_DIR": "/nowhere", "COLLECTOR_DB_PASSWORD": "x", "BIND_ADDRESS": "127.0.0.1"}


# what the other services' images have, and this one's has not, cannot be imported
PROGRAM = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r} in this image", name=name)
sys.meta_path.insert(0, Missing())
import main
main.app
"""


def installed_with(folder: str) -> set[str]:
    """The distributions that the image has: what its requirements.txt names, and what those need."""
    lines = (ROOT / folder / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    found: set[str] = set()
    while wanted:
        requirement = Requirement(wanted.pop())
        name = canonicalize_name(requirement.name)
        if (requirement.marker is None or requirement.marker.evaluate({"extra": ""})) and name not in found:
            found.add(name)
            wanted += metadata.requires(name) or []
    return found


def missing_in(folder: str) -> set[str]:
    """Top-level modules of whatever else is installed here."""
    has = installed_with(folder)
    modules = metadata.packages_distributions().items()
    return {module for module, names in modules if not has & {canonicalize_name(name) for name in names}}


def copied(dockerfile: str) -> list[str]:
    """What ends in /service/, by the Dockerfile's COPY lines."""
    lines = re.sub(r"\\\n\s*", "", dockerfile).splitlines()
    return [source for line in lines if re.fullmatch(r"COPY .* /service/", line) for source in line.split()[1:-1]]


@pytest.mark.parametrize("folder", sorted({service.source for service in SERVICES}))
def test_an_image_has_every_module_that_its_service_imports(folder: str, tmp_path: Path) -> None:
    sources = copied((ROOT / folder / "Dockerfile").read_text())
    assert f"{folder}/" in sources
    for source in sources:
        if source.endswith("/"):
            shutil.copytree(ROOT / source, tmp_path, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / source, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", f"MISSING = {missing_in(folder)!r}\n{PROGRAM}"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **SETTINGS},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", sorted({service.source for service in SERVICES}))
def test_an_image_that_is_run_by_itself_does_not_take_itself_to_be_on_loopback(folder: str) -> None:
    dockerfile = (ROOT / folder / "Dockerfile").read_text()
    assert '"--host", "0.0.0.0"' in dockerfile
    assert "\nENV BIND_ADDRESS=0.0.0.0\n" in dockerfile


def test_compose_tells_every_service_where_it_is_published() -> None:
    text = (ROOT / "docker-compose.yml").read_text().partition("\nservices:\n")[2].partition("\nnetworks:\n")[0]
    blocks = dict(re.findall(r"^  ([a-z0-9-]+):\n((?:    .*\n|\n)+)", text, re.MULTILINE))
    assert set(blocks) == set(BY_NAME)
    for service in SERVICES:
        assert re.search(r"<<: (\[\*nodes, \*access\]|\*access)\n", blocks[service.name]), service.name
        assert "${BIND_ADDRESS:-127.0.0.1}:$" in blocks[service.name]
