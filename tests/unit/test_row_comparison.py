"""Who agrees with whom, who is wrong, and which keys differ (row_comparison.py); the SQL that asks (checksum_sql.py)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from row_comparison import differing_keys, groups_of, wrong_nodes

from adapters.checksum_sql import Column, Table, literal, within, without_auto_increment

NODES = ("mysql-master", "replica-1", "replica-2", "replica-3")
TABLE = Table("d", "t", (), (Column("a", "int", None), Column("b", "varchar", 40)))


@given(st.fixed_dictionaries(dict.fromkeys(NODES, st.integers(0, 2))))
def test_a_node_is_wrong_only_if_three_of_four_agree_against_it(answers: dict[str, int]) -> None:
    counts = {value: list(answers.values()).count(value) for value in answers.values()}
    right = [value for value, count in counts.items() if count >= 3]
    expected = sorted(name for name, value in answers.items() if right and value != right[0])
    assert wrong_nodes(groups_of(answers), 3) == expected


@given(st.fixed_dictionaries(dict.fromkeys(NODES, st.dictionaries(st.integers(0, 9), st.sampled_from("xy")))))
def test_a_key_differs_if_any_node_has_another_row_or_none_for_it(rows: dict[str, dict[int, str]]) -> None:
    pairs = {name: [((f"{key}",), value) for key, value in sorted(found.items())] for name, found in rows.items()}
    keys = {key for found in rows.values() for key in found}
    expected = {(f"{key}",) for key in keys if len({found.get(key) for found in rows.values()}) > 1}
    assert set(differing_keys(pairs)) == expected
    assert len(differing_keys(pairs)) == len(expected)


def test_keys_of_rows_that_all_have_come_in_the_order_of_the_key() -> None:
    rows = {"a": [(("2",), "x"), (("10",), "x")], "b": [(("2",), "y"), (("10",), "y")]}
    assert differing_keys(rows) == [("2",), ("10",)]


@given(st.integers(0, 4), st.text("abc", max_size=2), st.integers(0, 4), st.text("abc", max_size=2))
def test_a_range_of_two_columns_is_that_of_the_pair(a: int, b: str, c: int, d: str) -> None:
    after, row = (str(a), b.encode().hex()), (c, d)
    where = within(TABLE, after, None).removeprefix(" WHERE ")
    for name, value in (("`a`", str(c)), ("`b`", repr(d))):
        where = where.replace(name, value)
    python = where.replace(f"_utf8mb4 x'{after[1]}'", repr(b)).replace(" = ", " == ")
    assert eval(python.replace("AND", "and").replace("OR", "or")) == (row > (a, b))


@pytest.mark.parametrize(
    ("kind", "value"), [("int", "1; DROP TABLE t"), ("varchar", "not hex"), ("double", "x"), ("enum", "'a'")]
)
def test_what_is_no_key_is_never_spliced_into_sql(kind: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"could not convert|non-hexadecimal"):
        literal(Column("k", kind, None), value)


def test_the_next_number_is_taken_out_of_the_options_and_of_nothing_else() -> None:
    columns = "CREATE TABLE `t` (\n  `c` int COMMENT ') AUTO_INCREMENT=3'\n"
    before = columns + ") ENGINE=InnoDB AUTO_INCREMENT=7 COMMENT='\\n) AUTO_INCREMENT=1'"
    assert without_auto_increment(before) == before.replace(" AUTO_INCREMENT=7", "")
    assert without_auto_increment("CREATE VIEW v AS SELECT 1") == "CREATE VIEW v AS SELECT 1"
