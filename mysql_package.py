"""MySQL's server out of Debian's or Ubuntu's packages, unpacked into a folder and run from there.

What apt already knows of this machine is used (mirrors, keys, proxies) and nothing of it is changed: lists, cache and
package state are private and temporary, so neither root nor a lock on the package database is needed. The server comes
with its own C library and loader, hence it may be newer than the system.

Hard case: which mirror? No address is written down here. apt is asked, after an update of its private lists, because on
a machine where `apt-get update` never ran (most fresh containers) it knows of no mirror at all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from runner_console import CannotRun

# Debian's name, then Ubuntu's
PACKAGES = ("mysql-server-core", "mysql-server-core-8.4", "mysql-server-core-8.0")
INSTALL = "install MySQL >= 8.0 (mysql.com, or your system's packages) and set MYSQLD to the path of its mysqld"


class PrivateApt:
    """apt with the machine's own mirrors, keys and proxies, but with lists, cache and package state of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        # an empty package state: every dependency is fetched, the C library too
        (folder / "status").touch()
        # apt reads Dir::Etc::main last, so nothing of the system's settings comes after ours
        (folder / "first.conf").write_text(f'Dir::Etc::main "{folder}/last.conf";\n')
        system = '#include "/etc/apt/apt.conf";\n' if Path("/etc/apt/apt.conf").exists() else ""
        (folder / "last.conf").write_text(
            f'{system}Dir::State::lists "{folder}/lists";\nDir::State::status "{folder}/status";\n'
            f'Dir::Cache "{folder}/cache";\n'
            'Dir::Etc::preferences "/dev/null";\nDir::Etc::preferencesparts "/dev/null";\n'
            'Acquire::Languages "none";\nDebug::NoLocking "true";\nAPT::Install-Recommends "false";\n'
            # apt would otherwise become a user who may not read this folder; who is not root stays who he is anyway
            'APT::Sandbox::User "root";\n'
            "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n#clear DPkg::Post-Invoke;\n"
        )

    def run(self, *argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "APT_CONFIG": str(self._folder / "first.conf"), "LC_ALL": "C"}
        return subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            cwd=cwd,
        )

    def package(self) -> str | None:
        """The first of PACKAGES that the sources in use have."""
        # "show" would also know a name that others merely conflict with
        return next((name for name in PACKAGES if self.run("apt-cache", "madison", name).stdout), None)

    def use_debian_unstable(self) -> None:
        """No stable Debian has MySQL, its unstable suite has: the same mirror, asked for that suite alone."""
        targets = self.run("apt-get", "indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(REPO_URI)")
        rows = [line.split(" ", 2) for line in targets.stdout.splitlines()]
        mirrors = [row[2] for row in rows if row[:2] == ["Debian", "main"] and "security" not in row[2]]
        if not mirrors:
            raise CannotRun(f"apt knows no MySQL server and no Debian mirror to get it from: {INSTALL}.")
        keyrings = [Path(f"/usr/share/keyrings/debian-archive-keyring.{end}") for end in ("gpg", "pgp")]
        keyring = next((f"[signed-by={path}] " for path in keyrings if path.exists()), "")
        (self._folder / "sources.list").write_text(f"deb {keyring}{mirrors[0]} sid main\n")
        with (self._folder / "last.conf").open("a") as settings:
            settings.write(f'Dir::Etc::sourcelist "{self._folder}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n')
        self.run("apt-get", "-qq", "update")

    def download(self, package: str) -> list[Path]:
        done = self.run("apt-get", "-qq", "-y", "--download-only", "install", package)
        if done.returncode != 0:
            raise CannotRun(f"apt could not download {package} ({done.stderr.strip().splitlines()[-1:]}): {INSTALL}.")
        return sorted((self._folder / "cache" / "archives").glob("*.deb"))


def unpack_from_apt(server: Path, say: Callable[[str], None]) -> Path:
    """Unpack MySQL's server beside `server`; answers with the folder, whose bin/mysqld is still to be judged."""
    if not all(shutil.which(tool) for tool in ("apt-get", "apt-cache", "dpkg-deb", "tar")):
        raise CannotRun(f"there is no MySQL server on this machine and no apt to get one: {INSTALL}.")
    with tempfile.TemporaryDirectory(prefix="mysql-packages-") as folder:
        apt = PrivateApt(Path(folder))
        say("looking for a MySQL server with this machine's apt (nothing is installed)")
        # the result is judged by what can be found afterwards: one dead third-party source fails the whole update
        apt.run("apt-get", "-qq", "update")
        package = apt.package()
        if package is None:
            apt.use_debian_unstable()
            package = apt.package()
        if package is None:
            raise CannotRun(f"apt's mirrors have none of {', '.join(PACKAGES)}: {INSTALL}.")
        say(f"downloading {package} and what it needs")
        archives = apt.download(package)
        new = server.with_name(server.name + ".new")
        shutil.rmtree(new, ignore_errors=True)  # of a run that was cut short; mostly there is none
        (new / "root").mkdir(parents=True)
        say(f"unpacking {len(archives)} packages into {server}")
        for archive in archives:
            _unpack(archive, new / "root")
    write_wrapper(new)
    return new


def _unpack(archive: Path, root: Path) -> None:
    left_out = ("./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*", "*/perl*")
    take = ["tar", "-x", "-C", str(root), "--no-same-owner", *(f"--exclude={pattern}" for pattern in left_out)]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as contents:
        unpacked = subprocess.run(take, stdin=contents.stdout, check=False)
    if unpacked.returncode != 0 or contents.returncode != 0:
        raise CannotRun(f"{archive.name} could not be unpacked into {root}: is the disk full?")


def write_wrapper(new: Path) -> None:
    """bin/mysqld: runs the unpacked server with the loader and libraries that came with it, not with the host's."""
    root = new / "root"
    loaders = sorted([*root.glob("usr/lib/*/ld-linux*.so.*"), *root.glob("lib/*/ld-linux*.so.*")])
    if not loaders:
        raise CannotRun(f"the packages in {root} have no loader for this machine: {INSTALL}.")
    machine = loaders[0].parent.name
    folders = [f"usr/lib/{machine}", f"lib/{machine}", "usr/lib/mysql/private"]
    path = ":".join(f"$root/{folder}" for folder in folders if (root / folder).is_dir())
    wrapper = new / "bin" / "mysqld"
    wrapper.parent.mkdir()
    wrapper.write_text(
        '#!/bin/sh\nroot=$(dirname "$(dirname "$(readlink -f "$0")")")/root\n'
        # no --argv0: mysqld finds its messages and plugins by the path that it was started with
        f'exec "$root/{loaders[0].relative_to(root)}" --library-path "{path}" "$root/usr/sbin/mysqld" "$@"\n'
    )
    wrapper.chmod(0o755)
