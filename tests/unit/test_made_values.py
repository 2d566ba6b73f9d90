"""UUID() and RANDOM_BYTES() in rows that stand in the text give way to literals; everything else stays as it was written."""

import re

import pytest
from made_values import with_values

from statements.query_parser import parse

UUID = r"'[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}'"


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("INSERT INTO t VALUES (1)", r"INSERT INTO t VALUES \(1\)"),
        ("INSERT INTO t VALUES (UUID())", rf"INSERT INTO t VALUES \({UUID}\)"),
        ("/* UUID() */ INSERT INTO t VALUES (uuid (), 'UUID()') ;", rf"INSERT INTO t VALUES \({UUID}, 'UUID\(\)'\)"),
        ("INSERT t SET a = RANDOM_BYTES( 3 ), b=UUID()", rf"INSERT t SET a = x'[0-9a-f]{{6}}', b={UUID}"),
        ("INSERT t VALUES (HEX(RANDOM_BYTES(2))), ('ü')", r"INSERT t VALUES \(HEX\(x'[0-9a-f]{4}'\)\), \('ü'\)"),
    ],
)
def test_only_the_calls_are_replaced(text: str, pattern: str) -> None:
    statement = parse(text)
    assert re.fullmatch(pattern, with_values(statement.text, statement.splices))


def test_each_call_and_each_request_gets_a_value_of_its_own() -> None:
    statement = parse("INSERT INTO t VALUES (UUID(), UUID()), (UUID(), UUID())")
    texts = [with_values(statement.text, statement.splices) for _ in range(50)]
    assert len(set(re.findall(UUID, "".join(texts)))) == 200


def test_what_was_replaced_is_taken_again_and_needs_nothing_more() -> None:
    statement = parse("INSERT INTO t VALUES (UUID(), RANDOM_BYTES(16))")
    again = parse(with_values(statement.text, statement.splices))
    assert (again.splices, again.claims) == ((), ())
