"""The local runner's rules: which process is ours, which server is MySQL, who is told which password, where things are."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import wait_until

import cluster_layout
import local_process
import mysql_package
import mysql_server
import python_environment
from cluster import read_port_offset
from cluster_layout import BY_NAME, MEMBERS, NODES, ROOT, SERVICES, Layout, make_private_folder, socket_folder
from local_process import MARK, LocalProcess, find_processes, is_frozen, is_gone, send, terminate
from runner_console import CannotRun, Progress, locked

INIT_SQL = (ROOT / "mysql-config" / "init.sql").read_text()
Spawn = Callable[..., "subprocess.Popen[bytes]"]
WITHIN_S = 10


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[Spawn]:
    """Starts Python code as a process that carries the mark of the cluster in tmp_path, as a child of the test."""
    children = []

    def spawn(code: str, name: str = "replica-1") -> "subprocess.Popen[bytes]":
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, MARK: str(tmp_path / name)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        children.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return child

    yield spawn
    for child in children:
        child.kill()
        child.communicate()


def _command(cluster_dir: Path, *argv: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "CLUSTER_DIR": str(cluster_dir), "PORT_OFFSET": ""}
    return subprocess.run(
        [sys.executable, "cluster.py", *argv],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


WAIT = "print(flush=True); import time; time.sleep(60)"  # until it is ended


def test_a_server_that_crashes_at_every_start_is_given_up(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    command = ["/bin/sh", "-c", f"echo >> {starts}; kill -SEGV $$"]
    argv = local_process.supervised(command, name="replica-1", cluster_dir=tmp_path)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 128 + signal.SIGSEGV
    assert len(starts.read_text()) == local_process.CRASHES_MAX
    assert done.stdout.count("is started again") == local_process.CRASHES_MAX - 1


@pytest.mark.parametrize("ending", ["exit 0", "exit 1", "kill -TERM $$", "kill -KILL $$"])
def test_a_server_that_was_ended_is_not_started_again(tmp_path: Path, ending: str) -> None:
    starts = tmp_path / "starts"
    argv = local_process.supervised(
        ["/bin/sh", "-c", f"echo >> {starts}; {ending}"], name="replica-1", cluster_dir=tmp_path
    )
    subprocess.run(argv, capture_output=True, timeout=60, check=False)
    assert len(starts.read_text()) == 1


def test_a_process_is_found_by_its_mark_and_by_its_own_clusters_name_only(tmp_path: Path, marked: Spawn) -> None:
    child = marked(WAIT)
    assert [(process.name, process.pid) for process in find_processes(tmp_path)] == [("replica-1", child.pid)]
    assert find_processes(tmp_path.parent) == []
    assert find_processes(tmp_path / "replica-1") == []


def test_a_pid_file_that_names_a_stranger_harms_nobody(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            make_private_folder(tmp_path / "run")
            (tmp_path / "run" / "replica-1.pid").write_text(f"{stranger.pid}\n")
            killed = _command(tmp_path, "kill", "replica-1")
            ended = _command(tmp_path, "down")
            assert (killed.returncode, ended.returncode) == (1, 0)
            assert "replica-1 does not run" in killed.stderr
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_pid_that_was_given_to_another_process_is_never_signalled(tmp_path: Path, marked: Spawn) -> None:
    child = marked(WAIT)
    earlier = LocalProcess("replica-1", child.pid, start_ticks=1, leads_session=True)
    send(earlier, signal.SIGKILL)
    assert is_gone(earlier)
    assert child.poll() is None


def test_a_zombie_that_nobody_reaps_counts_as_gone(tmp_path: Path, marked: Spawn) -> None:
    child = marked(WAIT)
    [process] = find_processes(tmp_path)
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: is_gone(process), WITHIN_S)
    assert Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    assert find_processes(tmp_path) == []


def test_a_process_whose_first_thread_has_ended_before_the_others_is_not_gone(tmp_path: Path, marked: Spawn) -> None:
    code = (
        "import ctypes, sys, threading, time; threading.Thread(target=time.sleep, args=(60,)).start();"
        "print(flush=True); sys.stdin.readline(); ctypes.CDLL(None).pthread_exit(None)"
    )
    child = marked(code)
    [process] = find_processes(tmp_path)
    assert child.stdin is not None
    child.stdin.write(b"\n")
    child.stdin.flush()
    wait_until(lambda: Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z", WITHIN_S)
    assert not is_gone(process)


def test_a_frozen_process_is_ended_too(tmp_path: Path, marked: Spawn) -> None:
    marked(WAIT)
    [process] = find_processes(tmp_path)
    send(process, signal.SIGSTOP)
    wait_until(lambda: is_frozen(process), WITHIN_S)
    assert terminate([process], timeout_s=10) == []
    assert is_gone(process)


def test_who_does_not_listen_to_sigterm_is_killed(tmp_path: Path, marked: Spawn) -> None:
    marked("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + WAIT)
    [process] = find_processes(tmp_path)
    assert terminate([process], timeout_s=0.3) == [process]
    assert is_gone(process)


def test_down_also_ends_what_a_service_left_behind(tmp_path: Path, marked: Spawn) -> None:
    stray = marked(WAIT, name="a-child-of-nobody")
    assert _command(tmp_path, "down").returncode == 0
    assert stray.wait(10) == -signal.SIGTERM


def test_two_commands_on_one_cluster_do_not_interleave(tmp_path: Path) -> None:
    environment = {**os.environ, "CLUSTER_DIR": str(tmp_path), "PORT_OFFSET": ""}
    with locked(tmp_path / "lock", Progress()):
        waiting = subprocess.Popen(
            [sys.executable, "cluster.py", "stop", "replica-1"], cwd=ROOT, env=environment, stdout=subprocess.PIPE
        )
        assert waiting.stdout is not None
        assert b"waiting for another command" in waiting.stdout.readline()
        assert waiting.poll() is None
    output, _ = waiting.communicate(timeout=20)
    assert b"replica-1 does not run" in output


def test_a_lock_file_that_was_removed_meanwhile_locks_nobody_in_or_out(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", Progress()):
        (tmp_path / "lock").unlink()
        with locked(tmp_path / "lock", Progress()):
            assert (tmp_path / "lock").exists()


@pytest.mark.parametrize(
    ("version_text", "objection"),
    [
        ("/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))", None),
        ("/usr/sbin/mysqld  Ver 8.0.44-0ubuntu0.24.04.1 for Linux on x86_64 ((Ubuntu))", None),
        ("mysqld  Ver 8.4.3-3 for Linux on aarch64 (Percona Server (GPL), Release 3)", None),
        ("mysqld  Ver 10.11.14-MariaDB-0+deb12u2 for debian-linux-gnu on x86_64 (Debian 12)", "is MariaDB, not MySQL"),
        ("mysqld  Ver 5.7.44 for Linux on x86_64 (MySQL Community Server)", "is MySQL 5.7, older than 8.0"),
        ("bash: cannot execute binary file", "does not say that it is MySQL"),
        ("", "does not say that it is MySQL"),
    ],
)
def test_only_mysql_8_or_newer_is_accepted_as_a_server(version_text: str, objection: str | None) -> None:
    assert mysql_server.objection_to(version_text) == objection


def _program(path: Path, says: str) -> Path:
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_a_mysqld_that_was_named_is_taken_or_refused_but_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = _program(tmp_path / "good", "mysqld  Ver 8.4.9 for Linux on x86_64 (MySQL Community Server)")
    monkeypatch.setenv("MYSQLD", str(good))
    assert mysql_server.find_mysqld(tmp_path, pytest.fail) == good
    monkeypatch.setenv("MYSQLD", str(_program(tmp_path / "bad", "mysqld  Ver 11.4.2-MariaDB for Linux on x86_64")))
    with pytest.raises(CannotRun, match="is MariaDB"):
        mysql_server.find_mysqld(tmp_path, pytest.fail)
    monkeypatch.setenv("MYSQLD", str(tmp_path / "nothing"))
    with pytest.raises(CannotRun, match="is not a program"):
        mysql_server.find_mysqld(tmp_path, pytest.fail)


def test_a_mariadb_on_path_is_passed_over_and_the_unpacked_server_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = tmp_path / "path", tmp_path / "cache"
    (cache / "server" / "bin").mkdir(parents=True)
    path.mkdir()
    mariadb = _program(path / "mysqld", "mysqld  Ver 10.11.14-MariaDB-0+deb12u2 for debian-linux-gnu on x86_64")
    unpacked = _program(cache / "server" / "bin" / "mysqld", "mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))")
    monkeypatch.delenv("MYSQLD", raising=False)
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")
    said: list[str] = []
    assert mysql_server.find_mysqld(cache, said.append) == unpacked
    assert said == [f"{mariadb} is MariaDB, not MySQL: passed over"]


@pytest.mark.parametrize("folder", ["usr/lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"])
def test_an_unpacked_server_runs_with_the_loader_and_libraries_that_came_with_it(tmp_path: Path, folder: str) -> None:
    """Packages keep their C library in /usr/lib or, before the two were merged, in /lib."""
    new = tmp_path / "server.new"
    (new / "root" / folder).mkdir(parents=True)
    (new / "root" / "usr" / "lib" / "mysql" / "private").mkdir(parents=True)
    loader = new / "root" / folder / "ld-linux-any.so.1"
    loader.write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$@"\n')
    loader.chmod(0o755)
    mysql_package.write_wrapper(new)
    server = new.rename(tmp_path / "server")
    done = subprocess.run([server / "bin" / "mysqld", "--port=1 2"], capture_output=True, text=True, check=True)
    root = f"{server}/root"
    assert done.stdout.splitlines() == [
        f"{root}/{folder}/ld-linux-any.so.1",
        "--library-path",
        f"{root}/{folder}:{root}/usr/lib/mysql/private",
        f"{root}/usr/sbin/mysqld",
        "--port=1 2",
    ]


def test_every_account_of_init_sql_is_given_its_password() -> None:
    passwords = {name: f"secret of {name}" for name in mysql_server.names_in(INIT_SQL)}
    assert set(passwords) == {password for member in MEMBERS for password in member.passwords}
    statements = mysql_server.accounts_sql(INIT_SQL, passwords)
    created = re.findall(r"^CREATE USER IF NOT EXISTS (\S+)", INIT_SQL, flags=re.MULTILINE)
    assert [line.split()[2] for line in statements.splitlines()] == created
    assert all(f"IDENTIFIED BY '{password}';" in statements for password in passwords.values())


def test_a_password_cannot_end_the_sql_string_that_it_stands_in() -> None:
    assert mysql_server.fill_in("'${A}'", {"A": "it's \\ over"}) == r"'it''s \\ over'"
    with pytest.raises(CannotRun, match="asks for"):
        mysql_server.fill_in("${UNHEARD_OF}", {})


def test_passwords_are_made_once_and_only_the_owner_can_read_them(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 0)
    first = layout.passwords(INIT_SQL, {}, is_running=False)
    assert layout.passwords(INIT_SQL, {}, is_running=True) == first
    assert len(set(first.values())) == len(first) == 8
    assert stat.S_IMODE(layout.secrets_file.stat().st_mode) == 0o600


def test_a_password_from_the_environment_wins_but_not_over_a_running_cluster(tmp_path: Path) -> None:
    layout, inherited = Layout(tmp_path, 0), {"READER_DB_PASSWORD": "from outside"}
    layout.passwords(INIT_SQL, {}, is_running=False)
    with pytest.raises(CannotRun, match="READER_DB_PASSWORD"):
        layout.passwords(INIT_SQL, inherited, is_running=True)
    assert layout.passwords(INIT_SQL, inherited, is_running=False)["READER_DB_PASSWORD"] == "from outside"
    assert layout.passwords(INIT_SQL, {}, is_running=True)["READER_DB_PASSWORD"] == "from outside"


def test_a_process_is_told_only_the_passwords_that_it_needs(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 0)
    passwords = dict.fromkeys(mysql_server.names_in(INIT_SQL), "x")
    told = {
        service.name: sorted(
            key
            for key in layout.service_environment(service.name, passwords, passwords)
            if key.endswith("_DB_PASSWORD")
        )
        for service in SERVICES
    }
    assert told == {
        "coordinator": [
            "CLONER_DB_PASSWORD",
            "COORDINATOR_DB_PASSWORD",
            "DDL_DB_PASSWORD",
            "HISTORIAN_DB_PASSWORD",
            "READER_DB_PASSWORD",
            "SCHEMA_READER_DB_PASSWORD",
            "VERIFIER_DB_PASSWORD",
        ],
        "timestamp-1": [],
        "timestamp-2": [],
        "metrics-collector": ["COLLECTOR_DB_PASSWORD"],
        "cabinet-service": [],
        "seer-service": [],
    }
    assert layout.node_environment(passwords) == {}


TOKENS = {"ACCESS_TOKENS": "read:reader-token-0123", "SERVICE_TOKEN": "service-token-0123"}
CERTIFICATES = {
    "UVICORN_SSL_CERTFILE": "/tls/server.crt",
    "UVICORN_SSL_KEYFILE": "/tls/server.key",
    "SSL_CERT_FILE": "/ca",
}


def test_a_process_is_told_only_the_tokens_that_it_needs(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 0)
    for service in SERVICES:
        told = layout.service_environment(service.name, TOKENS, dict.fromkeys(service.passwords, ""))
        ours = TOKENS if service.name == "coordinator" else {"SERVICE_TOKEN": TOKENS["SERVICE_TOKEN"]}
        assert {key: value for key, value in told.items() if "TOKEN" in key} == ours
    assert layout.node_environment(TOKENS) == {}


def test_a_service_knows_that_it_is_on_loopback_whatever_the_environment_says(tmp_path: Path) -> None:
    environment = Layout(tmp_path, 0).service_environment("timestamp-1", {"BIND_ADDRESS": "0.0.0.0"}, {})
    assert environment["BIND_ADDRESS"] == cluster_layout.HOST


def test_nobody_makes_up_tokens(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 0)
    assert layout.access({}, is_running=False) == {}
    assert not layout.access_file.exists()


def test_tokens_and_certificates_are_kept_until_they_are_taken_away_and_only_the_owner_can_read_them(
    tmp_path: Path,
) -> None:
    layout = Layout(tmp_path, 0)
    given = TOKENS | CERTIFICATES
    assert layout.access(given | {"PATH": "/bin"}, is_running=False) == given
    assert stat.S_IMODE(layout.access_file.stat().st_mode) == 0o600
    assert layout.access({}, is_running=True) == given
    assert layout.access(given, is_running=True) == given
    # the machine's own, which is of no concern to services without a certificate
    assert layout.access({"UVICORN_SSL_CERTFILE": "", "SSL_CERT_FILE": "/ca"}, is_running=False) == TOKENS
    assert layout.access({"SERVICE_TOKEN": "", "ACCESS_TOKENS": ""}, is_running=False) == {}


@pytest.mark.parametrize("stored", [{}, TOKENS])
def test_another_token_is_not_given_to_a_part_of_a_running_cluster(tmp_path: Path, stored: dict[str, str]) -> None:
    layout = Layout(tmp_path, 0)
    layout.access(stored, is_running=False)
    with pytest.raises(CannotRun, match=r"SERVICE_TOKEN differs .* `make down` first") as refused:
        layout.access({"SERVICE_TOKEN": "another-token-01234"}, is_running=True)
    assert "another-token" not in str(refused.value)
    assert layout.access({}, is_running=True) == stored


def test_services_with_a_certificate_are_found_over_https(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 5000)
    assert not layout.has_tls
    layout.access(CERTIFICATES, is_running=False)
    assert layout.has_tls
    environment = layout.service_environment("cabinet-service", CERTIFICATES, {})
    assert environment["METRICS_URL"] == "https://127.0.0.1:13003"
    assert environment["SSL_CERT_FILE"] == "/ca"


def test_a_services_own_folder_is_the_first_that_it_imports_from(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 5000)
    for service in SERVICES:
        folders = layout.service_environment(service.name, {}, dict.fromkeys(service.passwords, ""))["PYTHONPATH"]
        assert folders.split(":")[0] == str(ROOT / service.source)
        assert sorted(folders.split(":")) == sorted({str(ROOT / other.source) for other in SERVICES})


def test_a_service_without_its_own_main_is_refused_and_not_answered_for_by_a_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_layout, "ROOT", tmp_path)
    (tmp_path / "cabinet-service").mkdir()
    (tmp_path / "cabinet-service" / "main.py").touch()
    layout, python = Layout(tmp_path, 0), Path("python")
    assert str(tmp_path / "cabinet-service") in layout.service_command("cabinet-service", python)
    with pytest.raises(CannotRun, match=r"coordinator/main\.py is missing"):
        layout.service_command("coordinator", python)


def test_the_offset_shifts_every_port_and_every_address(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 5000)
    environment = layout.service_environment("timestamp-2", {"HTTP_PROXY": "http://proxy"}, {})
    assert environment["NODES"].split(",")[0] == "mysql-master=127.0.0.1:18306"
    assert environment["TIMESTAMP_URLS"] == "http://127.0.0.1:13001,http://127.0.0.1:13002"
    assert environment["SERVER_ID"] == "2"
    assert environment["NO_PROXY"] == "127.0.0.1,localhost"
    assert len({layout.port(member.name) for member in MEMBERS}) == len(MEMBERS) == 10


def test_a_sockets_address_fits_however_deep_the_cluster_is(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    assert socket_folder(Path("/home/ann/db/.cluster")) == Path("/home/ann/db/.cluster/run")
    assert socket_folder(deep) != socket_folder(tmp_path / ("e" * 100))
    for node in NODES:
        assert len(os.fsencode(Layout(deep, 0).socket(node.name))) <= 107


def test_a_folder_for_sockets_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "planted").symlink_to(tmp_path)
    with pytest.raises(CannotRun, match="not a folder of yours"):
        make_private_folder(tmp_path / "planted")


@pytest.mark.parametrize("text", ["-1", "1e3", "70000", "x", "\u0665"])
def test_an_offset_that_leaves_no_ports_is_refused(text: str) -> None:
    with pytest.raises(CannotRun, match="PORT_OFFSET"):
        read_port_offset(text)


def test_a_copy_that_was_interrupted_is_made_anew_and_identity_is_not_copied(tmp_path: Path) -> None:
    template, data = tmp_path / "template", tmp_path / "replica-1"
    (template / "mysql").mkdir(parents=True)
    (template / "mysql" / "t.ibd").write_bytes(b"rows")
    half = tmp_path / "replica-1.new"
    half.mkdir()
    (half / "rest").touch()
    mysql_server.copy_template(template, data)
    assert [path.relative_to(data).as_posix() for path in sorted(data.rglob("*"))] == ["mysql", "mysql/t.ibd"]
    assert not half.exists()
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_a_server_that_a_killed_runner_left_is_ended_before_its_folder_is_removed(
    tmp_path: Path, marked: Spawn
) -> None:
    """One whose files vanish never ends by itself: it keeps a processor busy and fills the disk with its log."""
    (tmp_path / "template" / "new" / "data").mkdir(parents=True)
    orphan = marked(WAIT, name="initialiser")
    mysqld = tmp_path / "mysqld"
    mysqld.write_text(
        "#!/bin/sh\nfor option; do case $option in --datadir=*) data=${option#*=};; esac; done\n"
        # the new server starts only when the old one has ended
        f"[ -z \"$data\" ] || {{ grep -q '^State:.Z' /proc/{orphan.pid}/status && mkdir $data && touch $data/ca.pem; }}\n"
    )
    mysqld.chmod(0o755)
    config = ROOT / "mysql-config" / "master.cnf"
    template = mysql_server.template_folder(mysqld, config, INIT_SQL, tmp_path, lambda text: None)
    assert orphan.wait(10) == -signal.SIGTERM
    assert [path.name for path in (tmp_path / "template").iterdir()] == [template.name]
    assert list(template.iterdir()) == []


def test_clean_removes_what_the_runner_made_and_nothing_else(tmp_path: Path) -> None:
    _command(tmp_path, "stop", "replica-1")
    assert (tmp_path / "cluster.json").exists()
    (tmp_path / "thesis.txt").touch()
    assert _command(tmp_path, "clean").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_looking_at_a_cluster_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    for command in ("status", "down", "clean"):
        assert _command(tmp_path / "none", command).returncode == 0
    assert not (tmp_path / "none").exists()


def test_a_mistyped_name_is_answered_with_the_ten_that_exist(tmp_path: Path) -> None:
    refused = _command(tmp_path / "none", "start", "replica-4")
    assert refused.returncode == 2
    assert all(name in refused.stderr for name in BY_NAME)


def test_the_environment_is_refilled_only_when_requirements_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, tests, demo = "coordinator/requirements.txt", "tests/requirements.txt", "demo-requirements.txt"
    for name in ("coordinator", "tests", ".venv"):
        (tmp_path / name).mkdir()
    for name in (services, tests, demo, ".venv/requirements.txt"):
        (tmp_path / name).write_text("")
    installs: list[list[str]] = []
    monkeypatch.setattr(python_environment, "_identity", lambda python: "the same Python")
    monkeypatch.setattr(python_environment, "_make", lambda folder: None)
    monkeypatch.setattr(python_environment, "_install", lambda python, root, names: installs.append(names))

    def prepare(**wanted: bool) -> None:
        python_environment.prepare_python(tmp_path, lambda text: None, **wanted)

    prepare()
    prepare()
    prepare(with_demo=True)
    prepare(with_tests=True)
    prepare(with_demo=True)
    prepare()
    (tmp_path / "coordinator" / "requirements.txt").write_text("fastapi==0\n")
    prepare()
    assert installs == [[services], [services, demo], [services, demo, tests], [services]]


def test_a_python_without_venv_is_told_what_to_install_and_leaves_nothing_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\nmkdir $3\necho 'ensurepip is not available'\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(CannotRun, match=r"apt install python3\.\d+-venv"):
        python_environment.prepare_python(tmp_path, lambda text: None)
    assert not (tmp_path / ".venv").exists()


def test_a_port_that_answers_nothing_is_no_mysql_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        # accepted by the kernel, as for a frozen server
        assert not local_process.mysql_answers(port, timeout_s=0.1)
        assert not local_process.port_is_free(port)
        assert local_process.http_health(port, timeout_s=0.1) is None
