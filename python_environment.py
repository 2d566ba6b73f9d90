"""The Python that the services and the tests run in: `.venv`, made and filled only when its requirements changed.

Every folder's requirements.txt pins what that folder needs, demo-requirements.txt what the demo beside this file needs; one
environment holds them all, so two that pin the same package differently are refused by pip here, before anything runs. What
was installed is written down (the checksum of each file) inside the environment, only after pip has succeeded: an interrupted
installation is done again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from runner_console import CannotRun

TESTS, DEMO = "tests/requirements.txt", "demo-requirements.txt"


def requirement_files(root: Path, *, with_tests: bool, with_demo: bool) -> dict[str, str]:
    """Checksum by file, relative to the root; those of the tests (of the demo too) and of the demo only if they are wanted."""
    files = sorted(path.relative_to(root).as_posix() for path in (*root.glob("[!.]*/requirements.txt"), root / DEMO))
    passed_over = {name for name, is_wanted in ((TESTS, with_tests), (DEMO, with_tests or with_demo)) if not is_wanted}
    return {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in files if name not in passed_over}


def prepare_python(
    root: Path, say: Callable[[str], None], *, with_tests: bool = False, with_demo: bool = False
) -> Path:
    """Path of the environment's Python, with everything installed that the services need, and what is asked for beside it."""
    folder = root / ".venv"
    python = folder / "bin" / "python"
    stamp = folder / "installed.json"
    installed: dict[str, str] = json.loads(stamp.read_text()) if stamp.exists() else {}
    if installed.get("python") != _identity(python):
        say("making .venv")
        _make(folder)
        installed = {"python": _identity(python)}
    wanted = requirement_files(root, with_tests=with_tests, with_demo=with_demo)
    if any(installed.get(name) != checksum for name, checksum in wanted.items()):
        say(f"installing what {len(wanted)} lists of requirements pin into .venv")
        _install(python, root, list(wanted))
        stamp.write_text(json.dumps({**installed, **wanted}, indent=2) + "\n")
    return python


def _identity(python: Path) -> str:
    """Differs when the environment was never made, was moved, or its Python was replaced by the system's next one."""
    try:
        done = subprocess.run(
            [python, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return f"{python} does not run"
    return f"{python}: {done.stdout.strip()}"


def _make(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # mostly there is none
    done = subprocess.run(
        [sys.executable, "-m", "venv", folder], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        shutil.rmtree(folder, ignore_errors=True)  # mostly there is none
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise CannotRun(
            f"{sys.executable} cannot make a virtual environment: install its venv module "
            f"(Debian, Ubuntu: apt install python{version}-venv).\n{(done.stdout + done.stderr).strip()}"
        )


def _install(python: Path, root: Path, names: list[str]) -> None:
    arguments = [argument for name in names for argument in ("-r", name)]
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments],
        cwd=root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise CannotRun(f"pip could not install {', '.join(names)}; it says:\n{tail}")
