"""A parameter arrives at a real server as the value that was sent."""

import base64
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from one_mysql import OneMySQL, one_mysql

from adapters import node_sql
from statements.parameters import bind
from statements.query_parser import parse

TRIES = 1500


@pytest.fixture(scope="module")
def cursor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session with a node's settings."""
    with one_mysql(tmp_path_factory.mktemp("parameters")) as server:
        yield session_of(server)


def session_of(server: OneMySQL) -> Any:
    cursor = server.connect_root().cursor()
    for sql in ("SET NAMES utf8mb4", node_sql.SESSION):
        cursor.execute(sql)
    return cursor


def read(cursor: Any, params: list[object]) -> tuple[Any, ...]:
    text = parse(bind(f"SELECT {', '.join('?' * len(params))}", params)).text
    cursor.execute(text)
    row: tuple[Any, ...] = cursor.fetchone()
    return row


def made(chance: random.Random) -> object:
    signs = "'\"\\`;-#/*?:@%_ \t\r\n\0\x1aaZ09äß漢🙂\u02bc\N{FULLWIDTH APOSTROPHE}"
    return chance.choice(
        [
            "".join(chance.choices(signs, k=chance.randrange(12))),
            chance.randrange(-(2**63), 2**64),
            chance.randrange(-9, 9),
            chance.uniform(-1, 1) * 10 ** chance.randrange(-300, 300),
            None,
            chance.random() < 0.5,
            {"base64": base64.b64encode(chance.randbytes(chance.randrange(9))).decode()},
            {"decimal": f"{chance.randrange(-(10**30), 10**30)}.{chance.randrange(10**9):09d}"},
        ]
    )


def as_sent(value: object, found: object) -> bool:
    if isinstance(value, dict):
        if "decimal" in value:
            return found == Decimal(value["decimal"])
        return found == base64.b64decode(value["base64"])
    if isinstance(value, float):
        # what has no exponent is a DECIMAL for MySQL
        return isinstance(found, float | Decimal) and float(found) == value
    return found == value and (value is None) is (found is None)


def test_what_is_read_is_what_was_sent(cursor: Any) -> None:
    chance = random.Random(5)
    for _ in range(TRIES):
        params = [made(chance) for _ in range(chance.randrange(1, 5))]
        row = read(cursor, params)
        assert all(as_sent(value, found) for value, found in zip(params, row, strict=True)), (params, row)


def test_a_marker_beside_anything_stays_a_value_of_its_own(cursor: Any) -> None:
    for text, params, expected in (
        ("SELECT 5-?", [-3], 8),
        ("SELECT -?", [-3], 3),
        ("SELECT 5*?+1", [2], 11),
        ("SELECT ?=?", [1, 1], 1),
        ("SELECT 'a'?", ["b"], "ab"),
        ("SELECT CASE WHEN 1 THEN?ELSE 0 END", [4], 4),
        ("SELECT ? LIKE ?", ["50%", "50\\%"], 1),
        ("SELECT DATE ?", ["2026-11-27"], None),
    ):
        cursor.execute(parse(bind(text, params)).text)
        ((found,),) = cursor.fetchall()
        assert expected is None or found == expected, text
