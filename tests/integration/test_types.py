"""Every type of MySQL's, written and read over HTTP: what is read is what was written."""

from collections.abc import Iterator
from typing import Any

import pytest
from cluster_handle import ClusterHandle, private_cluster

TYPES: list[tuple[str, str, list[tuple[str, Any]]]] = [
    ("TINYINT", "TINYINT", [("-128", -128), ("127", 127)]),
    ("TINYINT UNSIGNED", "TINYINT UNSIGNED", [("255", 255)]),
    ("BOOLEAN", "TINYINT", [("TRUE", 1), ("FALSE", 0)]),
    ("SMALLINT", "SMALLINT", [("-32768", -32768)]),
    ("MEDIUMINT UNSIGNED", "MEDIUMINT UNSIGNED", [("16777215", 16777215)]),
    ("INT", "INT", [("-2147483648", -(2**31))]),
    ("BIGINT", "BIGINT", [("-9223372036854775808", -(2**63)), ("9007199254740993", 2**53 + 1)]),
    ("BIGINT UNSIGNED", "BIGINT UNSIGNED", [("18446744073709551615", 2**64 - 1)]),
    ("DECIMAL(65, 30)", "DECIMAL", [("-" + "9" * 35 + "." + "9" * 30, "-" + "9" * 35 + "." + "9" * 30)]),
    ("DECIMAL(5, 2)", "DECIMAL", [("1.5", "1.50"), ("0", "0.00")]),
    ("FLOAT", "FLOAT", [("0.5", 0.5)]),
    ("DOUBLE", "DOUBLE", [("1.7976931348623157e308", 1.7976931348623157e308), ("0.1", 0.1)]),
    ("BIT(1)", "BIT", [("b'1'", 1)]),
    ("BIT(64)", "BIT", [("0xffffffffffffffff", 2**64 - 1)]),
    ("DATE", "DATE", [("'9999-12-31'", "9999-12-31"), ("'1000-01-01'", "1000-01-01")]),
    ("DATETIME(6)", "DATETIME", [("'2025-11-23 16:30:00.000001'", "2025-11-23T16:30:00.000001")]),
    ("DATETIME", "DATETIME", [("'2025-11-23 16:30:00'", "2025-11-23T16:30:00")]),
    ("TIMESTAMP(3) NULL", "TIMESTAMP", [("'2025-11-23 16:30:00.5'", "2025-11-23T16:30:00.500000")]),
    ("TIME(6)", "TIME", [("'-838:59:59'", "-838:59:59"), ("'100:00:00.25'", "100:00:00.250000"), ("'0'", "00:00:00")]),
    ("YEAR", "YEAR", [("2155", 2155)]),
    ("CHAR(4)", "CHAR", [("'ab'", "ab")]),
    ("VARCHAR(20)", "VARCHAR", [("'größe 漢 🙂'", "größe 漢 🙂"), ("''", "")]),
    ("TEXT", "TEXT", [("'it''s a \\\\'", "it's a \\")]),
    ("LONGTEXT", "TEXT", [("REPEAT('x', 70000)", "x" * 70000)]),
    ("ENUM('a', 'b')", "ENUM", [("'b'", "b")]),
    ("SET('a', 'b', 'c')", "SET", [("'a,c'", "a,c")]),
    ("BINARY(3)", "BINARY", [("x'00ff01'", "AP8B")]),
    ("VARBINARY(9)", "VARBINARY", [("x''", ""), ("x'00'", "AA==")]),
    ("BLOB", "BLOB", [("x'00ff27'", "AP8n")]),
    ("JSON", "JSON", [("'{\"a\": [1, null, 9007199254740993]}'", '{"a": [1, null, 9007199254740993]}')]),
    ("POINT", "GEOMETRY", [("ST_PointFromText('POINT(1 2)')", "AAAAAAEBAAAAAAAAAAAA8D8AAAAAAAAAQA==")]),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    with private_cluster(tmp_path_factory.mktemp("types")) as handle:
        yield handle


def ok(cluster: ClusterHandle, sql: str, **asked: Any) -> dict[str, Any]:
    answer = cluster.query(sql, **asked)
    assert answer.status_code == 200, f"{sql[:200]}: {answer.text[:500]}"
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize("place", range(len(TYPES)), ids=[declared for declared, *_ in TYPES])
def test_what_is_read_is_what_was_written(cluster: ClusterHandle, place: int) -> None:
    declared, name, values = TYPES[place]
    table = f"type_{place}"
    ok(cluster, f"CREATE TABLE {table} (id INT PRIMARY KEY, v {declared})")
    rows = [*values, ("NULL", None)]
    for number, (literal, _) in enumerate(rows):
        ok(cluster, f"INSERT INTO {table} VALUES ({number}, {literal})")
    body = ok(cluster, f"SELECT v FROM {table} ORDER BY id", format={"columns": True})
    assert body["columns"] == [{"name": "v", "type": name}]
    assert body["data"] == [{"v": value} for _, value in rows]
    arrays = ok(cluster, f"SELECT v, v FROM {table} ORDER BY id", format={"rows": "arrays", "integers": "text"})
    as_text = name.startswith("BIGINT") or name == "BIT"
    wanted = [str(value) if as_text and value is not None else value for _, value in rows]
    assert arrays["data"] == [[value, value] for value in wanted]
