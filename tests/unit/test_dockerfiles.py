"""An image of a service has every file that it imports: its own folder, and what its Dockerfile copies of its neighbours."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cluster_layout import SERVICES

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted({service.source for service in SERVICES})
# what a start asks for before it reaches for anything outside
ENVIRONMENT = {"SERVER_ID": "1", "STATE_DIR": "state", "COLLECTOR_DB_PASSWORD": "secret"}


def copied(folder: str) -> list[Path]:
    """What the image has in /service."""
    lines = (ROOT / folder / "Dockerfile").read_text().replace("\\\n", " ")
    sources = [
        name for names in re.findall(r"^COPY (.*) /service/$", lines, flags=re.MULTILINE) for name in names.split()
    ]
    return [ROOT / source for source in sources]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_service_can_be_imported_from_what_its_dockerfile_copies(folder: str, tmp_path: Path) -> None:
    sources = copied(folder)
    assert ROOT / folder in sources
    for source in sources:
        if source.is_dir():
            shutil.copytree(source, tmp_path, dirs_exist_ok=True)
        else:
            shutil.copy(source, tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | ENVIRONMENT
    done = subprocess.run(
        [sys.executable, "-c", "import main; main.app"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_dockerfile_copies_no_file_that_nothing_in_the_image_imports(folder: str) -> None:
    sources = copied(folder)
    texts = "".join(path.read_text() for path in sources if path.is_file())
    texts += "".join(path.read_text() for path in (ROOT / folder).rglob("*.py"))
    imported = set(re.findall(r"^(?:import|from) (\w+)", texts, flags=re.MULTILINE))
    health_check = {"health_probe"}
    assert {path.stem for path in sources if path.is_file()} - health_check <= imported
