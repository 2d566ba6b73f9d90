"""mysql-config says the same to every node, and what the audit demands of a node follows from it."""

import configparser
import re
from pathlib import Path

import pytest

from adapters.audit import REQUIRED
from adapters.node_sql import SESSION

FOLDER = Path(__file__).resolve().parents[2] / "mysql-config"
SERVERS_OWN = {
    "default_storage_engine": "InnoDB",
    "lower_case_table_names": "0",
    "innodb_strict_mode": "ON",
    "innodb_default_row_format": "DYNAMIC",
}
"""Audited, but right by MySQL's own default (on Linux), so that mysql-config need not say them."""
SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def settings_of(file: str) -> dict[str, str | None]:
    parser = configparser.ConfigParser(allow_no_value=True, interpolation=None, strict=True)
    parser.read_string((FOLDER / file).read_text(encoding="utf-8"))
    assert parser.sections() == ["mysqld"]
    return {name.replace("-", "_"): value for name, value in parser["mysqld"].items()}


def as_mysql_says(value: str) -> str:
    """A value of an option file as SELECT @@GLOBAL shows it, as far as the audit compares it."""
    value = value.strip("'\"").upper()
    if value in ("ON", "OFF"):
        return "1" if value == "ON" else "0"
    size = re.fullmatch(r"(\d+)([KMG])", value)
    return str(int(size[1]) * SIZES[size[2]]) if size else value


MASTER = settings_of("master.cnf")


def test_master_and_replicas_have_the_same_settings_because_any_node_may_become_master() -> None:
    assert settings_of("replica.cnf") == MASTER


def test_the_two_files_say_them_in_the_same_words() -> None:
    master, replica = (
        (FOLDER / file).read_text(encoding="utf-8").partition("[mysqld]")[2] for file in ("master.cnf", "replica.cnf")
    )
    assert master == replica


@pytest.mark.parametrize("name", REQUIRED)
def test_every_audited_value_follows_from_the_settings(name: str) -> None:
    if name == "log_bin":
        assert "disable_log_bin" in MASTER
        assert MASTER["disable_log_bin"] is None
        assert REQUIRED[name] == "0"
        return
    assert (name in MASTER) != (name in SERVERS_OWN), f"{name} is said nowhere, or twice"
    said = MASTER.get(name) or SERVERS_OWN[name]
    assert as_mysql_says(said) == as_mysql_says(REQUIRED[name])


def test_the_clock_that_the_audit_tries_out_is_set() -> None:
    assert MASTER["sysdate_is_now"] == "ON"


def test_a_commit_is_on_disk_before_it_counts() -> None:
    assert (MASTER["innodb_flush_log_at_trx_commit"], MASTER["innodb_doublewrite"]) == ("1", "ON")


@pytest.mark.parametrize(
    ("variable", "setting"),
    [
        ("sql_mode", "sql_mode"),
        ("collation_connection", "collation_server"),
        ("innodb_lock_wait_timeout", "innodb_lock_wait_timeout"),
        ("time_zone", "default_time_zone"),
    ],
)
def test_a_session_says_what_the_server_has_so_a_person_at_a_node_sees_what_the_cluster_does(
    variable: str, setting: str
) -> None:
    said = re.search(rf"\b{variable} = ('[^']*'|\d+)", SESSION)
    assert said is not None
    assert said[1].strip("'") == (MASTER[setting] or "").strip("'")


def test_nothing_secret_stands_in_the_files() -> None:
    assert not re.search("IDENTIFIED BY '(?!\\$\\{)", (FOLDER / "init.sql").read_text(encoding="utf-8"))
    assert not any("password" in name for name in MASTER)
