"""Prometheus and promtool out of Debian's package, unpacked and not installed: the package would start a daemon.

As with MySQL's server (mysql_package.py), apt's mirrors and keys are those of this machine, and nothing of its state is changed.
Only the package itself is taken: both programs need nothing but the C library.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from cluster_layout import ROOT
from mysql_package import PrivateApt
from runner_console import Progress, locked

CACHE = ROOT / ".prometheus"
PACKAGE = "prometheus"


def prometheus_programs() -> Path:
    """The folder that has `prometheus` and `promtool`; made at the first call. A test that cannot have them fails."""
    programs = CACHE / "root" / "usr" / "bin"
    with locked(CACHE / "lock", Progress()):
        if not (programs / "promtool").exists():
            _unpack(CACHE / "root")
    return programs


def _unpack(root: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="prometheus-package-") as folder:
        apt = PrivateApt(Path(folder) / "apt")
        updated = apt.run("apt-get", "-qq", "update")
        done = apt.run("apt-get", "-qq", "download", PACKAGE, cwd=Path(folder))
        archives = list(Path(folder).glob("*.deb"))
        assert len(archives) == 1, f"apt could not download {PACKAGE}: {updated.stderr}{done.stderr}"
        new = root.with_name("root.new")
        shutil.rmtree(new, ignore_errors=True)  # of a run that was cut short; mostly there is none
        subprocess.run(["dpkg-deb", "-x", archives[0], new], check=True)
        shutil.rmtree(root, ignore_errors=True)  # likewise
        new.rename(root)
