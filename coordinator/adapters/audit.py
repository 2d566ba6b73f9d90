"""Settings that correctness rests on, looked at whenever a node is connected to. A node that differs is refused by name.

A cluster that only survives kill -9 looks healthy until the power goes (innodb_flush_log_at_trx_commit = 2 lost 500 to 1,600
acknowledged inserts in each simulated power cut); one node with another collation or sql_mode stores other rows.
"""

from collections.abc import Mapping

REQUIRED: Mapping[str, str] = {
    "innodb_flush_log_at_trx_commit": "1",
    "innodb_doublewrite": "ON",
    "log_bin": "0",
    "event_scheduler": "OFF",
    "innodb_autoinc_lock_mode": "1",
    "auto_increment_increment": "1",
    "auto_increment_offset": "1",
    "innodb_rollback_on_timeout": "1",
    "character_set_server": "utf8mb4",
    "collation_server": "utf8mb4_0900_ai_ci",
    "explicit_defaults_for_timestamp": "1",
    "default_storage_engine": "InnoDB",
    "sql_require_primary_key": "1",
    "max_allowed_packet": "67108864",
    "lower_case_table_names": "0",
    "innodb_strict_mode": "1",
    "innodb_default_row_format": "dynamic",
}
"""Global variable -> value it must have."""

AUDIT = "SELECT " + ", ".join(f"@@GLOBAL.{name}" for name in REQUIRED) + ", VERSION(), SYSDATE() = NOW()"
"""Run after `SET timestamp = 1`: then SYSDATE() equals NOW() only where sysdate_is_now is on."""


class SettingRefused(Exception):
    """A node's setting could make an answer untrue; the message names the setting."""


def check(row: tuple[object, ...]) -> None:
    """Raise SettingRefused unless every setting is as it must be."""
    *values, version, sysdate_is_now = row
    for (name, wanted), value in zip(REQUIRED.items(), values, strict=True):
        if str(value).upper() != wanted.upper():
            raise SettingRefused(f"{name} is {value}, but it must be {wanted} (mysql-config/master.cnf says why)")
    if "mariadb" in str(version).lower() or int(str(version).split(".", 1)[0]) < 8:
        raise SettingRefused(f"the server is version {version}, but MySQL 8.0 or later is needed")
    if not sysdate_is_now:
        raise SettingRefused("sysdate_is_now is OFF, but it must be ON (mysql-config/master.cnf says why)")
