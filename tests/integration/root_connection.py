"""MySQL's root over a server's own socket: past everything, and never for longer than a test may wait.

PyMySQL itself waits for ever, for a greeting too; and a lock on a table's definition is waited for a year. A server that hangs,
or is frozen, would take the whole test run with it.
"""

from pathlib import Path
from typing import Any

import pymysql

ANSWER_S = 60
LOCK_S = 30


def connect_as_root(socket: Path | str, **settings: Any) -> Any:
    """`settings` are pymysql.connect's; every statement is its own transaction unless they say otherwise."""
    bounds = {
        # over a socket nobody listens in; and a context with all of the machine's certificates takes 20 ms a connection
        "ssl_disabled": True,
        "read_timeout": ANSWER_S,
        "write_timeout": ANSWER_S,
        "init_command": f"SET lock_wait_timeout = {LOCK_S}",
    }
    return pymysql.connect(unix_socket=str(socket), user="root", **{"autocommit": True, **bounds, **settings})
